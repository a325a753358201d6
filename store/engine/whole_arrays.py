"""Small arrays that are read whole and kept, up to a number of bytes: masks and labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from affstore.store.engine.row_reader import RowReader

MOST_BYTES = 256 << 20
"""Masks and labels of all of Aff-Wild2, 2.8 million frames, take less."""


class WholeArrays:
    """Arrays of artifacts, of which those that were needed last are kept.

    Attributes:
        bytes: how much is kept.
    """

    def __init__(self, readers: Mapping[str, RowReader], most_bytes: int | None = None) -> None:
        """Say what may be asked for; nothing is read yet.

        Args:
            readers: of each array, by its name.
            most_bytes: how much is kept; one array is always.
        """
        self._readers, self._most = readers, MOST_BYTES if most_bytes is None else most_bytes
        self._kept: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()
        self.bytes = 0

    def read(self, name: str, index: int) -> NDArray[Any]:
        """The array of that name of the record at `index`; it must not be written to."""
        key = (name, index)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        reader = self._readers[name]
        found = self._kept[key] = reader.read(index, 0, reader.shape(index)[0])
        self.bytes += found.nbytes
        while self.bytes > self._most and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return found
