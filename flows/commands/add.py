"""`affstore add`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.options import (
    DEFAULT_EXTRACTORS,
    DEFAULT_STORE,
    Device,
    DryRun,
    Extractors,
    Flag,
    Json,
    Precision,
    Runner,
    Store,
    Weights,
    print_json,
    print_table,
)


def add(
    paths: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)],
    /,
    *,
    store: Store = DEFAULT_STORE,
    extractors: Extractors = DEFAULT_EXTRACTORS,
    weights: Weights = "official",
    precision: Precision = "float32",
    device: Device = "cpu",
    runner: Runner = "threads",
    workers: int = 0,
    scheduler: str = "",
    replace: Flag = False,
    retry: Flag = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Take in videos and their annotations, and extract only what is missing.

    A folder may be Aff-Wild2's own root: videos and annotation files are found in it. Bad files are quarantined with
    their reason and never stop the others; the exit code is then 3.

    Example: affstore add batch1/ batch2/ annotations/ --store affstore-data

    Parameters
    ----------
    paths
        Videos, folders or globs.
    store
        A folder, s3://bucket/prefix or memory:name.
    extractors
        A face or sound network; may be given several times.
    weights
        `untrained` runs seeded, untrained parameters; every record then says so.
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
    replace
        A known name with other bytes is a new version of that video.
    retry
        Try again what is in quarantine.
    dry_run
        Say what would be taken in, and do nothing.
    json
        Print one JSON document.
    """
    from flows.commands.running import run_and_tell
    from flows.config import checked

    document = {
        "store": store,
        "sources": paths,
        "extractors": extractors,
        "weights": weights,
        "precision": precision,
        "device": device,
        "runner": {"kind": runner, "workers": workers, "address": scheduler},
    }
    config = checked(document, "add")
    if dry_run:
        return _dry(paths, json)
    return run_and_tell(config, json, replace, retry).exit_code


def _dry(paths: tuple[str, ...], as_json: bool) -> int:
    from flows.inputs import gather

    inputs = gather(paths)
    if as_json:
        annotations = [str(found.path) for found in inputs.annotations]
        print_json({"videos": [str(path) for path in inputs.videos], "annotations": annotations})
    else:
        rows = [("video", str(path)) for path in inputs.videos]
        rows += [(f"{found.task} labels, {found.split}", str(found.path)) for found in inputs.annotations]
        print_table(("what", "file"), rows, f"Would take in; {inputs.left_alone} other files left alone")
    return 0
