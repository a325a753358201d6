"""One run, from configuration to report: what the command line and a deployment both call."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.flows.config.run_config import PublishConfig, RunConfig, profile_of
from affstore.flows.engines import chosen_device
from affstore.flows.inputs import Inputs, check_kinds, gather
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server, prefect_server
from affstore.flows.watch import Watcher, shown_by
from affstore.models.challenge_file import read_sample
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import AffstoreError, SourceError, SpecError
from affstore.store.engine.places import is_local, local_folder
from affstore.tasks.cancellation import reset_cancellation
from affstore.tasks.evaluation.head_scores import Evaluation
from affstore.tasks.ingest.incoming_files import IngestOptions
from affstore.tasks.outcomes import Outcome
from affstore.tasks.planning.plan_rows import PlanRow
from affstore.tasks.remarks import Remark
from affstore.tasks.specs import HeadRun, Profile, WorkerContext


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a run does, resolved and checked before any work.

    Attributes:
        context: where it works.
        inputs: videos and annotations to take in.
        profile: what is extracted from the videos.
        experiments: heads to train and apply.
        publish: where to, or None.
        options: what is tried although the store knows better.
        everything: whether all videos of the store are brought up to date, or only those that the inputs name.
        runs_folder: gets Prefect's database and the reports.
    """

    context: WorkerContext
    inputs: Inputs
    profile: Profile
    experiments: tuple[HeadRun, ...] = ()
    publish: PublishConfig | None = None
    options: IngestOptions = field(default_factory=IngestOptions)
    everything: bool = True
    runs_folder: Path = Path()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did.

    Attributes:
        request: what was asked.
        outcomes: of every video, head and file, in the order they finished.
        evaluations: of every experiment that could be scored.
        snapshot: of the store at its end.
        tag: that names it, or empty.
        published: files that were written.
        report: the page that says all this.
        remarks: what to know of the videos that it was about.
    """

    request: Request
    outcomes: tuple[Outcome, ...]
    evaluations: tuple[Evaluation, ...] = ()
    snapshot: str = ""
    tag: str = ""
    published: tuple[Path, ...] = field(default=())
    report: Path | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when all went well, 3 when something was quarantined or could not be done."""
        return 3 if any(outcome.status in ("quarantined", "failed") for outcome in self.outcomes) else 0

    def count(self, *statuses: str, stages: Sequence[str] = ()) -> int:
        """How many outcomes have one of these statuses."""
        return sum(o.status in statuses and (not stages or o.stage in stages) for o in self.outcomes)


def request_of(config: RunConfig, options: IngestOptions | None = None, everything: bool = True) -> Request:
    """Check a configuration against this machine: inputs, names, weights, store, device.

    Args:
        config: what is to be run.
        options: what is tried although the store knows better.
        everything: bring all videos of the store up to date, not only those of the configuration's sources and crops.

    Raises:
        AffstoreError: something is wrong; nothing was started.
    """
    experiments = config.specs()
    inputs = _inputs(config)
    weights = default_folder()
    _check_samples(config.publish)
    store = FeatureStore.create(config.store)
    profile = profile_of(config, weights, store)
    experiments = tuple(replace(experiment, extractors=profile.extractors) for experiment in experiments)
    check_kinds(profile, config.crops, store)
    runs = runs_folder(config.store)
    context = WorkerContext(config.store, _run_id(), weights.root, chosen_device(config.device), runs / "trainings")
    return Request(context, inputs, profile, experiments, config.publish, options or IngestOptions(), everything, runs)


def _inputs(config: RunConfig) -> Inputs:
    """What the configuration's paths hold.

    Raises:
        SourceError: they hold nothing that can be used.
    """
    inputs = gather(config.sources, config.crops, config.names)
    if inputs.refused and not (inputs.videos or inputs.annotations or inputs.crops):
        raise SourceError(" ".join(refusal.reason for refusal in inputs.refused))
    return inputs


def run_pipeline(request: Request, runner: RunnerSpec, watcher: Watcher) -> RunResult:
    """Run the DAG; see `with_server_and_runner`. Without anything to compute, no Prefect server is started."""

    def work() -> RunResult:
        from affstore.flows.pipeline import pipeline

        return pipeline(request)

    if not (os.environ.get("PREFECT_API_URL") or request.options.retry) and nothing_to_do(request):
        with shown_by(watcher):
            return _call(Server(""), RunnerSpec.of(), work)
    return with_server_and_runner(request, runner, watcher, work)


def nothing_to_do(request: Request) -> bool:
    """Whether the store has all that a run would compute; the run then only looks, scores and publishes."""
    try:
        return not any(row.due and row.asked for row in _wanted(request))
    except AffstoreError:  # the run says of what, and goes on with the rest
        return False


def _wanted(request: Request) -> Iterator[PlanRow]:
    """What the plan says of all that a run would see to; what is quick to find out first."""
    from affstore.tasks.ingest.incoming_files import incoming_files
    from affstore.tasks.planning.crops import match_crops_to_videos
    from affstore.tasks.planning.head_runs import plan_with
    from affstore.tasks.planning.incoming_files import arrival_rows, named_videos, unmatched_crop_rows
    from affstore.tasks.planning.plan import plan

    store, inputs = FeatureStore(request.context.store_url), request.inputs
    records = store.records()
    given = match_crops_to_videos(records, inputs.crops)
    rows = plan(records, request.profile, given)
    if request.everything:
        yield from rows
        yield from plan_with(store, rows, request.experiments)
    arriving = incoming_files(store, inputs.digests()[0], request.options)
    if not request.everything:
        named = named_videos(arriving, given)
        yield from (row for row in rows if row.address.video in named)
    yield from arrival_rows(store, arriving, inputs.annotations)
    yield from unmatched_crop_rows(given, arriving)


def with_server_and_runner[T](request: Request, runner: RunnerSpec, watcher: Watcher, work: Callable[[], T]) -> T:
    """Call `work`, shown by a Prefect server of its own unless `PREFECT_API_URL` names one.

    Args:
        request: what the flows that `work` calls do.
        runner: how to fan out.
        watcher: told what happens.
        work: calls a stage; Prefect is not to be imported before it is called.

    Raises:
        SpecError: the runner cannot reach the store or the server.
    """
    if runner.elsewhere and not os.environ.get("PREFECT_API_URL"):
        raise SpecError(
            "Workers of a scheduler elsewhere cannot reach a Prefect server that this command starts for itself. "
            "Start one that they can reach, and set PREFECT_API_URL to it here."
        )
    if not runner.kind.in_process and request.context.store_url.startswith("memory:"):
        raise SpecError(
            f"A store in memory lives in one process; workers of '{runner.kind.name}' need a folder or s3://bucket/prefix."
        )
    watcher.step("starting a Prefect server")
    with shown_by(watcher), prefect_server(request.runs_folder / "prefect") as server:
        if server.answers:
            watcher.server(server.url, server.secret_file)
        return _call(server, runner, work)


def _call[T](server: Server, runner: RunnerSpec, work: Callable[[], T]) -> T:
    """Call `work` on a runner, shown by a server if there is one."""
    reset_cancellation()
    with runner.start() as task_runner_in_use:
        from affstore.flows.stages.stage import run_on

        with run_on(server, task_runner_in_use):
            return work()


def runs_folder(store_url: str) -> Path:
    """Where what belongs to runs, and not to the store, is kept: beside a local store, else in the cache folder."""
    if is_local(store_url):
        folder = local_folder(store_url)
        return folder.with_name(f"{folder.name}.runs")
    name = "".join(character if character.isalnum() else "-" for character in store_url).strip("-")
    return Path("~/.cache/affstore").expanduser() / f"{name}.runs"


def _check_samples(publish: PublishConfig | None) -> None:
    """See that the sample lists can be read, before the work whose end they are."""
    for task, sample in publish.samples.items() if publish else ():
        read_sample(sample, task)


def _run_id() -> str:
    return secrets.token_hex(4)
