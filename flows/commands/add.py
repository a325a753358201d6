"""`affstore add`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affstore.flows.commands.options import (
    DEFAULT_EXTRACTORS,
    DEFAULT_STORE,
    Crops,
    Device,
    DryRun,
    Engine,
    Extractors,
    Flag,
    Json,
    Names,
    Precision,
    Runner,
    Store,
    Weights,
    crops_by_kind,
)
from affstore.store.contract.errors import SpecError


def add(
    paths: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)] = (),
    /,
    *,
    store: Store = DEFAULT_STORE,
    crops: Crops = (),
    extractors: Extractors = DEFAULT_EXTRACTORS,
    weights: Weights = "official",
    engine: Engine = "auto",
    precision: Precision = "auto",
    device: Device = "cpu",
    runner: Runner = "threads",
    workers: int = 0,
    scheduler: str = "",
    names: Names = "file",
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    replace: Flag = False,
    retry: Flag = False,
    dry_run: DryRun = False,
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
        Videos, folders or globs; none are needed where --crops brings more of known videos.
    store
        A folder, s3://bucket/prefix or memory:name.
    crops
        KIND=FOLDER: a folder that holds `VIDEO[_left|_right]/00001.jpg …`, one picture a frame; may be given several
        times, also for one kind.
    extractors
        A face or sound network; may be given several times.
    weights
        `untrained` runs seeded, untrained parameters; every record then says so.
    engine
        What runs the face networks; `auto` takes the fastest that is faithful on this machine. Part of every key.
    precision
        Of the forward passes; part of every key.
    device
        Where the networks run.
    runner
        `threads` of this process, or worker processes of a Dask cluster.
    workers
        How many videos at once; 0 chooses by the machine.
    scheduler
        Address of a running Dask scheduler, for --runner dask.
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
    json
        Print one JSON document.
    """
    from affstore.flows.commands.running import run_and_tell
    from affstore.flows.config.run_config import checked
    from affstore.tasks.ingest.incoming_files import IngestOptions

    if not (paths or crops or everything):
        raise SpecError("PATHS requires at least one video, folder or glob, unless --crops or --all is given.")
    document = {
        "store": store,
        "sources": paths,
        "names": names,
        "crops": crops_by_kind(crops),
        "extractors": extractors,
        "weights": weights,
        "engine": engine,
        "precision": precision,
        "device": device,
        "runner": {"kind": runner, "workers": workers, "address": scheduler},
    }
    config = checked(document, "add")
    if dry_run:
        from affstore.flows.commands.plan import show_plan

        show_plan(config, json, named_only=not everything)
        return 0
    return run_and_tell(config, json, IngestOptions(replace, retry), everything).exit_code
