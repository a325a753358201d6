"""Export as ordinary Zarr v3, which needs no icechunk to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import zarr

from affstore.store.contract.records import Record
from affstore.store.engine.datasets import dataset_of
from affstore.store.engine.exporters.base import EXPORTERS, Exporter
from affstore.store.engine.feature_store import FeatureStore


class ZarrExporter(Exporter):
    """One Zarr v3 hierarchy, records and all, in the store's own tree, as `open_xarray` shows it."""

    name = "zarr"
    description = "one Zarr v3 hierarchy in the store's own tree, with its records; NaN where nothing is"

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the hierarchy at `folder`."""
        root = zarr.create_group(str(folder), attributes={"exported_from": store.url, "snapshot": store.snapshot})
        for record in records:
            _copy(store, record, root)
        return [folder]


def _copy(store: FeatureStore, record: Record, root: zarr.Group) -> None:
    source = store.group(record.address)
    target = root.create_group(record.address.path)
    if "frames" in record.attributes:
        dataset = dataset_of(store, record)
        chunks = {name: {"chunks": array.shards or array.chunks} for name, array in source.arrays() if name in dataset}
        dataset.to_zarr(root.store, group=target.path, mode="a", consolidated=False, encoding=chunks)
    else:
        for name, array in store.read(record.address).items():
            axes = [f"{name}_{axis}" for axis in range(array.ndim)]  # xarray opens no array whose axes have no names
            target.create_array(name, data=array, dimension_names=axes)
    target.update_attributes(dict(source.attrs))


EXPORTERS.register(ZarrExporter.name, ZarrExporter())
