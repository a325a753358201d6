"""`affstore export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, answer


def export(
    folder: Path,
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    to: str = "zarr",
    family: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    video: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    extractor: Annotated[tuple[str, ...], Parameter(name=["--extractor", "-e"], negative="")] = (),
    columns: str = "",
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Copy the store, or some of it, for other tools: as tables, tiers of intervals, videos, or ordinary Zarr v3.

    What the format has no place for is said. The exit code is 2 when there is no such family or format, the format has
    a place for nothing that is meant, or the folder is not empty, 3 where a video could not be exported (the others
    are), and 4 when the store has no such state, video or network, or the folder cannot be written.

    Example: affstore export embeddings --to parquet --family visual --video video2

    Parameters
    ----------
    folder
        A folder that is empty or does not exist.
    to
        `zarr`, `parquet`, or another format that `affstore list exporters` names.
    family
        source, face, visual, audio, label, head, prediction, result or quarantine; may be given several times; all
        without it.
    video
        Only what is of this video; may be given several times.
    extractor
        Of the networks' outputs only this one's; may be given several times.
    columns
        A table (CSV, TSV or Parquet) with a column `video` and others, as participant or condition, that are put beside
        each row of the tables; `FILE:COLUMN,COLUMN` takes some of them.
    dry_run
        Say what would be copied, and do nothing.
    """
    from affstore import FeatureStore
    from affstore.store.engine.catalogue import JoinedColumns
    from affstore.store.engine.exporters.base import EXPORTERS, Written, check_taken, check_target
    from affstore.store.engine.exporters.base import export as copy
    from affstore.store.engine.exporters.frame_tables import OPENING
    from affstore.store.engine.exporters.selection import selected

    exporter, opened = EXPORTERS.get(to), FeatureStore(store, at)
    records = selected(opened, family, video, extractor)
    joined = JoinedColumns.read(opened, Path(columns), OPENING) if columns else None
    if joined is not None:
        exporter.beside(joined)  # which says it where the format has no place for them
    check_target(opened, folder)
    taken = {one.address.path: one for one in check_taken(exporter, records)}
    written = [] if dry_run else copy(opened, records, folder, to, joined)
    left_out, notes, without = [], [], []
    if isinstance(written, Written):
        left_out, notes, without = written.left_out, written.notes, written.without
    lost = {one.address.path for one in without}
    copied = [path for path in taken if path not in lost]
    others = [one for one in records if one.address.path not in taken]
    if others:
        kinds = ", ".join(sorted({one.address.family for one in others}))
        notes = [*notes, f"'{to}' has no place for {len(others)} other artifacts: {kinds}."]
    document = {"artifacts": copied, "written": [*map(str, written)], "left_out": left_out, "notes": notes}
    last = f"{len(copied)} artifacts {'would be ' if dry_run else ''}copied to {folder}"
    answer(document, [*left_out, *notes, last], json)
    return 3 if left_out else 0


COMMANDS.register("export", Command(export))
