"""`affstore export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, DryRun, Json, Store, print_json
from affstore.flows.watch import to_terminal


def export(
    to: Path,
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    form: Literal["zarr", "parquet"] = "zarr",
    family: tuple[str, ...] = (),
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Copy the store, or some families of it, as ordinary Zarr v3 or as Parquet with a row a frame.

    Example: affstore export embeddings --form parquet --family visual --family audio

    Parameters
    ----------
    to
        A folder that is empty or does not exist.
    form
        `zarr` or `parquet`.
    family
        source, face, visual, audio, label, head or prediction; may be given several times; all without it.
    dry_run
        Say what would be copied, and do nothing.
    """
    from affstore import FeatureStore
    from affstore.store.contract.schema import family as known_family
    from affstore.store.engine.export import export as copy

    for name in family:
        known_family(name)
    opened = FeatureStore(store, at)
    records = opened.records(*family)
    written = [] if dry_run else copy(opened, records, to, form)
    if json:
        print_json({"artifacts": [r.address.path for r in records], "written": [str(path) for path in written]})
    else:
        to_terminal(f"{len(records)} artifacts {'would be ' if dry_run else ''}copied to {to}")
    return 0


COMMANDS.register("export", Command(export))
