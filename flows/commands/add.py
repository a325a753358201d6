"""`affstore add`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import step
from affstore.flows.commands.options import (
    DEFAULT_EXTRACTORS,
    DEFAULT_LIMITS,
    DEFAULT_NETWORKS,
    DEFAULT_RUNNER,
    DEFAULT_STORE,
    Crops,
    Extractors,
    Flag,
    Json,
    Labels,
    LimitOptions,
    Names,
    NetworkOptions,
    Rehash,
    RunnerChoice,
    Store,
    crops_by_kind,
    label_folders,
)
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.flows.request import RunResult


def add(
    paths: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)] = (),
    /,
    *,
    store: Store = DEFAULT_STORE,
    crops: Crops = (),
    labels: Labels = (),
    extractors: Extractors = DEFAULT_EXTRACTORS,
    networks: NetworkOptions = DEFAULT_NETWORKS,
    runner: RunnerChoice = DEFAULT_RUNNER,
    limits: LimitOptions = DEFAULT_LIMITS,
    names: Names = "file",
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    replace: Flag = False,
    retry: Flag = False,
    rehash: Rehash = False,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Take in videos and their annotations, and extract only what is missing.

    A folder may be Aff-Wild2's own root: videos and annotation files are found in it. Bad files are quarantined with
    their reason and never stop the others; the exit code is then 3. Faces are found in the videos, or taken from crop
    folders: --crops cropped=FOLDER brings them, and -e emotieffnet_b0@cropped runs a network on them.

    Example: affstore add my_videos/ annotations/ --store affstore-data

    Parameters
    ----------
    paths
        Videos, folders or globs; none are needed with --crops, --labels or --all.
    crops
        KIND=FOLDER: a folder that holds `VIDEO[_left|_right|_personN]/00001.jpg …`, one picture a frame; may be given
        several times, also for one kind.
    labels
        FORMAT:SPACE=FOLDER: labels of another format than Aff-Wild2's, in a format of `affstore list labels`; of
        `expr`, `au` or `va`. FOLDER has label files, each called as its video, or is one table with a column `video`.
        Files below a folder `validation` are for validation.
    names
        `folder` calls videos by their folders too, so that s1/00001.mp4 and s2/00001.mp4 become s1_00001 and
        s2_00001; labels and crop folders are then looked for under these names.
    everything
        Also extract what other videos of the store lack.
    replace
        A known name with other bytes is a new version of that video.
    retry
        Try again what is in quarantine.
    dry_run
        Show the plan: what would be taken in, by which networks it would be embedded, and how long that takes.
    """
    from affstore.flows.commands.running import run_and_tell
    from affstore.flows.config.run_config import checked
    from affstore.flows.request import RunOptions
    from affstore.tasks.ingest.incoming_files import IngestOptions

    if not (paths or crops or labels or everything):
        raise SpecError(
            "PATHS requires at least one video, folder or glob, unless --crops, --labels or --all is given."
        )
    limited = limits.limits()
    if everything and limited.share is not None:
        raise SpecError(
            "--share is of the files that are named, so --all cannot be met with it. Leave one of them out."
        )
    document = {
        "store": store,
        "sources": paths,
        "names": names,
        "crops": crops_by_kind(crops),
        "labels": label_folders(labels),
        "extractors": extractors,
        "runner": runner.spec(),
        **asdict(networks),
    }
    config = checked(document, "add")
    options = IngestOptions(replace, retry, rehash)
    if dry_run:
        from affstore.flows.commands.plan import show_plan
        from affstore.flows.run_plan import plan_of_run

        show_plan(plan_of_run(config, None, not everything, limited.share, options), json)
        return 0
    return run_and_tell(config, json, RunOptions(options, everything, limited), lambda run: _next(run, paths)).exit_code


def _next(result: RunResult, paths: Sequence[str]) -> list[str]:
    """What to type after videos were taken in: a look at them, and what labels or the videos alone are good for."""
    store = result.request.context.store_url
    if result.request.context.store().addresses("label"):
        good_for = ["affstore experiment list"]
    else:
        good_for = [step(store, "analyze", *paths, "--pull")] if paths else []
    return [step(store, "status"), *good_for]


COMMANDS.register("add", Command(add))
