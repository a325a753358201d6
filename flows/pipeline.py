"""The whole DAG: ingest, extract, train, predict, score, publish."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.flows.current_run import runs
from affstore.flows.report.run_report import write_report
from affstore.flows.request import Request, RunResult, heads_of, protocols_on
from affstore.flows.stage import show, stage
from affstore.flows.stages.canary import canary
from affstore.flows.stages.extract import extract
from affstore.flows.stages.ingest import ingest
from affstore.flows.stages.predict import predict
from affstore.flows.stages.publish import (
    TunedExperiment,
    predict_again,
    predict_experiments,
    publish,
    with_heads_of_result,
    write_files,
)
from affstore.flows.stages.score import score
from affstore.flows.stages.train import train
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.names import subject_called, video_name
from affstore.store.contract.printable import printable
from affstore.store.engine.reading import video_names
from affstore.tasks.experiments import Experiment, ExperimentOutcome
from affstore.tasks.imported_inputs import without_features
from affstore.tasks.ingest.annotations import labelled_by
from affstore.tasks.ingest.crop_assignment import match_crops_to_videos
from affstore.tasks.lineage.machine import Machine
from affstore.tasks.lineage.run_note import Circumstances
from affstore.tasks.lineage.run_record import run_record, write_run_record
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.remarks import remarks_of
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.examples import labels_of_no_source, otherwise_labelled, unmatched_labels
from affstore.tasks.training.folds import cross_validated_name, folds_in_use, with_fixed_epochs


@stage("pipeline")
def pipeline(request: Request) -> RunResult:
    """Run every stage that the request names; what the store has already is shown as Cached."""
    stages = _Stages(request)
    context = request.context
    if request.limits.canary:
        stages.did(canary(context, request.profile, request.limits.canary))
    if request.inputs.brings_files:
        stages.did(ingest(context, request.inputs, request.options))
    videos = None if request.everything else named_videos(context.store(), request, stages.outcomes)
    stages.did(extract(context, request.profile, request.options.retry, request.inputs.crops, videos))
    if request.fitted and videos is not None and not stages.partial:
        stages.did(predict(context, request.fitted_heads, videos))
        stages.did(predict_again(context, request.fitted, videos))
    experiments = _experiments(request, stages) if request.experiments and not stages.partial else []
    published, tag = _published(request, experiments, stages)
    store = context.store()
    about = None if videos is None else videos | _labelled_videos(store, stages.outcomes)
    result = RunResult(
        request,
        tuple(stages.outcomes),
        (*experiments, *request.refused),
        store.snapshot,
        tag,
        published,
        remarks=(
            *remarks_of(store, about),
            *without_features(store, (*request.heads, *request.fitted_heads), videos),
            *otherwise_labelled(store, request.heads),
            *(() if stages.partial else unmatched_labels(store, request.heads)),
            *(
                ()
                if request.inputs.is_part
                else labels_of_no_source(store, request.heads, labelled_by(store, request.inputs.annotations))
            ),
        ),
    )
    names = {spec.name for spec in request.profile.extractors} | {head.name for head in request.heads}
    names |= {one.producer for one in request.experiments} | {*request.profile.required_faces}
    write_run_record(run_record(store, context.run_id, names, videos), request.report_folder)
    result = replace(result, report=write_report(result, _circumstances(request), about))
    stages.finish(result)
    return result


def _circumstances(request: Request) -> Circumstances:
    begun = datetime.fromtimestamp(request.begun_at_s, UTC).isoformat(timespec="seconds")
    seconds = round(max(0.0, time.time() - request.begun_at_s), 1)
    return Circumstances(begun, seconds, Machine.here(request.context.uses_gpu), runs[-1].runner.check is not None)


def _experiments(request: Request, stages: _Stages) -> list[ExperimentOutcome]:
    """Fit and apply the heads of all experiments, each once, and score the experiments."""
    context, store = request.context, request.context.store()
    runs = [(one, protocols_on(store, one, request.protocols, request.folds)) for one in request.experiments]
    stages.did(_fitted(context, heads_of(one for one, protocols in runs if "papers" in protocols)))
    if "honest" in request.protocols and not stages.partial:
        stages.did(_fit_cross_validated(request, [one for one, protocols in runs if "honest" in protocols]))
    failed = {o.subject: o.reason for o in stages.outcomes if (o.stage, o.status) == ("train", "failed")}
    if stages.partial:  # with what is left, the numbers of some would be others than at the end
        return []
    outcomes, experiments = score(context, runs, request.folds, failed)
    stages.did(outcomes)
    return experiments


def _fitted(context: WorkerContext, heads: Sequence[HeadRun]) -> list[Outcome]:
    """Fit heads and apply those that could be."""
    outcomes = train(context, heads)
    failed = {outcome.subject for outcome in outcomes if outcome.status in ("failed", "postponed")}
    return [*outcomes, *predict(context, tuple(head for head in heads if head.name not in failed))]


def _fit_cross_validated(request: Request, experiments: Sequence[Experiment]) -> list[Outcome]:
    """Fit the folds' heads, and then those with the epochs that the folds found best."""
    context, folds = request.context, request.folds
    outcomes: list[Outcome] = []
    in_use: dict[str, tuple[HeadRun, ...]] = {}
    heads = heads_of(experiments)
    for head in heads:
        try:
            in_use[head.name] = folds_in_use(context.store(), head, folds)
        except AnnotationError as error:
            outcomes.append(refused("train", cross_validated_name(head.name), error))
    outcomes += _fitted(context, [fold for each in in_use.values() for fold in each])
    store = context.store()
    failed = {outcome.subject for outcome in outcomes if outcome.status in ("failed", "postponed")}
    whole = [head for head in heads if head.name in in_use and not failed & {fold.name for fold in in_use[head.name]}]
    return outcomes + _fitted(context, [with_fixed_epochs(store, head, folds) for head in whole])


def _published(
    request: Request, experiments: Sequence[ExperimentOutcome], stages: _Stages
) -> tuple[tuple[Path, ...], str]:
    """Keep the predictions of a user's experiments and of those on the test set, and write what is asked for.

    Of experiments that the store has fitted, the predictions are there already.
    """
    context, to = request.context, request.publish
    whole = to if to is not None and to.folder is not None else None
    applied = [
        TunedExperiment(one.experiment, one.tuned)
        for one in request.fitted
        if one.experiment is not None and one.tuned is not None
    ]
    if applied and whole is not None and not (context.generation or stages.partial):
        outcomes, published, tag = publish(context, applied, whole)
        stages.did(outcomes)
        return published, tag
    predicted = [
        with_heads_of_result(one)
        for one in experiments
        if one.results and (not one.experiment.source or one.experiment.files or whole is not None)
    ]
    if not predicted:
        return (), ""
    stages.did(predict_experiments(context, predicted))
    if whole is not None and not context.generation:
        outcomes, published, tag = publish(context, predicted, whole)
        stages.did(outcomes)
        return published, tag
    files = [one for one in predicted if one.experiment.files]
    if not files:
        return (), ""
    folder = request.report_folder / "files"
    snapshot = context.store().snapshot
    stages.did(write_files(context, snapshot, files, folder, to.samples if to else {}))
    return tuple(sorted(folder.glob("*.txt"))), ""


class _Stages:
    """Gathers outcomes, and shows them in Prefect as artifacts that a person can read."""

    def __init__(self, request: Request) -> None:
        self.outcomes: list[Outcome] = []
        self._done = 0
        heads = bool(request.experiments) * (1 + len(request.protocols))
        self._stages = (
            1 + request.inputs.brings_files + bool(request.limits.canary) + heads + (request.publish is not None)
        )
        self._progress = show(
            lambda: _artifacts().create_progress_artifact(0.0, key="progress", description="How far the run is.")
        )

    @property
    def partial(self) -> bool:
        """Whether something was postponed."""
        return any(outcome.status == "postponed" for outcome in self.outcomes)

    def did(self, outcomes: Sequence[Outcome]) -> None:
        """A stage is over."""
        self.outcomes += outcomes
        self._done += 1
        percent = min(100.0, 100.0 * self._done / self._stages)
        if self._progress is not None:
            show(lambda: _artifacts().update_progress_artifact(self._progress, percent))

    def finish(self, result: RunResult) -> None:
        """The table of the videos' outcomes, and where the report is: browsers follow no link to a file from a page."""
        rows = [
            {"stage": o.stage, "what": printable(o.subject), "outcome": o.status, "reason": printable(o.reason)}
            for o in self.outcomes
        ]
        counts = Counter(outcome.status for outcome in self.outcomes)
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        description = f"Outcomes of the videos: {statuses}."
        show(
            lambda: _artifacts().create_table_artifact(
                rows or [{"stage": "-"}], key="outcomes", description=description
            )
        )
        place = f"The report of this run is the file\n\n    {printable(str(result.report))}\n\n"
        show(
            lambda: _artifacts().create_markdown_artifact(
                place + description, key="report", description="Where the report is."
            )
        )


def _artifacts() -> Any:
    """What Prefect shows beside a run; imported once a server shows one."""
    return importlib.import_module("prefect.artifacts")


def named_videos(store: FeatureStore, request: Request, outcomes: Sequence[Outcome]) -> set[str]:
    """The stored videos that a run is about: the files that are in the store, those with crop folders, those named."""
    names = video_names(store)
    ingested = {o.subject for o in outcomes if o.stage == "ingest" and o.status in ("done", "cached")}
    with_crops = {video for _, video in match_crops_to_videos(store.records("source"), request.inputs.crops).folders}
    called = {video_name(name) for name in ingested}
    return with_crops | {*request.videos} | {names[name] for name in called & names.keys()}


def _labelled_videos(store: FeatureStore, outcomes: Sequence[Outcome]) -> set[str]:
    """The stored videos whose labels a run looked at: something may be to know of them, but nothing to extract."""
    names = video_names(store)
    called = (subject_called(o.subject, names)[0] for o in outcomes if o.stage == "annotate")
    return {names[video_name(name)] for name in called if video_name(name) in names}
