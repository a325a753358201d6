"""Pieces of one array of many artifacts, for readers that come back often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from store.contract.errors import NotFoundError
from store.contract.records import Record
from store.contract.schema import family
from store.engine.chunks import read_chunks
from store.engine.feature_store import FeatureStore
from store.engine.places import in_words


class RowReader:
    """The rows of an array, artifact by artifact.

    Every array is opened once, when it is first needed: opening costs as much as reading a window. Several threads may
    read at once.

    Attributes:
        records: the artifacts.
    """

    def __init__(self, store: FeatureStore, records: Sequence[Record], array: str, kept_chunks: int = 0) -> None:
        """Say what will be read; nothing is yet.

        Args:
            store: an open store; it is read at its snapshot.
            records: of the artifacts.
            array: its name.
            kept_chunks: unpacked chunks that are kept, the latest used ones, for those who read a video in pieces that
                share them; with 0 a piece is unpacked straight into what is given out.
        """
        self.records = tuple(records)
        self._store, self._array, self._most = store, array, kept_chunks
        self._arrays: dict[int, zarr.Array[Any]] = {}
        self._chunks: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of the array of the record at `index`.

        Raises:
            NotFoundError: it has no such array.
            SchemaError: what is there breaks `schema.yaml`.
        """
        return self._open(index).shape

    def read(self, index: int, start: int, stop: int) -> NDArray[Any]:
        """The rows `[start, stop)`, as far as they exist, of the record at `index`; nobody else holds them.

        Raises:
            NotFoundError: it has no such array.
            SchemaError: what is there breaks `schema.yaml`.
            StoreUnavailableError: the store is out of reach.
        """
        array = self._open(index)
        with in_words(self._store.url, "Reading"):
            if not self._most:
                return np.asarray(array[start:stop])
            return self._joined(index, array, start, min(stop, array.shape[0]))

    def _joined(self, index: int, array: zarr.Array[Any], start: int, stop: int) -> NDArray[Any]:
        """Rows put together from whole chunks."""
        rows = array.chunks[0]
        joined = np.empty((max(0, stop - start), *array.shape[1:]), array.dtype)
        for begin, chunk in self._whole(index, array, range(start // rows * rows, stop, rows)).items():
            first, last = max(start, begin), min(stop, begin + rows)
            joined[first - start : last - start] = chunk[first - begin : last - begin]
        return joined

    def _whole(self, index: int, array: zarr.Array[Any], begins: range) -> dict[int, NDArray[Any]]:
        """The whole chunks that begin at these rows: those that are kept, and the others side by side."""
        with self._lock:
            found = {begin: self._chunks[index, begin] for begin in begins if (index, begin) in self._chunks}
        missing = [begin for begin in begins if begin not in found]
        if missing:
            found |= zip(missing, read_chunks(array, [begin // begins.step for begin in missing]), strict=True)
        with self._lock:
            for begin in begins:
                self._chunks[index, begin] = found[begin]
                self._chunks.move_to_end((index, begin))
            while len(self._chunks) > self._most:
                self._chunks.popitem(last=False)
        return found

    def _open(self, index: int) -> zarr.Array[Any]:
        if index not in self._arrays:
            address = self.records[index].address
            group = self._store.group(address)
            with in_words(self._store.url, "Reading"):
                if self._array not in group:
                    held = sorted(group.array_keys())
                    raise NotFoundError(f"'{address}' has no array '{self._array}'; it has {held}.")
                array = cast(zarr.Array[Any], group[self._array])
            family(address.family).check_kinds({self._array: cast(Any, array)})  # its type and axes are asked alone
            self._arrays[index] = array
        return self._arrays[index]
