"""Score every experiment under each of its protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affstore.flows.commits import commit_results
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.models.heads.splits import Folds
from affstore.tasks.evaluation.score import Scored, score_experiment
from affstore.tasks.experiments import Experiment, ExperimentOutcome, Protocol
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.folds import cross_validated_name, folds_of


@stage("score")
def score(
    context: WorkerContext,
    experiments: Sequence[tuple[Experiment, Sequence[Protocol]]],
    folds: Folds,
    failed: Mapping[str, str],
) -> tuple[list[Outcome], list[ExperimentOutcome]]:
    """One task an experiment and protocol; an experiment that cannot be scored has the reason, and the others go on.

    Args:
        context: where the run works.
        experiments: with their protocols.
        folds: of the protocol `honest`.
        failed: heads that could not be fitted, with the reason.
    """
    runs = [(one, protocol) for one, protocols in experiments for protocol in protocols]
    watching().stage("score", len(runs))
    broken = {_about(*one): reason for one in runs if (reason := _broken(*one, folds, failed))}
    units = {_about(*one): (context, *one, folds) for one in runs if _about(*one) not in broken}
    found: dict[str, Scored] = {}
    outcomes = commit_results(context, score_experiment, units, found)
    outcomes += [Outcome("score", about, "failed", reason) for about, reason in broken.items()]
    reasons = {outcome.subject: outcome for outcome in outcomes}
    return outcomes, [
        _outcome(one, [(reasons[_about(one, p)], found.get(_about(one, p))) for p in protocols])
        for one, protocols in experiments
    ]


def _about(experiment: Experiment, protocol: Protocol) -> str:
    return f"{experiment.name}@{protocol}"


def _broken(experiment: Experiment, protocol: Protocol, folds: Folds, failed: Mapping[str, str]) -> str:
    """Why a head that scoring needs was not fitted; empty where all were."""
    names = [head.name for head in experiment.heads]
    if protocol == "honest":
        names += [name for head in experiment.heads for name in _cross_validated_names(head, folds)]
    return next((failed[name] for name in names if name in failed), "")


def _cross_validated_names(head: HeadRun, folds: Folds) -> tuple[str, ...]:
    """What the heads are called that the protocol `honest` needs beside an experiment's own."""
    return (*(fold.name for fold in folds_of(head, folds)), cross_validated_name(head.name))


def _outcome(experiment: Experiment, scored: Sequence[tuple[Outcome, Scored | None]]) -> ExperimentOutcome:
    """The outcome of an experiment: where one protocol gives no number, the other's is kept, and it has failed."""
    results = tuple(one.result for _, one in scored if one is not None and one.result is not None)
    reasons = [outcome.reason for outcome, _ in scored if outcome.status == "failed"]
    if reasons:
        return ExperimentOutcome(experiment, "failed", reasons[0], results)
    done = any(outcome.status == "done" for outcome, _ in scored)
    return ExperimentOutcome(experiment, "done" if done else "cached", "", results)
