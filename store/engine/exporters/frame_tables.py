"""Tables with a row a frame, one for each family and producer, as Parquet and CSV hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from affstore.store.contract import schema
from affstore.store.contract.errors import SpecError
from affstore.store.contract.records import Record
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.frames import columns_of, opening_columns
from affstore.store.engine.reading import read_clock


class TableWriter(Protocol):
    """A file that tables are written into, one after the other."""

    def write_table(self, table: pa.Table, /) -> object:
        """Write the rows of a table; its schema is that of all others."""

    def close(self) -> object:
        """End the file."""


def write_tables(
    store: FeatureStore,
    records: Sequence[Record],
    folder: Path,
    suffix: str,
    opened: Callable[[Path, pa.Schema], TableWriter],
) -> list[Path]:
    """Write a file for each family and producer, as `visual/emotieffnet_b0` and the suffix; a table a video.

    Artifacts without frames, such as heads, have no rows and are left out.

    Raises:
        SpecError: videos of one producer differ in width.
    """
    framed = [record for record in records if "frames" in record.attributes]
    written = []
    for (name, producer), group in groupby(framed, lambda one: (one.address.family, one.address.producer)):
        path = folder / name / f"{producer or name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(store, list(group), path, opened)
        written.append(path)
    return written


def _write(
    store: FeatureStore, records: Sequence[Record], path: Path, opened: Callable[[Path, pa.Schema], TableWriter]
) -> None:
    """One file of one family and producer. Optional arrays that some lack are left out."""
    known = schema.family(records[0].address.family)
    shared = set.intersection(*({*map(known.name_of, store.group(one.address).array_keys())} for one in records))
    writer: TableWriter | None = None
    try:
        for record in records:
            table = _table(store, record, sorted(shared))
            writer = opened(path, table.schema) if writer is None else writer
            writer.write_table(table)
    except (pa.ArrowInvalid, ValueError) as error:
        raise SpecError(f"'{path.stem}' differs in width between videos: {error}. Export fewer artifacts.") from error
    finally:
        if writer is not None:
            writer.close()


def _table(store: FeatureStore, record: Record, names: Sequence[str]) -> pa.Table:
    """An artifact's arrays as columns; null where the family's mask says that nothing is there."""
    address, arrays = record.address, store.read(record.address)
    opening = opening_columns(address.video, address.subject, read_clock(store, address.video).starts_s)
    columns = {name: opening[name] for name in ("video", "subject", "frame", "time_s")}
    return pa.table(columns | columns_of(record, {name: arrays[name] for name in names}))
