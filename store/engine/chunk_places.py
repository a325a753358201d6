"""Where the chunks of a store in a folder lie, found in the engine's own lists.

Of a folder the engine reads 8 kB at a time, each by a thread that it wakes for that: some twenty times what it takes to
read at once (ADR 0003). Its lists are read as their format has them (https://icechunk.io/en/stable/reference/spec/,
manifest files). Who reads so only ever learns that everything is as it was written: of whatever else is found, the
engine has to tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import icechunk
import numpy as np
from numpy.typing import NDArray

from affstore.store.engine.accounting import decoded, id_text

_NODE_ID, _CHUNK_ID = 8, 12
"""Bytes of an array's id, and of a chunk's."""


class ChunkPlace(NamedTuple):
    """Where the bytes of one chunk are: in a file, or, of a very short one, in the list itself."""

    file: str
    offset: int
    length: int
    inline: bytes | None


class ChunkPlaces:
    """The chunks of one snapshot of a store in a folder."""

    def __init__(self, folder: Path, repository: icechunk.Repository, snapshot: str) -> None:
        """Read which lists the snapshot's arrays have.

        Raises:
            IcechunkError: the engine cannot read the snapshot.
        """
        self._folder = folder
        self._lists = {
            node["path"].strip("/"): (node["id"], tuple(one["id"] for one in node["manifest_refs"]))
            for node in repository.inspect_snapshot(snapshot)["nodes"]
            if node["node_type"] == "array"
        }
        self._arrays_of = lru_cache(maxsize=64)(self._read_list)

    def of(self, path: str) -> Mapping[int, ChunkPlace] | None:
        """Where an array's chunks are, by their numbers along the first axis; None of an array that there is not.

        Raises:
            OSError, ValueError, LookupError, struct.error: its lists cannot be read so.
        """
        if path not in self._lists:
            return None
        id, lists = self._lists[path]
        return {number: place for one in lists for number, place in self._arrays_of(one).get(id, {}).items()}

    def read(self, place: ChunkPlace, begin: int = 0, end: int | None = None) -> NDArray[np.uint8]:
        """The bytes `[begin, end)` of a chunk, or as many of them as there are.

        Raises:
            OSError: its file cannot be read.
        """
        if place.inline is not None:
            return np.frombuffer(place.inline[begin:end], np.uint8)
        end = place.length if end is None else min(end, place.length)
        return np.fromfile(self._folder / "chunks" / place.file, np.uint8, end - begin, offset=place.offset + begin)

    def _read_list(self, manifest: str) -> Mapping[str, Mapping[int, ChunkPlace]]:
        """By an array's id and a chunk's number along the first axis, where that chunk is."""
        return dict(_arrays(decoded(Path(self._folder, "manifests", manifest).read_bytes())))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer, which is what the engine's lists are: its fields lie where its directory says."""

    text: bytes
    at: int

    def field(self, number: int) -> int:
        """Where a field is; 0 for one that is left out."""
        directory = self.at - _int("<i", self.text, self.at)
        place = 4 + 2 * number
        there = place < _int("<H", self.text, directory)
        offset = _int("<H", self.text, directory + place) if there else 0
        return self.at + offset if offset else 0

    def number(self, field: int) -> int:
        at = self.field(field)
        return _int("<Q", self.text, at) if at else 0

    def bytes(self, field: int, count: int) -> bytes:
        at = self.field(field)
        return self.text[at : at + count] if at else b""

    def vector(self, field: int) -> tuple[int, int]:
        """Where the elements of a list begin, and how many there are."""
        at = self.field(field)
        start = at + _int("<I", self.text, at) if at else 0
        return (start + 4, _int("<I", self.text, start)) if at else (0, 0)

    def tables(self, field: int) -> Iterator[_Table]:
        start, count = self.vector(field)
        for place in range(start, start + 4 * count, 4):
            yield _Table(self.text, place + _int("<I", self.text, place))


def _arrays(text: bytes) -> Iterator[tuple[str, dict[int, ChunkPlace]]]:
    """The arrays of a manifest, by the fields' numbers in the engine's format."""
    manifest = _Table(text, _int("<I", text, 0))
    for array in manifest.tables(1):
        pieces = dict(map(_piece, array.tables(1)))
        yield id_text(array.bytes(0, _NODE_ID)), pieces


def _piece(chunk: _Table) -> tuple[int, ChunkPlace]:
    """A chunk's number along the first axis, the only one that arrays in blocks are cut along, and its place."""
    start, axes = chunk.vector(0)
    first, *others = struct.unpack_from(f"<{axes}I", chunk.text, start)
    inline, id = chunk.field(1), chunk.bytes(4, _CHUNK_ID)
    if any(others) or not (inline or id):
        raise ValueError("a chunk is cut along several axes, or lies in no file of the store")
    begin, count = chunk.vector(1)
    held = chunk.text[begin : begin + count] if inline else None
    return first, ChunkPlace(id_text(id), chunk.number(2), chunk.number(3), held)


def _int(form: str, text: bytes, at: int) -> int:
    found: int = struct.unpack_from(form, text, at)[0]
    return found
