"""Copies of the store for tools that know nothing of it: ordinary Zarr v3, and Parquet.

Both say in their own way where nothing is: Zarr by NaN, Parquet by null. Both name classes, units and instants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from affstore.store.contract import schema
from affstore.store.contract.errors import SpecError
from affstore.store.contract.records import Record
from affstore.store.engine.datasets import dataset_of
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import translate_errors

if TYPE_CHECKING:
    import xarray as xr

Format = Literal["zarr", "parquet"]

_PREFIXES = {"logits": "logit_", "raw": "raw_", "smoothed": "smoothed_", "prediction": "prediction_"}
"""Of the columns that an array becomes; those of any other array are called by their classes or units alone."""


def export(store: FeatureStore, records: Sequence[Record], to: Path, form: Format) -> list[Path]:
    """Copy artifacts out of the store.

    `zarr` makes one Zarr v3 hierarchy at `to`, records and all, in the store's own tree, as `open_xarray` shows it.
    `parquet` makes one file for each family and producer, e.g. `to/visual/emotieffnet_b0.parquet`, with one row a frame
    and its video, subject, frame number and time; a column for each class, unit or axis, and the embedding as a list; a
    row group a video, so that it can be read piecewise.

    Returns:
        What was written.

    Raises:
        SpecError: `to` exists and is not empty.
    """
    if to.exists() and any(to.iterdir() if to.is_dir() else [to]):
        raise SpecError(f"Nothing is exported over what exists: '{to}' is not empty. Name another place.")
    with translate_errors(str(to), "Exporting to"):
        return _to_zarr(store, records, to) if form == "zarr" else list(_to_parquet(store, records, to))


def _to_zarr(store: FeatureStore, records: Sequence[Record], to: Path) -> list[Path]:
    root = zarr.create_group(str(to), attributes={"exported_from": store.url, "snapshot": store.snapshot})
    for record in records:
        source = store.group(record.address)
        target = root.create_group(record.address.path)
        if "frames" in record.attributes:
            dataset = dataset_of(store, record)
            chunks = {
                name: {"chunks": array.shards or array.chunks} for name, array in source.arrays() if name in dataset
            }
            dataset.to_zarr(root.store, group=target.path, mode="a", consolidated=False, encoding=chunks)
        else:
            for name, array in store.read(record.address).items():
                target.create_array(name, data=array)
        target.update_attributes(dict(source.attrs))
    return [to]


def _to_parquet(store: FeatureStore, records: Sequence[Record], to: Path) -> Iterable[Path]:
    framed = [record for record in records if "frames" in record.attributes]
    for (name, producer), group in groupby(framed, lambda record: (record.address.family, record.address.producer)):
        path = to / name / f"{producer or name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_parquet(store, list(group), path)
        yield path


def _write_parquet(store: FeatureStore, records: Sequence[Record], path: Path) -> None:
    """One file of one family and producer; a row group a video. Optional arrays that some lack are left out."""
    known = schema.family(records[0].address.family)
    shared = set.intersection(*({*map(known.name_of, store.group(one.address).array_keys())} for one in records))
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
    """An artifact's arrays as columns; null where the family's mask says that nothing is there."""
    address, dataset, mask = record.address, dataset_of(store, record), schema.family(record.address.family).mask
    frames = dataset.sizes["frame"]
    columns = {
        "video": pa.array([address.video] * frames, pa.string()),
        "subject": pa.array([address.subject] * frames, pa.string()),
        "frame": pa.array(np.arange(frames, dtype=np.int64)),
        "time_s": pa.array(dataset["time_s"].values),
    }
    for name in names:
        if name in dataset.data_vars and not (name == mask and dataset[name].ndim > 1):
            group = store.group(address)
            whole = group[schema.family(address.family).stored_name(name, group)].dtype  # type: ignore[union-attr]
            columns |= dict(_columns(dataset[name], record, pa.from_numpy_dtype(whole)))
    return pa.table(columns)


def _columns(array: xr.DataArray, record: Record, kind: pa.DataType) -> Iterator[tuple[str, pa.Array]]:
    """An array as named columns; along an axis without names, as a column of lists."""
    name, axes, values = str(array.name), array.dims[1:], np.ascontiguousarray(array.values)
    classes = record.attributes.get("labels")
    prefix = _PREFIXES.get(name, "")
    if axes in (("label",), ("decision",)) and axes[0] not in array.coords and classes:
        title = prefix.rstrip("_") or record.address.producer
        yield title, pa.array([classes[int(i)] if np.isfinite(i) else None for i in values[:, 0]], pa.string())
    elif all(axis in array.coords for axis in axes):
        for index, place in enumerate(product(*(array.coords[axis].values for axis in axes))):
            title = prefix + "_".join(map(str, place)) if place else name
            yield title, pa.array(values.reshape(len(values), -1)[:, index], from_pandas=True).cast(kind)
    else:
        missing = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        flat = pa.array(values.reshape(-1))
        yield name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(missing))
