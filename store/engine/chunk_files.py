"""Artifacts of a local store, read past the engine from the files of their chunks."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any, final

import numpy as np
import zarr
from numpy.typing import NDArray

from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Record
from affstore.store.engine.blocks import Blocks
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import translate_errors
from affstore.store.engine.ranges import damage, read_rows, read_whole


@final
class ChunkFiles:
    """The chunk files of one snapshot of a local store."""

    def __init__(self, store: FeatureStore) -> None:
        """Read which lists the snapshot's arrays have; of a store that is no folder, there are none.

        Raises:
            StoreError: the engine cannot read the snapshot.
        """
        self._store = store
        with translate_errors(store.url, "Reading"):
            self._places = store.chunk_places

    def read_as_written(self, record: Record) -> dict[str, NDArray[Any]] | None:
        """All arrays of an artifact; those in blocks are read past the engine.

        Returns:
            None where they are not what the record says, or cannot be read.
        """
        with suppress(AffstoreError), translate_errors(self._store.url, "Reading"):
            return read_whole(record, dict(self._store.group(record.address).arrays()), self._read)
        return None

    def _read(self, array: zarr.Array[Any]) -> NDArray[Any]:
        try:
            found = self._filled(array)
        except (OSError, ValueError, LookupError, struct.error) as error:
            raise damage(array.path, str(error)) from error
        return read_rows(array) if found is None else found

    def _filled(self, array: zarr.Array[Any]) -> NDArray[Any] | None:
        """The array; None where the engine has to read it."""
        if self._places is None or (blocks := Blocks.of(array)) is None:
            return None
        places = self._places.of(array.path)
        if places is None:
            return None
        found, rows = np.empty(array.shape, array.dtype), blocks.rows * blocks.blocks
        for first in range(0, len(found), rows):
            number, into = first // rows, found[first : first + rows]
            if number in places:
                blocks.decode(self._places.read(places[number]), 0, into)
            elif number in blocks.empty:
                into[...] = 0
            else:
                raise ValueError(f"its chunk {number} is missing")
        return found
