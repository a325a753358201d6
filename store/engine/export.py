"""Copies of the store for tools that know nothing of it: ordinary Zarr v3, and Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.records import Record
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import in_words

Format = Literal["zarr", "parquet"]


def export(store: FeatureStore, records: Sequence[Record], to: Path, form: Format) -> list[Path]:
    """Copy artifacts out of the store.

    `zarr` makes one Zarr v3 hierarchy at `to`, records and all, in the store's own tree. `parquet` makes one file for
    each family and producer, e.g. `to/visual/emotieffnet_b0.parquet`, with one row a frame and its video, subject,
    frame number and time; a row group a video, so that it can be read piecewise.

    Returns:
        What was written.

    Raises:
        SpecError: `to` exists and is not empty.
    """
    if to.exists() and any(to.iterdir() if to.is_dir() else [to]):
        raise SpecError(f"Nothing is exported over what exists: '{to}' is not empty. Name another place.")
    with in_words(str(to), "Exporting to"):
        return _to_zarr(store, records, to) if form == "zarr" else list(_to_parquet(store, records, to))


def _to_zarr(store: FeatureStore, records: Sequence[Record], to: Path) -> list[Path]:
    root = zarr.create_group(str(to), attributes={"exported_from": store.url, "snapshot": store.snapshot})
    for record in records:
        source = store.group(record.address)
        target = root.create_group(record.address.path, attributes=dict(source.attrs))
        for name, array in sorted(source.arrays()):
            copy = target.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=array.chunks,
                dimension_names=array.metadata.dimension_names,  # type: ignore[union-attr]
            )
            copy[...] = array[...]
    return [to]


def _to_parquet(store: FeatureStore, records: Sequence[Record], to: Path) -> Iterable[Path]:
    framed = [record for record in records if "frames" in record.attributes]
    for (family, producer), group in groupby(framed, lambda record: (record.address.family, record.address.producer)):
        path = to / family / f"{producer or family}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_parquet(store, list(group), path)
        yield path


def _write_parquet(store: FeatureStore, records: Sequence[Record], path: Path) -> None:
    """One file of one family and producer; a row group a video. Optional arrays that some lack are left out."""
    shared = set.intersection(*(set(store.group(record.address).array_keys()) for record in records))
    writer: pq.ParquetWriter | None = None
    try:
        for record in records:
            table = _table(store, record, sorted(shared))
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    except pa.ArrowInvalid as error:
        raise SpecError(f"'{path.stem}' differs in width between videos: {error}. Export fewer artifacts.") from error
    finally:
        if writer is not None:
            writer.close()


def _table(store: FeatureStore, record: Record, names: Sequence[str]) -> pa.Table:
    address, frames = record.address, int(record.attributes["frames"])
    arrays = store.read(address, names)
    time_s = store.read(_source_of(record, store).address, ["time_s"])["time_s"]
    columns = {
        "video": pa.array([address.video] * frames, pa.string()),
        "subject": pa.array([address.subject] * frames, pa.string()),
        "frame": pa.array(np.arange(frames, dtype=np.int64)),
        "time_s": pa.array(time_s),
    }
    return pa.table(columns | {name: _column(array) for name, array in arrays.items() if name != "time_s"})


def _column(array: NDArray[Any]) -> pa.Array:
    """An array as a column; further axes become fixed-size lists."""
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for length in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column


def _source_of(record: Record, store: FeatureStore) -> Record:
    from affstore.store.engine.reading import find_source

    if record.address.family == "source":
        return record
    return find_source(store, record.address.video)
