"""Where the chunks of a store in a folder lie, found in the engine's own lists.

Of a folder the engine reads 8 kB at a time, each by a thread that it wakes for that: some twenty times what it takes to
read at once (ADR 0003). Its lists are read as their format has them (https://icechunk.io/en/stable/reference/spec/,
snapshot and manifest files). Who reads so only ever learns that everything is as it was written: of whatever else is
found, the engine has to tell.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from io import BytesIO, FileIO
from itertools import batched
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.store.engine.accounting import decoded, id_text

_NODE_ID, _OBJECT_ID = 8, 12
"""Bytes of an array's id, and of those of lists and chunks."""


_MOST_PIECES = os.sysconf("SC_IOV_MAX")
"""That the system fills by one call."""


class ChunkPlace(NamedTuple):
    """Where the bytes of one chunk are: in a file, or, of a very short one, in the list itself."""

    file: str
    offset: int
    length: int
    inline: bytes | None


class ChunkPlaces:
    """The chunks of one snapshot of a store in a folder; several threads may ask at once."""

    def __init__(self, folder: Path, snapshot: str) -> None:
        """Say which snapshot of which store; nothing is read yet."""
        self._folder, self._snapshot, self._lock = folder, snapshot, Lock()
        # Of a list, by its arrays' ids and their chunks' numbers along the first axis, where the chunks are. The cache
        # does not know this object, which is freed at once when nobody uses it any more.
        self._arrays_of = lru_cache(maxsize=64)(partial(_read_list, folder))

    def of(self, path: str) -> Mapping[int, ChunkPlace] | None:
        """Where an array's chunks are, by their numbers along the first axis; None of an array that there is not.

        Raises:
            OSError, ValueError, LookupError, struct.error: the lists cannot be read so.
        """
        with self._lock:  # threads that ask at once wait for the one that reads
            content, nodes = self._nodes
        wanted = f"/{path}".encode()
        number = bisect_left(nodes, wanted, key=lambda at: _Table.behind(content, at).held(1))
        node = _Table.behind(content, nodes[number]) if number < len(nodes) else None
        if node is None or node.held(1) != wanted:
            return None
        id, lists = id_text(node.fixed(0, _NODE_ID)), node.table(4).tables(2)
        places = (self._arrays_of(id_text(one.fixed(0, _OBJECT_ID))).get(id, {}) for one in lists)
        return {number: place for found in places for number, place in found.items()}

    def announce(self, place: ChunkPlace, begin: int, end: int) -> None:
        """Have the system read the bytes `[begin, end)` of a chunk while others are waited for.

        Raises:
            OSError: its file cannot be read.
        """
        if place.inline is None:
            with self._file(place) as file:
                _read_ahead(file, place.offset + begin, end - begin)

    def fetch(self, place: ChunkPlace, begin: int, pieces: Sequence[NDArray[np.uint8]]) -> int:
        """Fill pieces with the bytes of a chunk from `begin` on, one after another; how many there were.

        Raises:
            OSError, ValueError: its file cannot be read so.
        """
        if place.inline is not None:
            held = BytesIO(place.inline[begin:])
            return sum(map(held.readinto, pieces))
        wanted, found = sum(map(len, pieces)), 0
        if begin + wanted > place.length:
            raise ValueError("it is shorter than its rows")
        with self._file(place) as file:
            _read_ahead(file, place.offset + begin, wanted)
            for some in batched(pieces, _MOST_PIECES):
                found += os.preadv(file.fileno(), some, place.offset + begin + found)
        return found

    def _file(self, place: ChunkPlace) -> FileIO:
        return open(f"{self._folder}/chunks/{place.file}", "rb", buffering=0)

    @cached_property
    def _nodes(self) -> tuple[bytes, range]:
        """The snapshot, and where in it its groups and arrays are, in the order of their paths."""
        content = decoded(Path(self._folder, "snapshots", self._snapshot).read_bytes())
        return content, _Table.behind(content, 0).places(2, 4)


def _read_ahead(file: FileIO, begin: int, length: int) -> None:
    """Ask the system for all that will be read, of which it would else read a little at a time."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), begin, length, os.POSIX_FADV_WILLNEED)


def chunk_places(folder: Path, snapshot: str) -> ChunkPlaces:
    """The chunks of a snapshot, the last two of which are kept: each task opens the newest state for itself."""
    with _ASKING:  # threads that ask at once get the same
        return _kept(folder, snapshot)


_ASKING, _kept = Lock(), lru_cache(maxsize=2)(ChunkPlaces)


def _read_list(folder: Path, name: str) -> Mapping[str, Mapping[int, ChunkPlace]]:
    return dict(_arrays(decoded(Path(folder, "manifests", name).read_bytes())))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer, which is what the engine's lists are: its fields lie where its directory says."""

    content: bytes
    at: int

    @classmethod
    def behind(cls, content: bytes, at: int) -> _Table:
        """The one to which the offset at a place leads."""
        return cls(content, at + _int("<I", content, at))

    def field(self, number: int) -> int:
        """Where a field is; 0 for one that is left out."""
        directory = self.at - _int("<i", self.content, self.at)
        place = 4 + 2 * number
        there = place < _int("<H", self.content, directory)
        offset = _int("<H", self.content, directory + place) if there else 0
        return self.at + offset if offset else 0

    def number(self, field: int) -> int:
        at = self.field(field)
        return _int("<Q", self.content, at) if at else 0

    def fixed(self, field: int, count: int) -> bytes:
        at = self.field(field)
        return self.content[at : at + count] if at else b""

    def table(self, field: int) -> _Table:
        return _Table.behind(self.content, self.field(field))

    def places(self, field: int, size: int) -> range:
        """Where the elements of a list are, of so many bytes each."""
        at = self.field(field)
        if not at:
            return range(0)
        start = at + _int("<I", self.content, at)
        return range(start + 4, start + 4 + size * _int("<I", self.content, start), size)

    def held(self, field: int) -> bytes:
        """The bytes, or the text, of a field."""
        places = self.places(field, 1)
        return self.content[places.start : places.stop]

    def tables(self, field: int) -> Iterator[_Table]:
        return (_Table.behind(self.content, at) for at in self.places(field, 4))


def _arrays(content: bytes) -> Iterator[tuple[str, dict[int, ChunkPlace]]]:
    """The arrays of a manifest, by the fields' numbers in the engine's format."""
    for array in _Table.behind(content, 0).tables(1):
        yield id_text(array.fixed(0, _NODE_ID)), dict(map(_piece, array.tables(1)))


def _piece(chunk: _Table) -> tuple[int, ChunkPlace]:
    """A chunk's number along the first axis, the only one that arrays in blocks are cut along, and its place."""
    first, *others = (_int("<I", chunk.content, at) for at in chunk.places(0, 4))
    inline, id = chunk.field(1), chunk.fixed(4, _OBJECT_ID)
    if any(others) or not (inline or id):
        raise ValueError("a chunk is cut along several axes, or lies in no file of the store")
    return first, ChunkPlace(id_text(id), chunk.number(2), chunk.number(3), chunk.held(1) if inline else None)


def _int(form: str, content: bytes, at: int) -> int:
    found: int = struct.unpack_from(form, content, at)[0]
    return found
