"""Rows of the papers' tables as one run: features, heads, folds where asked for, scores, challenge files, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from affstore import FeatureStore
from affstore.flows.commits import committed
from affstore.flows.experiment_request import ExperimentsRequest
from affstore.flows.report.experiment_report import write_experiment_report
from affstore.flows.stage import performed, stage
from affstore.flows.stages.extract import extract
from affstore.flows.stages.ingest import ingest
from affstore.flows.stages.predict import predict
from affstore.flows.stages.train import train
from affstore.flows.watch import watching
from affstore.models.heads.splits import Folds
from affstore.store.contract.errors import AffstoreError, AnnotationError
from affstore.tasks.evaluation.experiment_scores import result_artifact, same
from affstore.tasks.experiments import Experiment, ExperimentOutcome, ExperimentResult, Protocol
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.lineage.run_record import run_record, write_run_record
from affstore.tasks.outcomes import Outcome, refused, shown_as
from affstore.tasks.predict.experiment_files import experiment_predictions, write_experiment_file
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.folds import cross_validated_name, folds_in_use, folds_of, with_fixed_epochs


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentsResult:
    """What a run of rows did.

    Attributes:
        request: what was asked.
        rows: what became of each.
        outcomes: of every video and head, in the order they finished.
        files: challenge files that were written.
        report: the page that shows it all.
    """

    request: ExperimentsRequest
    rows: tuple[ExperimentOutcome, ...]
    outcomes: tuple[Outcome, ...]
    files: tuple[Path, ...]
    report: Path

    @property
    def exit_code(self) -> int:
        """0 when every row ends with a number, 3 when one failed or an input was quarantined or not done."""
        bad = any(outcome.status in ("quarantined", "failed") for outcome in self.outcomes)
        return 3 if bad or any(row.status == "failed" for row in self.rows) else 0


@stage("experiment")
def experiment(request: ExperimentsRequest) -> ExperimentsResult:
    """Run every row; rows share whatever they have in common, and what the store has already is shown as Cached."""
    run = request.run
    outcomes: list[Outcome] = []
    if run.inputs.brings_files:
        outcomes += ingest(run.context, run.inputs, run.options)
    outcomes += extract(run.context, run.profile, run.options.retry, run.inputs.crops)
    outcomes += _fitted(run.context, run.experiments)
    if "honest" in request.choice.protocols:
        outcomes += _fit_cross_validated(request)
    watching().stage("score", len(request.rows))
    failed = {
        outcome.subject: outcome.reason
        for outcome in outcomes
        if (outcome.stage, outcome.status) == ("train", "failed")
    }
    rows = (*(_row(request, row, failed) for row in request.rows), *request.refused)
    refusals, files = _published(request, rows)
    report = write_experiment_report(rows, request.report, _about(request))
    names = {one.producer for one in request.rows}
    names |= {head.name for head in run.experiments} | {spec.name for spec in run.profile.extractors}
    write_run_record(run_record(FeatureStore(run.context.store_url), run.context.run_id, names), request.report)
    return ExperimentsResult(request, rows, (*outcomes, *refusals), files, report)


def _fitted(context: WorkerContext, heads: Sequence[HeadRun]) -> list[Outcome]:
    """Fit heads and apply those that could be."""
    outcomes = train(context, heads)
    failed = {outcome.subject for outcome in outcomes if outcome.status == "failed"}
    return [*outcomes, *predict(context, tuple(head for head in heads if head.name not in failed))]


def _fit_cross_validated(request: ExperimentsRequest) -> list[Outcome]:
    """The folds' heads, and then those with the epochs that the folds found best."""
    context, folds = request.run.context, request.choice.folds
    outcomes: list[Outcome] = []
    in_use: dict[str, tuple[HeadRun, ...]] = {}
    for head in request.cross_validated_heads:
        try:
            in_use[head.name] = folds_in_use(FeatureStore(context.store_url), head, folds)
        except AnnotationError as error:
            outcomes.append(refused("train", cross_validated_name(head), error))
    outcomes += _fitted(context, [fold for heads in in_use.values() for fold in heads])
    store = FeatureStore(context.store_url)
    failed = {outcome.subject for outcome in outcomes if outcome.status == "failed"}
    whole = [
        head
        for head in request.cross_validated_heads
        if head.name in in_use and not failed & {fold.name for fold in in_use[head.name]}
    ]
    return outcomes + _fitted(context, [with_fixed_epochs(store, head, folds) for head in whole])


def _row(request: ExperimentsRequest, row: Experiment, failed: dict[str, str]) -> ExperimentOutcome:
    """Score a row under each protocol; one that cannot be is told why, and the others go on."""
    found = _scored(request, row, failed)
    watching().outcome(Outcome("score", row.name, found.status, found.reason or _said(found)))
    return found


def _scored(request: ExperimentsRequest, row: Experiment, failed: Mapping[str, str]) -> ExperimentOutcome:
    """A row's numbers; where one protocol gives none, that of the other is kept and the row has failed."""
    folds = request.choice.folds
    done = []
    for protocol in request.protocols_of(row):
        names = [head.name for head in row.heads]
        if protocol == "honest":
            names += [name for head in row.heads for name in _cross_validated_names(head, folds)]
        broken = [failed[name] for name in names if name in failed]
        done.append(
            _Scored(reason=broken[0])
            if broken
            else performed(score_experiment, request.run.context, row, protocol, folds)
        )
    shown = tuple(one.shown for one in done if one.shown is not None)
    reasons = [one.reason for one in done if one.shown is None]
    if reasons:
        return ExperimentOutcome(row, "failed", reasons[0], shown)
    return ExperimentOutcome(row, "done" if any(one.news for one in done) else "cached", "", shown)


def _cross_validated_names(head: HeadRun, folds: Folds) -> tuple[str, ...]:
    """What the heads are called that the protocol `honest` needs beside a row's own."""
    return (*(fold.name for fold in folds_of(head, folds)), cross_validated_name(head))


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """What scoring a row under one protocol gave: whether that is news, and what there is to see, or why nothing."""

    news: bool = False
    shown: ExperimentResult | None = None
    reason: str = ""


@task(name="score", task_run_name=shown_as("score {row.name}"), cache_policy=NO_CACHE, persist_result=False)
def score_experiment(context: WorkerContext, row: Experiment, protocol: Protocol, folds: Folds) -> _Scored:
    """Score a row and keep its result in the store. It runs beside the committer, so it may commit."""
    store = FeatureStore(context.store_url)
    try:
        artifact, shown = result_artifact(store, row, protocol, folds)
    except AffstoreError as error:
        return _Scored(reason=str(error))
    if same(store, artifact):
        return _Scored(False, shown)
    draft = store.draft(context.code, context.run_id)
    draft.put(artifact)
    committed(context, "score", [Outcome("score", row.name, "done", draft=draft)])
    return _Scored(True, shown)


def _published(
    request: ExperimentsRequest, rows: Sequence[ExperimentOutcome]
) -> tuple[list[Outcome], tuple[Path, ...]]:
    """The challenge files of the rows of the test set, and why there is none of some."""
    outcomes, files = [], []
    for row in rows:
        if row.row.files and row.shown:
            try:
                files.append(_file(request, row))
            except AffstoreError as error:
                outcomes.append(refused("publish", row.row.name, error))
    return outcomes, tuple(files)


def _file(request: ExperimentsRequest, row: ExperimentOutcome) -> Path:
    """The challenge file of a row; its predictions are kept in the store too."""
    context, chosen = request.run.context, row.shown[0].settled
    store = FeatureStore(context.store_url)
    draft = store.draft(context.code, context.run_id)
    for artifact in experiment_predictions(store, row.row, chosen):
        if not same(store, artifact):
            draft.put(artifact)
    if draft.records:
        committed(context, "predict", [Outcome("predict", row.row.name, "done", draft=draft)])
    path = request.report / "files" / f"{row.row.producer}.txt"
    sample = request.choice.samples.get(row.row.task)
    written_from = store.newest()
    written = write_experiment_file(written_from, row.row, chosen, path, sample).path
    write_note(written.parent, [(written, row.row.producer)], written_from.snapshot)
    return written


def _said(row: ExperimentOutcome) -> str:
    return ", ".join(f"{one.scores.headline} {one.scores.value:.3f} ({one.protocol})" for one in row.shown)


def _about(request: ExperimentsRequest) -> dict[str, Any]:
    context = request.run.context
    store = FeatureStore(context.store_url)
    return {
        "store": context.store_url,
        "snapshot": store.snapshot,
        "weights": request.run.profile.provenance,
        "brief": request.choice.brief,
        "corpus": sorted({str(Path(r.attributes["location"]).parent) for r in store.records("source")}),
        "notes": list(request.notes),
        "code": dict(context.code),
    }
