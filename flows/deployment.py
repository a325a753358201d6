"""What Prefect deployments call: the same as `affstore` commands, on the server that scheduled it."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from prefect import State, flow
from prefect.states import Completed, Failed

from affstore import FeatureStore
from affstore.flows.complaints import complaint, told_before, write_told
from affstore.flows.config.run_config import RunConfig, read_config
from affstore.flows.execution import run_pipeline
from affstore.flows.file_kinds import is_video_by_name
from affstore.flows.inputs import Inputs, Refusal, VideoFile, holds_inputs, without
from affstore.flows.limits import RunLimits
from affstore.flows.planned import Planned, plan_rows
from affstore.flows.prefect_stage import state_of
from affstore.flows.request import Request, RunOptions, request_of, with_fitted
from affstore.flows.watch import Watcher
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import AffstoreError, SpecError, UnknownNameError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import as_text
from affstore.store.contract.printable import counted, printable, some
from affstore.tasks.ingest.bucket import NotCopied, copy_new
from affstore.tasks.ingest.incoming_files import IngestOptions
from affstore.tasks.lineage.stored_heads import fitted_experiment
from affstore.tasks.lineage.verify import verify_place

_LONGEST_S = 14 * 24 * 3600
"""After so long Prefect ends a run."""
_SETTLED_S = 60
"""A file that changed so recently may still be on its way into its folder."""
_NAMED = 3
_NEW_ONLY = RunOptions(everything=False)
_LONG = 60


def _deployed[**P](body: Callable[P, State[Any]]) -> Any:
    """A flow whose errors, of ours and of files, are one sentence in the state that it ends with."""

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> State[Any]:
        try:
            return body(*args, **kwargs)
        except AffstoreError as error:
            return Failed(message=printable(str(error)))
        except OSError as error:
            where = error.filename or "a file of this run"
            return Failed(message=printable(f"{error.strerror or error}: {where}. Check room and rights."))

    name = body.__name__.replace("_", "-")
    return flow(name=name, timeout_seconds=_LONGEST_S, persist_result=False)(call)


@_deployed
def reprocess(config: str, max_hours: float | None = None, canary: int = 0, generation: str = "") -> State[Any]:
    """Bring everything up to date: `affstore run CONFIG`.

    Args:
        config: path of a YAML file.
        max_hours: no video is begun any more after so many, fewer than 336; the next run goes on there.
        canary: so many known videos are computed again first, and the run stops if their numbers are others.
        generation: that it writes to, and that readers see once somebody promotes it; empty for what they see.

    Returns:
        Failed where something may work later, so that an automation can tell somebody; Completed, but under the name
        Quarantined, where inputs cannot be used as they are, or Partial, where the time was over; else Completed. Each
        names the run's report.
    """
    if max_hours is not None and 3600 * max_hours >= _LONGEST_S:
        raise SpecError(
            f"`max_hours` is {max_hours:g}, and a deployment's run is ended after {_LONGEST_S // 3600} in any case. "
            "Give fewer, or leave it out: the next run goes on where this one ends."
        )
    limits = RunLimits.of(max_hours=max_hours, canary=canary)
    found = read_config(Path(config))
    return _ran(found, request_of(found, RunOptions(limits=limits, generation=generation)))


@_deployed
def add_videos(
    config: str, folder: str, copies: str = "", retrain: bool = False, replace_existing: bool = False
) -> State[Any]:
    """Take in what is new in a folder or a bucket, extract from it, and publish predictions for it.

    Whoever is told of each run that needs somebody is told of a bad file once: by the run that finds it. Later runs
    only count it, and their state is that of all else.

    Args:
        config: path of a YAML file, whose own sources are not looked at.
        folder: that new videos are put into; a file of a video or of labels that changed within the last minute is left
            for the next time. Or `s3://bucket/prefix`.
        copies: of a bucket's files: a folder that the workers see under the same path. They are kept there.
        retrain: train again what labels in the folder change, and what was never trained. Else predictions are by the
            heads that the store has, whatever labels came since they were trained; an experiment that it has none for
            waits for `reprocess`, as the state then says.
        replace_existing: take a file whose bytes changed as the new version of its video: `affstore add --replace`.
    """
    url, left = "", tuple[NotCopied, ...]()
    if folder.startswith("s3://"):
        if not copies:
            raise SpecError(f"Videos are decoded from files: name a folder for copies of '{folder}' by `copies`.")
        url, left, folder = folder, copy_new(folder, Path(copies)).left, copies
    if not Path(folder).is_dir():
        raise SpecError(f"There is no folder '{folder}' to watch. Check the path, and that it is mounted there.")
    found = read_config(Path(config))
    empty = not holds_inputs(Path(folder), found.label_folders())
    found = found.model_copy(update={"sources": () if empty else (folder,)})
    if empty and not left:
        message = f"'{printable(folder)}' holds no video and no annotation yet."
        return Completed(name="Nothing new", message=message)
    request = request_of(found, _NEW_ONLY) if retrain else _applying_request(found)
    request = replace(request, options=IngestOptions(replace_existing=replace_existing))
    request = replace(request, inputs=settled_part(request.inputs, time.time() - _SETTLED_S))
    told = request.runs_folder / f"told-by-add-videos-{key_of(url or folder)[:8]}.json"
    return _ran(found, with_files_left(request, url, Path(folder), left), told)


def _applying_request(config: RunConfig) -> Request:
    """What a configuration asks for, its experiments as the store has fitted them; nothing is trained.

    Raises:
        SpecError: an experiment of the store is not understood any more, or a network has other parameters here.
    """
    store, fitted, waiting = FeatureStore.create(config.store), [], []
    for experiment in config.experiments:
        try:
            fitted.append(fitted_experiment(store, experiment.name))
        except UnknownNameError:
            waiting.append(f"'{experiment.name}' was not trained yet: `reprocess` does, or `retrain: true`.")
    networks = {*config.all_extractors, *(name for one in fitted for name in one.networks)}
    changes = {"extractors": tuple(sorted(networks)), "publish": config.publish}
    request = request_of(config.without_training().model_copy(update=changes), _NEW_ONLY)
    return replace(with_fitted(request, fitted), notes=(*request.notes, *waiting))


def with_files_left(request: Request, url: str, folder: Path, left: Sequence[NotCopied]) -> Request:
    """A request that says what of a bucket could not be copied.

    A video whose name no folder can have goes into quarantine, as one whose name no store can hold. One that could not
    be read fails. Of other files there is a note.

    Args:
        request: to take in what was copied.
        url: of the bucket's prefix.
        folder: of the copies.
        left: what could not be copied.
    """
    videos = [one for one in left if is_video_by_name(one.name)]
    others = [one for one in left if not is_video_by_name(one.name)]
    unfit = tuple(
        VideoFile(folder / _within(one.name), as_text(PurePosixPath(one.name).stem), f"in '{url}', {one.reason}")
        for one in videos
        if one.unfit
    )
    refused = tuple(Refusal(as_text(f"{url}/{one.name}"), f"{one.reason}.") for one in videos if not one.unfit)
    inputs = request.inputs
    inputs = replace(inputs, videos=(*inputs.videos, *unfit), refused=(*inputs.refused, *refused))
    named = some([f"'{one.name}', as {one.reason}" for one in others], _NAMED, "; ")
    notes = [f"Of '{url}' was not copied, beside videos: {named}."] if others else []
    return replace(request, inputs=inputs, notes=(*request.notes, *notes))


def _within(name: str) -> str:
    """The name of a bucket's file as one within a folder, for a person; no file has that name there."""

    def possible(part: str) -> str:
        if part in ("", ".", ".."):
            return f"({part})"
        return part if len(part) < _LONG else f"{part[:_LONG]}… ({key_of(part)[:8]})"

    return "/".join(map(possible, printable(name).split("/")))


def settled_part(inputs: Inputs, before: float) -> Inputs:
    """The videos and labels whose files changed last before a time, and what else is given for no video that waits."""
    videos, labels = inputs.videos, (*inputs.annotations, *inputs.test_labels)
    given = {video.path for video in videos} | {one.path for one in labels}
    waits = {path for path in given if _changed_s(path) >= before}
    settled = replace(
        inputs,
        videos=tuple(video for video in videos if video.path not in waits),
        annotations=tuple(one for one in inputs.annotations if one.path not in waits),
        is_part=inputs.is_part or bool(waits),
    )
    return without(settled, {video.name for video in videos if video.path in waits})


def _changed_s(path: Path) -> float:
    """When a file changed last; of one that vanished, never before any time."""
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf


@_deployed
def audit(config: str) -> State[Any]:
    """Compare every digest of a store, and see whether anything is missing or stale: `affstore verify`, then `plan`.

    Args:
        config: path of a YAML file.

    Returns:
        Failed where something is damaged; Completed, but under the name Work to do, where something is due.
    """
    found = read_config(Path(config))
    verified = verify_place(found.store, None, default_folder(), deep=False)
    looked_at = f"{verified.artifacts} artifacts, {verified.snapshots} commits"
    if verified.findings:
        named = " ".join(f"{one.what}: {one.fault}, {one.reason}" for one in verified.findings[:_NAMED])
        return Failed(message=printable(f"{len(verified.findings)} faults in {looked_at}. {named}"))
    request = request_of(found)
    due = [row for row in plan_rows(request, Planned.of(request)) if row.due and row.requested]
    if due:
        named = " ".join(f"{row.address} is {row.status}: {row.reason}." for row in due[:_NAMED])
        return Completed(name="Work to do", message=printable(f"{looked_at}: all as written. {len(due)} due: {named}"))
    return Completed(message=f"{looked_at}: all as written, and nothing is due.")


def _ran(config: RunConfig, request: Request, told: Path | None = None) -> State[Any]:
    """Run, and say how it ended and what differs from what was asked.

    Args:
        config: where it runs.
        request: what is run.
        told: the file of the complaints that earlier runs have told, which are only counted; None to tell all.
    """
    known = told_before(told) if told else frozenset()
    result = run_pipeline(request, config.runner, Watcher())
    new = tuple(outcome for outcome in result.outcomes if complaint(outcome) not in known)
    state = state_of(replace(result, outcomes=new))
    old = len(result.outcomes) - len(new)
    counted_ones = [f"{counted(old, 'complaint', 'complaints')} of earlier runs still true."] if old else []
    if told:
        write_told(told, result.outcomes)
    said = " ".join((*map(printable, request.notes), state.message or "", *counted_ones))
    return state.model_copy(update={"message": said})
