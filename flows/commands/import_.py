"""`affstore import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import step, tell_next
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Flag, Json, Store, print_json
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore import FeatureStore


def import_(
    files: Annotated[tuple[Path, ...], Parameter(negative="", allow_leading_hyphen=False)],
    /,
    *,
    name: str,
    video: str = "",
    subject: str | None = None,
    sound: Flag = False,
    take: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    stored: Literal["auto", "float32", "float16"] = "auto",
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Take in features that another program computed, with a row a frame of a video that the store has.

    They are read, exported and windowed like any embedding, are called imported/NAME, and are inputs of heads by that
    name. A file of another length than the video is refused with both lengths. Pickles are never read. Exit code 3:
    some files were refused.

    Example: affstore import gaze.csv --video video2 --name gaze

    Parameters
    ----------
    files
        Each a .npy or .npz array of (frames, features), or a .csv table with a header; NaN or empty where nothing is
        known.
    name
        What they are called.
    video
        Whose features they are, as `affstore status` calls it; without it, each file is called as its video.
    subject
        Of the video: main, left, right, or person1, person2 … Without it, main, or what a file's name says, as
        12_left.csv does.
    sound
        They are of its sound, and of nobody.
    take
        A column of a table, or the array of an .npz; may be given several times for columns; all of a table without it.
    stored
        The type that they are stored in: `float16` takes half the space; `auto` is what the store has, or float32.
    """
    from affstore import FeatureStore
    from affstore.store.contract.errors import SourceError, SpecError
    from affstore.store.contract.names import check_subject
    from affstore.tasks.imported_inputs import difference
    from affstore.tasks.ingest.imported_features import ImportSpec, import_files
    from affstore.tasks.specs import code_versions

    if video and len(files) > 1:
        raise SpecError(f"--video names one video, and {len(files)} files are given. Leave it out: each is called so.")
    if subject is not None and sound:
        raise SpecError(f"--subject {subject} names a person, and --sound is of nobody. Leave one of them out.")
    if subject is not None:
        check_subject(subject)
    opened = FeatureStore(store)
    of = {file: (video, subject or "main") if video else _called(opened, file, subject) for file in files}
    of = {file: (whose, "") for file, (whose, _) in of.items()} if sound else of
    found, refused = import_files(opened, ImportSpec(name, take, stored), of, None if dry_run else code_versions())
    if not found:
        raise SourceError(" ".join(map(str, refused)))
    note = "" if dry_run else difference(FeatureStore(store), name)
    if json:
        reasons = [str(error) for error in refused]
        print_json({"imported": [asdict(one) for one in found], "refused": reasons, "note": note or None})
    else:
        for one in found:
            did = "in the store already" if not one.new else "would be taken in" if dry_run else "taken in"
            to_terminal(f"{one.artifact}: {did}; {one.frames} frames, {one.present} of them with {one.width} numbers")
        to_terminal(*map(str, refused), *([note] if note else []))
        if not dry_run:
            tell_next([step(store, "show", found[0].artifact)])
    return 3 if refused else 0


def _called(store: FeatureStore, file: Path, subject: str | None) -> tuple[str, str]:
    """The video and the subject that a file is called as."""
    from affstore.store.contract.names import split_subject, video_name
    from affstore.store.engine.reading import video_names

    found, side = split_subject(video_name(file.stem), video_names(store))
    return (found, side) if subject is None else (video_name(file.stem), subject)


COMMANDS.register("import", Command(import_))
