"""Export as Parquet: tables with a row a frame."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from affstore.store.engine.exporters.base import EXPORTERS
from affstore.store.engine.exporters.frame_tables import TableExporter, TableWriter


class ParquetExporter(TableExporter):
    """A file for each family and producer, as `visual/emotieffnet_b0.parquet`, with a row a frame.

    Null says that nothing is there. A row has its video, subject, frame number and time, a column for each class, unit
    or axis, and the embedding as a list. A video is a row group, so that a file can be read piecewise.
    """

    name = "parquet"
    description = "a file for each family and producer with a row a frame and named columns; null where nothing is"

    suffix = ".parquet"

    def opened(self, path: Path, schema: pa.Schema) -> TableWriter:
        """See `TableExporter.opened`."""
        return pq.ParquetWriter(path, schema, compression="zstd")


EXPORTERS.register(ParquetExporter.name, ParquetExporter())
