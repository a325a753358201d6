"""An exporter: CSV files with a row a frame; a cell is empty where nothing is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from affstore import FeatureStore
from affstore.store.contract.records import Record
from affstore.store.engine.datasets import dataset_of
from affstore.store.engine.exporters.base import Exporter


class CsvExporter(Exporter):
    """A file for each artifact with a row a frame, in the store's own tree."""

    contract = 1
    name = "csv"
    description = "a CSV file for each artifact with a row a frame; an empty cell where nothing is"

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """Those with a row a frame: heads have none."""
        return [record for record in records if "frames" in record.attributes]

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the files; artifacts without frames, such as heads, are left out."""
        written = []
        for record in self.taken(records):
            path = folder / f"{record.address.path}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(dataset_of(store, record), path)
            written.append(path)
        return written


def _write(dataset: xr.Dataset, path: Path) -> None:
    columns = dict(_columns(dataset))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "time_s", *columns])
        for frame, time_s in enumerate(dataset["time_s"].values):
            writer.writerow([frame, time_s, *(_cell(values[frame]) for values in columns.values())])


def _columns(dataset: xr.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Every array as columns, called by the names along its axes or by their number."""
    for name, array in dataset.data_vars.items():
        flat = array.values.reshape(len(array), -1)
        names = [str(one) for one in array[array.dims[1]].values] if array.ndim == 2 else []
        for index, values in enumerate(flat.T):
            label = names[index] if names else index
            yield (f"{name}_{label}" if flat.shape[1] > 1 else str(name)), values


def _cell(value: np.generic) -> str:
    return "" if isinstance(value, np.floating) and np.isnan(value) else str(value)


EXPORTER = CsvExporter()
