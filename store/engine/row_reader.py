"""Pieces of one array of many artifacts, for readers that come back often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from affstore.store.contract.half_floats import to_float32
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import translate_errors
from affstore.store.engine.ranges import ArrayFiles, RowRange, read_ranges


class RowReader:
    """The rows of an array, artifact by artifact; in float32 where they are stored in float16.

    Every array is opened once, when it is first needed: opening costs as much as reading a window. Several threads may
    read at once.

    Attributes:
        records: the artifacts.
    """

    def __init__(self, store: FeatureStore, records: Sequence[Record], array: str) -> None:
        """Say what will be read; nothing is yet.

        Args:
            store: an open store; it is read at its snapshot.
            records: of the artifacts.
            array: its name.
        """
        self.records = tuple(records)
        self._store, self._array = store, array
        self._arrays: dict[int, zarr.Array[Any]] = {}
        self._files: dict[int, ArrayFiles | None] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of the array of the record at `index`.

        Raises:
            NotFoundError: it has no such array.
            SchemaError: what is there breaks `schema.yaml`.
        """
        return self._open(index).shape

    def read(self, index: int, start: int, stop: int) -> NDArray[Any]:
        """The rows `[start, stop)`, as far as they exist, of the record at `index`; see `read_many`."""
        return self.read_many([(index, start, stop)])[0]

    def read_many(self, pieces: Sequence[tuple[int, int, int]], least_rows: int = 0) -> list[NDArray[Any]]:
        """Several pieces, fetched side by side; nobody else holds them.

        Args:
            pieces: the index of a record, a first row from 0 on, and the row after the last, each; what does not exist
                is left out.
            least_rows: a piece with fewer is followed by zeros.

        Raises:
            NotFoundError: a record has no such array.
            SchemaError: what is there breaks `schema.yaml`.
            StoreError: what is there is damaged.
            StoreUnavailableError: the store is out of reach.
        """
        places: list[NDArray[Any]] = []
        ranges: list[RowRange] = []
        for index, start, stop in pieces:
            array = self._open(index)
            count = max(0, min(stop, array.shape[0]) - start)
            place = np.empty((max(count, least_rows), *array.shape[1:]), array.dtype)
            place[count:] = 0
            places.append(place)
            ranges.append(RowRange(array, start, place[:count], self._files[index]))
        with translate_errors(self._store.url, "Reading"):
            read_ranges(ranges)
        self._announce_next(ranges)
        for number, place in enumerate(places):  # one after the other: a piece is not there twice for long
            places[number] = to_float32(place)
        return places

    def _announce_next(self, ranges: Sequence[RowRange]) -> None:
        """Of arrays whose rows are read in order, have the system read as many again while others work."""
        by_array: dict[str, list[RowRange]] = {}
        for one in ranges:
            by_array.setdefault(one.array.path, []).append(one)
        for path, those in by_array.items():
            first, last, (begin, end) = those[0], those[-1], self._last.get(path, (0, 0))
            stop, count = last.start + len(last.into), sum(len(one.into) for one in those)
            if last.files is not None and begin < first.start <= end:
                last.files.announce_rows(stop, min(stop + count, last.array.shape[0]))
            self._last[path] = last.start, stop

    def _open(self, index: int) -> zarr.Array[Any]:
        if index not in self._arrays:
            address = self.records[index].address
            array = self._store.array(address, self._array)
            frames = self.records[index].attributes.get("frames")
            family(address.family).check_kinds({self._array: cast(Any, array)}, frames)  # it is not read yet
            with translate_errors(self._store.url, "Reading"):
                self._files[index] = ArrayFiles.of(self._store.chunk_places, array)
            self._arrays[index] = array
        return self._arrays[index]
