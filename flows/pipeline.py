"""The whole DAG: ingest, extract, train, predict, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from affstore import FeatureStore
from affstore.flows.report.run_report import write_report
from affstore.flows.request import Request, RunResult
from affstore.flows.stage import show, stage
from affstore.flows.stages.extract import extract
from affstore.flows.stages.ingest import ingest
from affstore.flows.stages.predict import predict
from affstore.flows.stages.publish import publish
from affstore.flows.stages.train import train
from affstore.store.contract.names import video_name
from affstore.store.contract.printable import printable
from affstore.store.engine.reading import video_names
from affstore.tasks.evaluation.head_scores import Evaluation, evaluate
from affstore.tasks.ingest.crop_assignment import match_crops_to_videos
from affstore.tasks.lineage.run_record import run_record, write_run_record
from affstore.tasks.outcomes import Outcome
from affstore.tasks.remarks import remarks_of


@stage("pipeline")
def pipeline(request: Request) -> RunResult:
    """Run every stage that the request names; what the store has already is shown as Cached."""
    stages = _Stages(request)
    context, experiments = request.context, request.experiments
    if request.inputs.brings_files:
        stages.did(ingest(context, request.inputs, request.options))
    videos = None if request.everything else named_videos(FeatureStore(context.store_url), request, stages.outcomes)
    stages.did(extract(context, request.profile, request.options.retry, request.inputs.crops, videos))
    if request.experiments:
        trained = train(context, request.experiments)
        stages.did(trained)
        failed = {outcome.subject for outcome in trained if outcome.status == "failed"}
        experiments = tuple(experiment for experiment in request.experiments if experiment.name not in failed)
        stages.did(predict(context, experiments))
    published: tuple[Path, ...] = ()
    tag = ""
    if request.publish is not None and experiments:
        outcomes, published, tag = publish(context, experiments, request.publish)
        stages.did(outcomes)
    store = FeatureStore(context.store_url)
    result = RunResult(
        request,
        tuple(stages.outcomes),
        _evaluations(store, request),
        store.snapshot,
        tag,
        tuple(published),
        remarks=tuple(remarks_of(store, videos)),
    )
    folder = request.runs_folder / context.run_id
    names = {spec.name for spec in request.profile.extractors} | {one.name for one in request.experiments}
    write_run_record(run_record(store, context.run_id, names | {*request.profile.wanted_faces}, videos), folder)
    result = replace(result, report=write_report(result, folder))
    stages.finish(result)
    return result


class _Stages:
    """Gathers outcomes, and shows them in Prefect as artifacts that a person can read."""

    def __init__(self, request: Request) -> None:
        self.outcomes: list[Outcome] = []
        self._done = 0
        stages = [request.inputs.brings_files, True, *[bool(request.experiments)] * 2, request.publish is not None]
        self._stages = sum(stages)
        self._progress = show(lambda: create_progress_artifact(0.0, key="progress", description="How far the run is."))

    def did(self, outcomes: Sequence[Outcome]) -> None:
        """A stage is over."""
        self.outcomes += outcomes
        self._done += 1
        percent = min(100.0, 100.0 * self._done / self._stages)
        if self._progress is not None:
            show(lambda: update_progress_artifact(self._progress, percent))

    def finish(self, result: RunResult) -> None:
        """The table of the videos' outcomes, and where the report is: browsers follow no link to a file from a page."""
        rows = [
            {"stage": o.stage, "what": printable(o.subject), "outcome": o.status, "reason": printable(o.reason)}
            for o in self.outcomes
        ]
        counts = Counter(outcome.status for outcome in self.outcomes)
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        description = f"What became of each video: {said}."
        show(lambda: create_table_artifact(rows or [{"stage": "-"}], key="outcomes", description=description))
        place = f"The report of this run is the file\n\n    {printable(str(result.report))}\n\n"
        show(lambda: create_markdown_artifact(place + description, key="report", description="Where the report is."))


def named_videos(store: FeatureStore, request: Request, outcomes: Sequence[Outcome]) -> set[str]:
    """The stored videos that a run's inputs name: the files that are in the store, and those with crop folders."""
    names = video_names(store)
    taken_in = {o.subject for o in outcomes if o.stage == "ingest" and o.status in ("done", "cached")}
    with_crops = {video for _, video in match_crops_to_videos(store.records("source"), request.inputs.crops).folders}
    return with_crops | {names[video_name(name)] for name in taken_in}


def _evaluations(store: FeatureStore, request: Request) -> tuple[Evaluation, ...]:
    found = (evaluate(store, experiment) for experiment in request.experiments)
    return tuple(evaluation for evaluation in found if evaluation is not None)
