"""Export as Parquet: tables with a row a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from affstore.store.contract.records import Record
from affstore.store.engine.exporters.base import EXPORTERS, Exporter
from affstore.store.engine.exporters.frame_tables import write_tables
from affstore.store.engine.feature_store import FeatureStore


class ParquetExporter(Exporter):
    """A file for each family and producer, as `visual/emotieffnet_b0.parquet`, with a row a frame.

    Null says that nothing is there. A row has its video, subject, frame number and time, a column for each class, unit
    or axis, and the embedding as a list. A video is a row group, so that a file can be read piecewise.
    """

    name = "parquet"
    description = "a file for each family and producer with a row a frame and named columns; null where nothing is"

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the files."""
        return write_tables(store, records, folder, ".parquet", _opened)


def _opened(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")


EXPORTERS.register(ParquetExporter.name, ParquetExporter())
