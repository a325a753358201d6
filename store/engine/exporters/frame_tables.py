"""Tables with a row a frame, one for each family and producer, as Parquet and CSV hold them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.records import Record
from affstore.store.engine.catalogue import JoinedColumns
from affstore.store.engine.exporters.base import Exporter
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.frames import columns_of, opening_columns
from affstore.store.engine.reading import read_clock


class TableWriter(Protocol):
    """A file that tables are written into, one after the other."""

    def write_table(self, table: pa.Table, /) -> object:
        """Write the rows of a table; its schema is that of all others."""

    def close(self) -> object:
        """End the file."""


OPENING = ("video", "subject", "frame", "time_s")
"""The first columns of each table."""


class TableExporter(Exporter):
    """A file for each family and producer, as `visual/emotieffnet_b0` and the suffix; a table a video.

    Attributes:
        suffix: of its files.
    """

    contract = 1
    suffix: ClassVar[str]

    def __init__(self, columns: JoinedColumns | None = None) -> None:
        """An exporter that puts a user's columns beside each row, or none."""
        self._columns = columns

    def beside(self, columns: JoinedColumns) -> Exporter:
        """See `Exporter.beside`."""
        return type(self)(columns)

    @abstractmethod
    def opened(self, path: Path, schema: pa.Schema) -> TableWriter:
        """A new file for tables of a schema."""

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """Those with frames."""
        return [record for record in records if "frames" in record.attributes]

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the files. Artifacts without frames, such as heads, have no rows and are left out.

        Raises:
            SpecError: videos of one producer differ in width, or a user's column is called as one of the table.
        """
        written = []
        for (name, producer), group in groupby(
            self.taken(records), lambda one: (one.address.family, one.address.producer)
        ):
            path = folder / name / f"{producer or name}{self.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(store, list(group), path)
            written.append(path)
        return written

    def tables(self, store: FeatureStore, records: Sequence[Record]) -> Iterator[pa.Table]:
        """What a file of one family and producer holds, a table each; optional arrays that some lack are left out."""
        shared = set.intersection(*({*store.array_names(one.address)} for one in records))
        yield from (self._table(store, record, sorted(shared)) for record in records)

    def _write(self, store: FeatureStore, records: Sequence[Record], path: Path) -> None:
        writer: TableWriter | None = None
        try:
            for table in self.tables(store, records):
                writer = self.opened(path, table.schema) if writer is None else writer
                writer.write_table(table)
        except SpecError:
            raise
        except (pa.ArrowInvalid, ValueError) as error:
            raise SpecError(
                f"'{path.stem}' differs in width between videos: {error}. Export fewer artifacts."
            ) from error
        finally:
            if writer is not None:
                writer.close()

    def _table(self, store: FeatureStore, record: Record, names: Sequence[str]) -> pa.Table:
        """An artifact's arrays as columns; null where the family's mask says that nothing is there."""
        address, arrays = record.address, store.read(record.address)
        opening = opening_columns(address.video, address.subject, read_clock(store, address.video).starts_s)
        columns = {name: opening[name] for name in OPENING}
        values = value_columns(record, {name: arrays[name] for name in names})
        own = dict(zip(self._columns.names, self._columns.of(address), strict=True)) if self._columns else {}
        for name in own:
            if name in columns or name in values:
                raise column_twice(name)
        beside = {name: pa.array([text] * len(opening["frame"]), pa.string()) for name, text in own.items()}
        return pa.table(columns | beside | values)


def value_columns(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, pa.Array]:
    """An artifact's arrays as the columns behind the first ones; one that is called as one of those has a prefix.

    A label space may have a unit `subject`, which is then `label_subject`.
    """
    found = columns_of(record, arrays)
    renamed = {}
    for name in OPENING:
        if name in found:
            renamed[name] = f"{record.address.family}_{name}"
            while renamed[name] in found:
                renamed[name] = f"{record.address.family}_{renamed[name]}"
    return {renamed.get(name, name): column for name, column in found.items()}


def column_twice(name: str) -> SpecError:
    """The error for a user's column that is called as one of the table it is put into."""
    return SpecError(
        f"A table of this export has a column '{name}' already, so that yours of that name has no place. Call yours "
        "something else, or take only others, as --columns FILE:participant,session."
    )
