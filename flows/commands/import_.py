"""`affstore import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Flag, Json, Store, print_json
from affstore.flows.watch import to_terminal


def import_(
    file: Path,
    /,
    *,
    video: str,
    name: str,
    subject: Literal["main", "left", "right"] = "main",
    sound: Flag = False,
    take: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    stored: Literal["float32", "float16"] = "float32",
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Take in features that another program computed, with a row a frame of a video that the store has.

    They are read, exported and windowed like any embedding, and called imported/NAME. A file of another length than the
    video is refused with both lengths. Pickles are never read.

    Example: affstore import gaze.csv --video video2 --name gaze

    Parameters
    ----------
    file
        A .npy or .npz array of (frames, features), or a .csv table with a header; NaN or empty where nothing is known.
    video
        Whose features they are, as `affstore status` calls it.
    name
        What they are called.
    subject
        Of the video: main, left or right.
    sound
        They are of its sound, and of nobody.
    take
        A column of a table, or the array of an .npz; may be given several times for columns; all of a table without it.
    stored
        The type that they are stored in: `float16` takes half the room.
    """
    from affstore import FeatureStore
    from affstore.models.feature_files import read_features
    from affstore.tasks.ingest.imported_features import imported_artifact, in_float16, is_new, keep
    from affstore.tasks.specs import code_versions

    opened = FeatureStore(store)
    artifact = imported_artifact(opened, name, (video, "" if sound else subject), file, read_features(file, take))
    artifact = in_float16(artifact) if stored == "float16" else artifact
    new = is_new(opened, artifact) if dry_run else keep(opened, artifact, code_versions())
    present, (rows, width) = int(artifact.arrays["present"].sum()), artifact.arrays["embedding"].shape
    if json:
        print_json({"artifact": artifact.address.path, "new": new, "frames": rows, "present": present, "width": width})
    else:
        did = "in the store already" if not new else "would be taken in" if dry_run else "taken in"
        to_terminal(f"{artifact.address.path}: {did}; {rows} frames, {present} of them with {width} numbers")
    return 0


COMMANDS.register("import", Command(import_))
