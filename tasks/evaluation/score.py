"""Score an experiment, as a task."""

from __future__ import annotations

from dataclasses import dataclass

from affstore.models.heads.splits import Folds
from affstore.store.contract.errors import AffstoreError
from affstore.tasks.evaluation.experiment_scores import result_artifact, same
from affstore.tasks.experiments import Experiment, ExperimentResult, Protocol
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import task


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What scoring gave.

    Attributes:
        outcome: with the result as the store keeps it, where it is new.
        result: with all that figures are drawn from; None where there is none.
    """

    outcome: Outcome
    result: ExperimentResult | None = None


@task("score", "score {experiment.name}")
def score_experiment(context: WorkerContext, experiment: Experiment, protocol: Protocol, folds: Folds) -> Scored:
    """Score an experiment under a protocol."""
    store, about = context.store(), f"{experiment.name}@{protocol}"
    try:
        draft = store.draft(context.code, context.run_id)  # first, so that what is replaced meanwhile is noticed
        artifact, result = result_artifact(store, experiment, protocol, folds)
    except AffstoreError as error:
        return Scored(refused("score", about, error))
    text = f"{result.scores.headline} {result.scores.value:.3f}"
    if same(store, artifact):
        return Scored(Outcome("score", about, "cached", text), result)
    draft.put(artifact)
    return Scored(Outcome("score", about, "done", text, draft=draft), result)
