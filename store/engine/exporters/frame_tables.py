"""Tables with a row a frame, one for each family and producer, as Parquet and CSV hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from affstore.store.contract import schema
from affstore.store.contract.errors import SpecError
from affstore.store.contract.records import Record
from affstore.store.engine.datasets import dataset_of
from affstore.store.engine.feature_store import FeatureStore

if TYPE_CHECKING:
    import xarray as xr

_PREFIXES = {"logits": "logit_", "raw": "raw_", "smoothed": "smoothed_", "prediction": "prediction_"}
"""Of the columns that an array becomes; those of any other array are called by their classes or units alone."""


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
