"""Ranges of rows of many arrays, fetched side by side straight into where they stay.

zarr fetches whole chunks into a buffer of its own. Of a chunk that is not packed a store can give the bytes of the very
rows that are wanted; any other array, zarr reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest
from zarr.codecs import BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import StorePath

from store.contract.errors import StoreError

_AT_ONCE = 16
"""Requests: enough that none waits for Python, few enough that what is under way stays small (a chunk of
1,280 numbers a frame has 5.2 MB)."""


class RowRange(NamedTuple):
    """Rows to read.

    Attributes:
        array: from which; cut along its first axis alone.
        start: the first row.
        into: where the rows go, as many as it has, which exist; contiguous.
    """

    array: zarr.Array[Any]
    start: int
    into: NDArray[Any]


class _Part(NamedTuple):
    """What a range has in one chunk: the chunk, its bytes, and where they go."""

    chunk: StorePath
    bytes: RangeByteRequest
    into: NDArray[Any]
    fill_value: Any


def read_ranges(ranges: Sequence[RowRange]) -> None:
    """Fill the place of every range with its rows.

    Raises:
        StoreError: a chunk is damaged.
    """
    parts: list[_Part] = []
    for wanted in ranges:
        if not len(wanted.into):
            continue
        if _is_plain(wanted.array):
            parts += _parts_of(wanted)
        else:
            wanted.into[...] = wanted.array[wanted.start : wanted.start + len(wanted.into)]
    if parts:
        sync(_fetch(parts))


def _is_plain(array: zarr.Array[Any]) -> bool:
    """Whether a chunk is nothing but numbers in this machine's order, row after row."""
    kinds = [type(codec) for codec in getattr(array.metadata, "codecs", ())]
    return kinds == [BytesCodec] and array.dtype.isnative and array.chunks[1:] == array.shape[1:]


def _parts_of(wanted: RowRange) -> Iterator[_Part]:
    array, start, stop = wanted.array, wanted.start, wanted.start + len(wanted.into)
    rows, row_bytes = array.chunks[0], array.dtype.itemsize * int(np.prod(array.shape[1:]))
    for number in range(start // rows, -(-stop // rows)):
        begin = number * rows
        first, last = max(start, begin), min(stop, begin + rows)
        key = array.metadata.encode_chunk_key((number, *(0 for _ in array.shape[1:])))
        yield _Part(
            array.store_path / key,
            RangeByteRequest((first - begin) * row_bytes, (last - begin) * row_bytes),
            wanted.into[first - start : last - start],
            array.fill_value,
        )


async def _fetch(parts: Sequence[_Part]) -> None:
    free = asyncio.Semaphore(_AT_ONCE)

    async def fetch(part: _Part) -> None:
        async with free:
            found = await part.chunk.get(default_buffer_prototype(), part.bytes)
            if found is None:  # nothing but the fill value was ever there
                part.into[...] = part.fill_value
                return
            part.into[...] = _numbers(part, found.as_numpy_array())

    await asyncio.gather(*map(fetch, parts))


def _numbers(part: _Part, found: NDArray[Any]) -> NDArray[Any]:
    if found.nbytes != part.into.nbytes:
        raise StoreError(
            f"'{part.chunk}' is damaged: of its bytes {part.bytes.start} to {part.bytes.end} it gave {found.nbytes}. "
            "Restore the store from a copy, or extract it anew into another one."
        )
    return found.view(part.into.dtype).reshape(part.into.shape)
