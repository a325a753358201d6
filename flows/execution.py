"""Run what was requested: with a Prefect server and a task runner where there is anything to compute."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from affstore.flows.loading import Loading
from affstore.flows.request import Request, RunResult
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server, prefect_server
from affstore.flows.watch import Watcher, using_watcher, watching
from affstore.flows.worker_checks import WorkerNeeds
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, SpecError
from affstore.store.engine.objects import check_bucket_writable
from affstore.store.engine.places import is_memory, whole_url
from affstore.store.engine.writers import marked_as_writing
from affstore.tasks.cancellation import reset_cancellation
from affstore.tasks.lineage.machine import Machine
from affstore.tasks.lineage.run_note import Ending, noted
from affstore.tasks.specs import Profile

if TYPE_CHECKING:
    from affstore.flows.planned import Planned
    from affstore.tasks.extract.memory_estimate import VideoSize

_FEW_FRAMES = 1500
"""A minute of video: a run of less is over about when a Prefect server would be up."""


def run_pipeline(request: Request, runner: RunnerSpec, watcher: Watcher, planned: Planned | None = None) -> RunResult:
    """Run the DAG; see `with_server_and_runner`. Without anything to compute, no server and no worker is started.

    A server that the user names shows such a run too.

    Args:
        request: what is to be done.
        runner: how to fan out.
        watcher: told what happens.
        planned: what is due; looked up where it is not known yet.

    Raises:
        SpecError: an option of the runner is wrong, whether or not it is needed.
    """
    runner.check_options()
    with _noted(request, not runner.kind.in_process) as ending:
        planned = planned or _planned(request)
        due = units_due(request, planned)
        first = next(due, None)
        if idle := first is None:
            runner = RunnerSpec.of(pages=runner.options.pages)  # threads will do, as nothing is computed
        elif not request.experiments:
            runner = runner.for_units(chain((first,), due))
        if idle and not _server_is_named(runner):
            result = _without_server(request, watcher)
        else:
            result = with_server_and_runner(request, runner, watcher, lambda: _pipeline(request), planned)
        ending.exit_code = result.exit_code
    return result


def run_without_server(request: Request, watcher: Watcher) -> RunResult:
    """Run the DAG in threads of this process, shown by no server: a few seconds' work is done before one is up."""
    with _noted(request, other_workers=False) as ending:
        result = _without_server(request, watcher)
        ending.exit_code = result.exit_code
    return result


def _noted(request: Request, other_workers: bool) -> AbstractContextManager[Ending]:
    machine = Machine.here(request.context.uses_gpu)
    return noted(request.report_folder, request.context.run_id, machine, other_workers)


def _without_server(request: Request, watcher: Watcher) -> RunResult:
    with using_watcher(watcher):
        return _call(Server(""), RunnerSpec.of(), lambda: _pipeline(request), request)


def _pipeline(request: Request) -> RunResult:
    from affstore.flows.pipeline import pipeline  # imports Prefect, whose settings are made by then

    return pipeline(request)


def _planned(request: Request) -> Planned | None:
    """What is due, where that can be said: what keeps it from being said, the run says, and goes on with the rest."""
    from affstore.flows.planned import Planned

    try:
        return Planned.of(request)
    except AffstoreError:
        return None


def units_due(request: Request, planned: Planned | None) -> Iterator[str]:
    """Each video, or other thing that is made, that a run has something to compute for; without end if nobody knows.

    As few are looked for as are asked for: new files are digested for it.
    """
    from affstore.flows.planned import plan_rows

    if planned is None or request.options.retry or request.limits.canary:
        yield from repeat("")
        return
    found: set[str] = set()
    try:
        for row in plan_rows(request, planned):
            if row.due and row.requested and row.address.video not in found:
                found.add(row.address.video)
                yield row.address.video
    except AffstoreError:  # the run says of what, and goes on with the rest
        yield from repeat("")


def with_server_and_runner[T](
    request: Request, runner: RunnerSpec, watcher: Watcher, work: Callable[[], T], planned: Planned | None
) -> T:
    """Call `work`, shown by a Prefect server of its own unless `PREFECT_API_URL` names one.

    Args:
        request: what the flows that `work` calls do.
        runner: how to fan out.
        watcher: told what happens.
        work: calls a stage; Prefect is not to be imported before it is called.
        planned: what is due, where that is known.

    Raises:
        ConflictError: somebody removes things from the store just now.
        SpecError: the runner cannot reach the store, or it or a worker lacks what the run needs.
        StoreUnavailableError: these credentials may not write to the store.
    """
    runner.check()  # before a server is started for nothing
    check_bucket_writable(request.context.store_url)
    if not runner.kind.in_process and is_memory(request.context.store_url):
        raise SpecError(
            f"A store in memory lives in one process; workers of '{runner.kind.name}' need a folder or s3://bucket/prefix."
        )
    profile, videos = work_due_of(request, planned)
    loading = Loading(request.context, profile if videos else replace(profile, extractors=()))
    if runner.kind.in_process:
        loading.begin()
    with (
        marked_as_writing(request.context.store_url),
        using_watcher(watcher),
        _server(request, runner, videos) as server,
    ):
        # With fewer videos than processes, which of them will need networks is not known yet.
        is_for_all = len(videos) >= runner.parallelism().processes
        return _call(server, runner, work, request, loading if is_for_all else None)


def work_due_of(request: Request, planned: Planned | None) -> tuple[Profile, list[VideoSize]]:
    """The networks and the videos that something is due from; none where that cannot be said before the run."""
    from affstore.flows.memory_needs import work_of

    try:
        return work_of(request, planned) if planned is not None else (request.profile, [])
    except AffstoreError:  # the run says of what, and goes on with the rest
        return request.profile, []


def _server(request: Request, runner: RunnerSpec, due: Sequence[VideoSize]) -> AbstractContextManager[Server]:
    """The Prefect server of a run, if it has one.

    Shares of a run, which may be on several machines, cannot have one database of Prefect's between them.
    """
    if _server_is_named(runner):
        watching().step("asking the Prefect server that PREFECT_API_URL names")
        return prefect_server(request.runs_folder / "prefect")
    if request.limits.share is not None or not has_pages(request, runner, due):
        return nullcontext(Server(""))
    watching().step("starting a Prefect server")
    return prefect_server(request.runs_folder / "prefect")


def _server_is_named(runner: RunnerSpec) -> bool:
    """Whether a server that the user names shows the run."""
    return bool(os.environ.get("PREFECT_API_URL")) and runner.options.pages != "never"


def has_pages(request: Request, runner: RunnerSpec, due: Sequence[VideoSize]) -> bool:
    """Whether a run is shown by a Prefect server of its own: the start of one takes longer than a few seconds' work."""
    unknown = request.experiments or request.options.retry or request.limits.canary  # how long these take
    if runner.options.pages != "auto" or unknown:
        return runner.options.pages != "never"
    return sum(size.frames for size in due) > _FEW_FRAMES


def _call[T](
    server: Server, runner: RunnerSpec, work: Callable[[], T], request: Request, loading: Loading | None = None
) -> T:
    """Call `work` on a runner, shown by a server if there is one, once its workers have what they need."""
    reset_cancellation()
    with runner.start() as started:  # its workers, and what is imported here, come up while the server does
        from affstore.flows.stage import run_on

        if server.answers:
            importlib.import_module("affstore.flows.prefect_stage")  # a second or two, in which others come up
        if started.check is not None:
            started.check(needs_of(request))
        if started.everywhere is not None and loading is not None:
            started.everywhere(loading.begin)
        server.wait()
        if server.answers:
            watching().server(server.url, server.secret_file)
        with run_on(server, started):
            return work()


def needs_of(request: Request) -> WorkerNeeds:
    """What every worker of a run must have."""
    store, folder = request.context.store(), WeightsFolder(request.context.weights)
    files = {str(video.path.absolute()) for video in request.inputs.videos}
    files |= {str(labels.path.absolute()) for labels in request.inputs.annotations}
    files |= {str(folder.path.absolute()) for folder in request.inputs.crops}
    if request.everything or request.videos:
        videos = None if request.everything else {*request.videos}
        stored = [record for family in ("source", "face") for record in store.records(family)]
        files |= {
            record.attributes.get("location") or ""
            for record in stored
            if videos is None or record.address.video in videos
        }
    weights = {str(folder.path_of(spec.weights.sha256).absolute()) for spec in request.profile.extractors}
    return WorkerNeeds(
        whole_url(store.url),
        store.snapshot,
        tuple(sorted(filter(os.path.exists, files))),
        tuple(sorted(weights)),
        request.context.uses_gpu,
    )
