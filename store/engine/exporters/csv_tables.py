"""Export as CSV: the tables of the export to Parquet, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from affstore.store.engine.exporters.base import EXPORTERS
from affstore.store.engine.exporters.frame_tables import TableExporter, TableWriter, column_twice


class CsvExporter(TableExporter):
    """A file for each family and producer, as `visual/emotieffnet_b0.csv`, with a row a frame.

    The columns are those of the export to Parquet, but for lists, which have a column a number: `embedding_0`,
    `embedding_1` …. An empty cell says that nothing is there.
    """

    name = "csv"
    description = "the tables of parquet as text, an embedding in numbered columns; an empty cell where nothing is"

    suffix = ".csv"

    def opened(self, path: Path, schema: pa.Schema) -> TableWriter:
        """See `TableExporter.opened`."""
        return _CsvWriter(path, schema)


class _CsvWriter:
    """A CSV file that tables with lists are written into."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        flat = _flat(schema.empty_table()).schema
        self._file = pa.csv.CSVWriter(path, flat, write_options=pa.csv.WriteOptions(quoting_style="needed"))

    def write_table(self, table: pa.Table, /) -> None:
        """See `TableWriter.write_table`."""
        if table.schema != self._schema:
            raise pa.ArrowInvalid("its columns are others than those of the video before")
        self._file.write_table(_flat(table))

    def close(self) -> None:
        """See `TableWriter.close`."""
        self._file.close()


def _flat(table: pa.Table) -> pa.Table:
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in _columns(table):
        if name in columns:  # a user's column is called as a number of a list
            raise column_twice(name)
        columns[name] = column
    return pa.table(columns)


def _columns(table: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The columns without lists; text has no half floats, so they are written as the float32 that they are."""
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_fixed_size_list(field.type):
            for index in range(field.type.list_size):
                yield f"{field.name}_{index}", _full(pc.list_element(column, index))
        else:
            yield field.name, _full(column)


def _full(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


EXPORTERS.register(CsvExporter.name, CsvExporter())
