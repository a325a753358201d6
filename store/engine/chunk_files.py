"""The files of a local store's chunks, found in the engine's own lists and read past the engine.

Of a folder the engine reads 8 kB at a time, each by a thread that it wakes for that: 4 s of processor for a GB. Its
lists are read as their format has them (https://icechunk.io/en/stable/reference/spec/, manifest files). Who reads so
only ever learns that everything is as it was written: of whatever else is found, the engine has to tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import zarr
from numpy.typing import NDArray

from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Record
from affstore.store.engine.accounting import decoded, id_text
from affstore.store.engine.blocks import Blocks
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import is_local, local_folder, translate_errors
from affstore.store.engine.ranges import damage, read_rows, read_whole

_NODE_ID, _CHUNK_ID = 8, 12
"""Bytes of an array's id, and of a chunk's."""


class _Piece(NamedTuple):
    """Where the bytes of one chunk are: in a file, or, of a very short one, in the list itself."""

    file: str
    offset: int
    length: int
    inline: bytes | None


@final
class ChunkFiles:
    """The chunk files of one snapshot of a local store."""

    def __init__(self, store: FeatureStore) -> None:
        """Read which lists the snapshot's arrays have; of a store that is no folder, there are none.

        Raises:
            StoreError: the engine cannot read the snapshot.
        """
        self._store, self._folder = store, local_folder(store.url)
        with translate_errors(store.url, "Reading"):
            nodes = store.repository.inspect_snapshot(store.snapshot)["nodes"] if is_local(store.url) else ()
        self._lists = {
            node["path"].strip("/"): (node["id"], tuple(one["id"] for one in node["manifest_refs"]))
            for node in nodes
            if node["node_type"] == "array"
        }
        self._pieces = lru_cache(maxsize=64)(self._pieces_of)

    def read_as_written(self, record: Record) -> dict[str, NDArray[Any]] | None:
        """All arrays of an artifact; those in blocks are read past the engine.

        Returns:
            None where they are not what the record says, or cannot be read.
        """
        with suppress(AffstoreError), translate_errors(self._store.url, "Reading"):
            return read_whole(record, dict(self._store.group(record.address).arrays()), self._read)
        return None

    def _read(self, array: zarr.Array[Any]) -> NDArray[Any]:
        blocks = Blocks.of(array) if array.path in self._lists else None
        if blocks is None:
            return read_rows(array)
        try:
            return self._filled(array, blocks)
        except (OSError, ValueError, LookupError, struct.error) as error:
            raise damage(array.path, str(error)) from error

    def _filled(self, array: zarr.Array[Any], blocks: Blocks) -> NDArray[Any]:
        id, lists = self._lists[array.path]
        pieces = {number: piece for one in lists for number, piece in self._pieces(one).get(id, {}).items()}
        found, rows = np.empty(array.shape, array.dtype), blocks.rows * blocks.blocks
        for first in range(0, len(found), rows):
            number, into = first // rows, found[first : first + rows]
            if number in pieces:
                blocks.decode(self._bytes(pieces[number]), 0, into)
            elif number in blocks.empty:
                into[...] = 0
            else:
                raise ValueError(f"its chunk {number} is missing")
        return found

    def _bytes(self, piece: _Piece) -> NDArray[np.uint8]:
        if piece.inline is not None:
            return np.frombuffer(piece.inline, np.uint8)
        return np.fromfile(self._folder / "chunks" / piece.file, np.uint8, piece.length, offset=piece.offset)

    def _pieces_of(self, manifest: str) -> Mapping[str, Mapping[int, _Piece]]:
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


def _arrays(text: bytes) -> Iterator[tuple[str, dict[int, _Piece]]]:
    """The arrays of a manifest, by the fields' numbers in the engine's format."""
    manifest = _Table(text, _int("<I", text, 0))
    for array in manifest.tables(1):
        pieces = dict(map(_piece, array.tables(1)))
        yield id_text(array.bytes(0, _NODE_ID)), pieces


def _piece(chunk: _Table) -> tuple[int, _Piece]:
    """A chunk's number along the first axis, the only one that arrays in blocks are cut along, and its place."""
    start, axes = chunk.vector(0)
    first, *others = struct.unpack_from(f"<{axes}I", chunk.text, start)
    inline, id = chunk.field(1), chunk.bytes(4, _CHUNK_ID)
    if any(others) or not (inline or id):
        raise ValueError("a chunk is cut along several axes, or lies in no file of the store")
    begin, count = chunk.vector(1)
    held = chunk.text[begin : begin + count] if inline else None
    return first, _Piece(id_text(id), chunk.number(2), chunk.number(3), held)


def _int(form: str, text: bytes, at: int) -> int:
    found: int = struct.unpack_from(form, text, at)[0]
    return found
