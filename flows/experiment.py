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
from affstore.flows.experiment_report import write_experiment_report
from affstore.flows.extract import extract
from affstore.flows.ingest import ingest
from affstore.flows.predict import predict
from affstore.flows.rows_request import RowsRequest
from affstore.flows.stages import performed, stage
from affstore.flows.train import train
from affstore.flows.watch import watching
from affstore.models.heads.divisions import Folds
from affstore.store.contract.errors import AffstoreError, AnnotationError
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.protocols import folds_in_use, folds_of, honest_name, with_fixed_epochs
from affstore.tasks.row_files import row_predictions, write_row_file
from affstore.tasks.rows import Protocol, RowOutcome, RowSpec, Shown
from affstore.tasks.score import result_artifact, same
from affstore.tasks.specs import Bench, ExperimentSpec


@dataclass(frozen=True, slots=True, eq=False)
class RowsResult:
    """What a run of rows did.

    Attributes:
        request: what was asked.
        rows: what became of each.
        outcomes: of every video and head, in the order they finished.
        files: challenge files that were written.
        report: the page that shows it all.
    """

    request: RowsRequest
    rows: tuple[RowOutcome, ...]
    outcomes: tuple[Outcome, ...]
    files: tuple[Path, ...]
    report: Path

    @property
    def exit_code(self) -> int:
        """0 when every row ends with a number, 3 when one failed or an input was quarantined or not done."""
        bad = any(outcome.status in ("quarantined", "failed") for outcome in self.outcomes)
        return 3 if bad or any(row.status == "failed" for row in self.rows) else 0


@stage("experiment")
def experiment(request: RowsRequest) -> RowsResult:
    """Run every row; rows share whatever they have in common, and what the store has already is shown as Cached."""
    run = request.run
    outcomes: list[Outcome] = []
    if run.inputs.brings_files:
        outcomes += ingest(run.bench, run.inputs, run.tries)
    outcomes += extract(run.bench, run.profile, run.tries.retry, run.inputs.crops)
    outcomes += _fitted(run.bench, run.experiments)
    if "honest" in request.choice.protocols:
        outcomes += _honestly_fitted(request)
    watching().stage("score", len(request.rows))
    failed = {
        outcome.subject: outcome.reason
        for outcome in outcomes
        if (outcome.stage, outcome.status) == ("train", "failed")
    }
    rows = (*(_row(request, row, failed) for row in request.rows), *request.refused)
    refusals, files = _published(request, rows)
    report = write_experiment_report(rows, request.report, _about(request))
    return RowsResult(request, rows, (*outcomes, *refusals), files, report)


def _fitted(bench: Bench, heads: Sequence[ExperimentSpec]) -> list[Outcome]:
    """Fit heads and apply those that could be."""
    outcomes = train(bench, heads)
    failed = {outcome.subject for outcome in outcomes if outcome.status == "failed"}
    return [*outcomes, *predict(bench, tuple(head for head in heads if head.name not in failed))]


def _honestly_fitted(request: RowsRequest) -> list[Outcome]:
    """The folds' heads, and then those with the epochs that the folds found best."""
    bench, folds = request.run.bench, request.choice.folds
    outcomes: list[Outcome] = []
    in_use: dict[str, tuple[ExperimentSpec, ...]] = {}
    for head in request.honest_heads:
        try:
            in_use[head.name] = folds_in_use(FeatureStore(bench.store_url), head, folds)
        except AnnotationError as error:
            outcomes.append(refused("train", honest_name(head), error))
    outcomes += _fitted(bench, [fold for heads in in_use.values() for fold in heads])
    store = FeatureStore(bench.store_url)
    failed = {outcome.subject for outcome in outcomes if outcome.status == "failed"}
    whole = [
        head
        for head in request.honest_heads
        if head.name in in_use and not failed & {fold.name for fold in in_use[head.name]}
    ]
    return outcomes + _fitted(bench, [with_fixed_epochs(store, head, folds) for head in whole])


def _row(request: RowsRequest, row: RowSpec, failed: dict[str, str]) -> RowOutcome:
    """Score a row under each protocol; one that cannot be is told why, and the others go on."""
    found = _scored(request, row, failed)
    watching().outcome(Outcome("score", row.name, found.status, found.reason or _said(found)))
    return found


def _scored(request: RowsRequest, row: RowSpec, failed: Mapping[str, str]) -> RowOutcome:
    """A row's numbers; where one protocol gives none, that of the other is kept and the row has failed."""
    folds = request.choice.folds
    done = []
    for protocol in request.protocols_of(row):
        names = [head.name for head in row.heads]
        if protocol == "honest":
            names += [name for head in row.heads for name in _honest_names(head, folds)]
        broken = [failed[name] for name in names if name in failed]
        done.append(
            _Scored(reason=broken[0]) if broken else performed(score_row, request.run.bench, row, protocol, folds)
        )
    shown = tuple(one.shown for one in done if one.shown is not None)
    reasons = [one.reason for one in done if one.shown is None]
    if reasons:
        return RowOutcome(row, "failed", reasons[0], shown)
    return RowOutcome(row, "done" if any(one.news for one in done) else "cached", "", shown)


def _honest_names(head: ExperimentSpec, folds: Folds) -> tuple[str, ...]:
    """What the heads are called that the protocol `honest` needs beside a row's own."""
    return (*(fold.name for fold in folds_of(head, folds)), honest_name(head))


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """What scoring a row under one protocol gave: whether that is news, and what there is to see, or why nothing."""

    news: bool = False
    shown: Shown | None = None
    reason: str = ""


@task(name="score", task_run_name="score {row.name}", cache_policy=NO_CACHE, persist_result=False)
def score_row(bench: Bench, row: RowSpec, protocol: Protocol, folds: Folds) -> _Scored:
    """Score a row and keep its result in the store. It runs beside the committer, so it may commit."""
    store = FeatureStore(bench.store_url)
    try:
        artifact, shown = result_artifact(store, row, protocol, folds)
    except AffstoreError as error:
        return _Scored(reason=str(error))
    if same(store, artifact):
        return _Scored(False, shown)
    draft = store.draft(bench.code, bench.run_id)
    draft.put(artifact)
    committed(bench, "score", [Outcome("score", row.name, "done", draft=draft)])
    return _Scored(True, shown)


def _published(request: RowsRequest, rows: Sequence[RowOutcome]) -> tuple[list[Outcome], tuple[Path, ...]]:
    """The challenge files of the rows of the test set, and why there is none of some."""
    outcomes, files = [], []
    for row in rows:
        if row.row.files and row.shown:
            try:
                files.append(_file(request, row))
            except AffstoreError as error:
                outcomes.append(refused("publish", row.row.name, error))
    return outcomes, tuple(files)


def _file(request: RowsRequest, row: RowOutcome) -> Path:
    """The challenge file of a row; its predictions are kept in the store too."""
    bench, chosen = request.run.bench, row.shown[0].settled
    store = FeatureStore(bench.store_url)
    draft = store.draft(bench.code, bench.run_id)
    for artifact in row_predictions(store, row.row, chosen):
        if not same(store, artifact):
            draft.put(artifact)
    if draft.records:
        committed(bench, "predict", [Outcome("predict", row.row.name, "done", draft=draft)])
    path = request.report / "files" / f"{row.row.producer}.txt"
    sample = request.choice.samples.get(row.row.task)
    return write_row_file(store.newest(), row.row, chosen, path, sample).path


def _said(row: RowOutcome) -> str:
    return ", ".join(f"{one.scores.headline} {one.scores.value:.3f} ({one.protocol})" for one in row.shown)


def _about(request: RowsRequest) -> dict[str, Any]:
    bench = request.run.bench
    store = FeatureStore(bench.store_url)
    return {
        "store": bench.store_url,
        "snapshot": store.snapshot,
        "weights": request.run.profile.provenance,
        "brief": request.choice.brief,
        "corpus": sorted({str(Path(r.attributes["location"]).parent) for r in store.records("source")}),
        "notes": list(request.notes),
        "code": dict(bench.code),
    }
