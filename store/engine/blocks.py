"""Chunks whose rows can be fetched alone and are checked all the same.

A chunk is a shard as Zarr defines it: blocks of rows, each followed by its CRC-32C, and an index of the blocks. Every
Zarr reader checks them. Ours needs no index to find a row, because a chunk holds all its blocks in order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

MARK = "affstore"
"""The attribute of an array of which every chunk is stored, but for those that it names as empty."""
_CHECKSUM_BYTES = 4
_NOWHERE = np.iinfo(np.uint64).max

Bytes = NDArray[np.uint8]


def is_marked(array: zarr.Array[Any]) -> bool:
    """Whether a chunk that is not there is damage."""
    return isinstance(array.attrs.get(MARK), Mapping)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the chunks of one array are built.

    Attributes:
        rows: of a block.
        row_bytes: of a row.
        blocks: that a chunk has room for.
        empty: numbers of the chunks that hold zeros only and are not stored.
    """

    rows: int
    row_bytes: int
    blocks: int
    empty: frozenset[int]

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> Blocks | None:
        """How `array` is built, or None if not in blocks, in full chunks and in this machine's order."""
        codecs: list[Any] = [*getattr(array.metadata, "codecs", ())]
        if not is_marked(array) or [type(codec) for codec in codecs] != [ShardingCodec] or not array.shards:
            return None
        inner: list[Any] = [*codecs[0].codecs]
        if [type(codec) for codec in inner] != [BytesCodec, Crc32cCodec] or array.shards[1:] != array.shape[1:]:
            return None
        order = getattr(inner[0].endian, "value", inner[0].endian)
        if not array.dtype.isnative or order not in (None, sys.byteorder):
            return None
        row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        mark: Any = array.attrs[MARK]
        return cls(array.chunks[0], row_bytes, array.shards[0] // array.chunks[0], frozenset(mark["empty_chunks"]))

    @property
    def length(self) -> int:
        """Bytes of a block and its checksum."""
        return self.rows * self.row_bytes + _CHECKSUM_BYTES

    def count(self, rows: int) -> int:
        """The blocks that so many rows fill, the last one perhaps in part."""
        return -(-rows // self.rows)

    def encode(self, rows: NDArray[Any]) -> Bytes:
        """The bytes of a chunk of these rows."""
        count = self.count(len(rows))
        padded = np.zeros((count, self.rows * self.row_bytes), np.uint8)
        padded.reshape(-1)[: rows.nbytes] = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
        sums = np.array([google_crc32c.value(block) for block in padded], "<u4")
        blocks = np.concatenate([padded, sums.view(np.uint8).reshape(count, -1)], axis=1)
        return np.concatenate([blocks.reshape(-1), self._index(count)])

    @property
    def index_length(self) -> int:
        """Bytes of a chunk's index of its blocks, and its checksum."""
        return 16 * self.blocks + _CHECKSUM_BYTES

    def decode(self, fetch: Callable[[Sequence[Bytes]], int], skip: int, into: NDArray[Any], is_whole: bool) -> None:
        """Fill `into` with rows of blocks, the first `skip` left out; blocks that are wanted whole are not copied.

        Args:
            fetch: fills pieces with bytes that follow one another, and says how many there were.
            skip: rows of the first block that are not wanted.
            into: where the rows go; contiguous.
            is_whole: whether these are all rows of a chunk, so that its index follows and is checked as well.

        Raises:
            ValueError: a checksum differs, or `fetch` gave more or fewer bytes.
        """
        count, size, target = self.count(skip + len(into)), self.rows * self.row_bytes, into.reshape(-1).view(np.uint8)
        places = range(-skip * self.row_bytes, len(target), size)
        # Of the first and the last block only some rows may be wanted: these are read elsewhere.
        data = [target[at : at + size] if 0 <= at <= len(target) - size else np.empty(size, np.uint8) for at in places]
        sums, index = np.empty((count, _CHECKSUM_BYTES), np.uint8), np.empty(is_whole * self.index_length, np.uint8)
        found = fetch([piece for pair in zip(data, sums, strict=True) for piece in pair] + [index] * is_whole)
        if found != count * self.length + len(index):
            raise ValueError(f"it gave {found} bytes where {count * self.length + len(index)} were asked for")
        if is_whole:
            self._check_index(index, count)
        if [google_crc32c.value(block) for block in data] != sums.view("<u4").reshape(-1).tolist():
            raise ValueError("the checksum of its bytes differs")
        for at, block in zip(places, data, strict=True):
            if not 0 <= at <= len(target) - size:
                rows = target[max(0, at) : at + size]
                rows[...] = block[max(0, -at) :][: len(rows)]

    def _check_index(self, found: Bytes, count: int) -> None:
        if not np.array_equal(found, self._index(count)):
            raise ValueError("the index of its blocks differs")

    def _index(self, count: int) -> Bytes:
        """Zarr's index of a chunk of so many blocks, with its checksum."""
        places = np.full((self.blocks, 2), _NOWHERE, "<u8")
        places[:count, 0] = np.arange(count) * self.length
        places[:count, 1] = self.length
        index = places.view(np.uint8).reshape(-1)
        return np.concatenate([index, np.array([google_crc32c.value(index)], "<u4").view(np.uint8)])


def chunk_key(number: int, axes: int) -> str:
    """Where Zarr looks, below an array, for a chunk; arrays are cut along the first of their axes alone."""
    return "/".join(("c", *([str(number), *"0" * (axes - 1)] if axes else ())))


@dataclass(frozen=True)
class InBlocks:
    """An array to be written in chunks of blocks; a chunk of zeros takes no room.

    Attributes:
        values: of the array; at least one axis.
        chunk: rows of a chunk, a multiple of `block`.
        block: rows of a block.
    """

    values: NDArray[Any]
    chunk: int
    block: int

    @cached_property
    def empty(self) -> frozenset[int]:
        """Numbers of the chunks that hold zeros only."""
        parts = enumerate(self._parts)
        return frozenset(n for n, part in parts if not np.ascontiguousarray(part).view(np.uint8).any())

    def chunks(self) -> Iterator[tuple[str, Bytes]]:
        """The keys of its chunks below the array, and their bytes."""
        row_bytes = self.values.dtype.itemsize * int(np.prod(self.values.shape[1:]))
        blocks = Blocks(self.block, row_bytes, self.chunk // self.block, self.empty)
        for number, part in enumerate(self._parts):
            if number not in self.empty:
                yield chunk_key(number, self.values.ndim), blocks.encode(part)

    @property
    def _parts(self) -> list[NDArray[Any]]:
        return [self.values[first : first + self.chunk] for first in range(0, len(self.values), self.chunk)]
