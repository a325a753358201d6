"""Ranges of rows of many arrays, fetched side by side straight into where they stay.

zarr fetches whole chunks into a buffer of its own. Of a chunk that is not packed a store can give the bytes of the very
rows that are wanted; any other array, zarr reads.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest
from zarr.codecs import BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import StorePath

from affstore.store.contract.errors import StoreError

_AT_ONCE = 16
"""Requests: enough that none waits for Python, few enough that what is under way stays small (a chunk of
1,280 numbers a frame has 5.2 MB)."""

_OTHERWISE = "Restore the store from a copy, or extract it anew into another one."


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
    wanted = [one for one in ranges if len(one.into)]
    if wanted:
        sync(_read(wanted))


@contextmanager
def damage_named(what: object) -> Iterator[None]:
    """Say in words what a codec makes of a damaged chunk.

    Raises:
        StoreError: it cannot be unpacked.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"'{what}' is damaged: {error}. {_OTHERWISE}") from error


async def _read(ranges: Sequence[RowRange]) -> None:
    """All ranges side by side; when one cannot be read, nothing more is asked of the store."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def fetch(part: _Part) -> None:
        async with free:
            found = await part.chunk.get(default_buffer_prototype(), part.bytes)
            # Where there is no chunk, there was never anything but the fill value.
            part.into[...] = part.fill_value if found is None else _numbers(part, found.as_numpy_array())

    async def unpack(wanted: RowRange) -> None:
        rows = slice(wanted.start, wanted.start + len(wanted.into))
        async with free:
            with damage_named(wanted.array.store_path):
                wanted.into[...] = await wanted.array.async_array.getitem(rows)

    tasks: list[asyncio.Task[None]] = []
    for wanted in ranges:
        if _is_plain(wanted.array):
            tasks += [asyncio.create_task(fetch(part)) for part in _parts_of(wanted)]
        else:
            tasks.append(asyncio.create_task(unpack(wanted)))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_plain(array: zarr.Array[Any]) -> bool:
    """Whether a chunk is nothing but numbers in this machine's order, row after row."""
    codecs: list[Any] = [*getattr(array.metadata, "codecs", ())]
    if [type(codec) for codec in codecs] != [BytesCodec] or array.chunks[1:] != array.shape[1:]:
        return False
    order = codecs[0].endian
    return array.dtype.isnative and order in (None, sys.byteorder)


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


def _numbers(part: _Part, found: NDArray[Any]) -> NDArray[Any]:
    if found.nbytes != part.into.nbytes:
        raise StoreError(
            f"'{part.chunk}' is damaged: of its bytes {part.bytes.start} to {part.bytes.end} it gave {found.nbytes}. "
            f"{_OTHERWISE}"
        )
    return found.view(part.into.dtype).reshape(part.into.shape)
