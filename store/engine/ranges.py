"""Ranges of rows of many arrays, fetched side by side straight into where they stay.

zarr fetches whole chunks into a buffer of its own. Of a chunk in blocks a store can give the bytes of the blocks that
hold the rows that are wanted, and each block is checked; any other array, zarr reads. A chunk whose file is known is
read from it, and through the engine only where that does not give what it should.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import batched
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.contract.usable import usable_cores
from affstore.store.engine.blocks import Blocks, is_marked
from affstore.store.engine.chunk_places import ChunkPlace, ChunkPlaces

_AT_ONCE = 16
"""Requests: enough that none waits for Python, few enough that what is under way stays small (a chunk of
1,280 numbers a frame has 5.2 MB)."""

_LONG_BYTES = 8 << 20
"""From where on several threads are worth their start."""

_OTHERWISE = "Restore the store from a copy, or extract it anew into another one."


class ArrayFiles(NamedTuple):
    """Where the chunks of an array lie.

    Attributes:
        reader: of their bytes.
        places: by their numbers along the first axis.
        blocks: how they are built.
    """

    reader: ChunkPlaces
    places: Mapping[int, ChunkPlace]
    blocks: Blocks

    @classmethod
    def of(cls, reader: ChunkPlaces | None, array: zarr.Array[Any]) -> ArrayFiles | None:
        """The files of an array; None where the lists do not say which, or its rows cannot be read alone."""
        if reader is None or (blocks := Blocks.of(array)) is None:
            return None
        try:
            places = reader.of(array.path)
        except (OSError, ValueError, LookupError, struct.error):  # the engine says what is wrong with them
            return None
        return None if places is None else cls(reader, places, blocks)

    def announce(self, number: int, begin: int, end: int) -> None:
        """Have the system read the bytes `[begin, end)` of a chunk ahead."""
        place = self.places.get(number)
        if place is not None:
            with suppress(OSError, OverflowError):  # whoever reads them finds out
                self.reader.announce(place, begin, end)

    def announce_rows(self, start: int, stop: int) -> None:
        """Have the system read the rows `[start, stop)` ahead."""
        rows, of_blocks = self.blocks.rows, self.blocks.rows * self.blocks.blocks
        for number in range(start // of_blocks, -(-stop // of_blocks)):
            first, last = max(0, start - number * of_blocks), min(of_blocks, stop - number * of_blocks)
            self.announce(number, first // rows * self.blocks.length, self.blocks.count(last) * self.blocks.length)


class RowRange(NamedTuple):
    """Rows to read.

    Attributes:
        array: from which; cut along its first axis alone.
        start: the first row.
        into: where the rows go, as many as it has, which exist; contiguous.
        files: read instead of the engine where they have what is wanted.
    """

    array: zarr.Array[Any]
    start: int
    into: NDArray[Any]
    files: ArrayFiles | None = None


class _Part(NamedTuple):
    """What a range has in one chunk.

    Attributes:
        array: whose chunk it is.
        number: of the chunk.
        bytes: where its rows lie in the chunk; None for the whole chunk.
        skip: rows that come before them in these bytes.
        into: where the rows go.
        blocks: how the chunk is built.
    """

    array: zarr.Array[Any]
    number: int
    bytes: RangeByteRequest | None
    skip: int
    into: NDArray[Any]
    blocks: Blocks


def read_rows(array: zarr.Array[Any], rows: slice = slice(None), files: ArrayFiles | None = None) -> NDArray[Any]:
    """Rows of one array, whatever its axes.

    Args:
        array: from which.
        rows: all of them, unless given.
        files: of the array, if they are known.

    Raises:
        StoreError: a chunk is damaged.
    """
    if not array.ndim or rows.step not in (None, 1):
        with corruption_as_store_error(array.path):
            return np.asarray(_strict(array)[rows] if array.ndim else _strict(array)[...])
    start, stop, _ = rows.indices(array.shape[0])
    found = np.empty((max(0, stop - start), *array.shape[1:]), array.dtype)
    read_ranges([RowRange(array, start, found, files)])
    return found


def read_ranges(ranges: Sequence[RowRange]) -> None:
    """Fill the place of every range with its rows.

    Raises:
        StoreError: a chunk is damaged.
    """
    left = _not_in_files([one for one in ranges if len(one.into)])
    if left:
        sync(_read(left))


@contextmanager
def corruption_as_store_error(what: object) -> Iterator[None]:
    """Say in words what is wrong with a chunk, and whose it is.

    Raises:
        StoreError: it cannot be unpacked, or is not what was written.
    """
    try:
        yield
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        raise damage(what, str(error)) from error


def damage(what: object, reason: str) -> StoreError:
    """The error for stored bytes that are not what was written."""
    return StoreError(f"'{what}' is damaged: {reason.rstrip('.')}. {_OTHERWISE}")


def read_whole(record: Record, arrays: Mapping[str, zarr.Array[Any]]) -> dict[str, NDArray[Any]]:
    """Read all arrays of an artifact, by their names as stored, and compare them with its record.

    Raises:
        SchemaError: what is there breaks `schema.yaml`.
        StoreError: what is there is damaged.
    """
    schema = family(record.address.family)
    found = {schema.name_of(name): read_rows(arrays[name]) for name in sorted(arrays)}
    check_whole(record, found)
    return found


def check_whole(record: Record, found: Mapping[str, NDArray[Any]]) -> None:
    """See that all arrays of an artifact are what its record says.

    Raises:
        SchemaError: what is there breaks `schema.yaml`.
        StoreError: what is there is damaged.
    """
    schema = family(record.address.family)
    schema.check(found, record.attributes)
    if not schema.has_digest(found, record.digest):
        raise damage(record.address, "the digest of its arrays is not the one that its record holds")


async def _read(ranges: Sequence[RowRange]) -> None:
    """All ranges side by side; when one cannot be read, nothing more is asked of the store."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def fetch(part: _Part) -> None:
        async with free:
            array = part.array
            key = array.metadata.encode_chunk_key((part.number, *(0 for _ in array.shape[1:])))
            found = await (array.store_path / key).get(default_buffer_prototype(), part.bytes)
            with corruption_as_store_error(array.path):
                _fill(part, None if found is None else cast(Any, found.as_numpy_array()))

    async def unpack(wanted: RowRange) -> None:
        rows = slice(wanted.start, wanted.start + len(wanted.into))
        async with free:
            with corruption_as_store_error(wanted.array.path):
                wanted.into[...] = await _strict(wanted.array).async_array.getitem(rows)

    tasks: list[asyncio.Task[None]] = []
    for wanted in ranges:
        blocks = Blocks.of(wanted.array)
        if blocks is not None:
            tasks += [asyncio.create_task(fetch(part)) for part in _parts_in_blocks(wanted, blocks)]
        else:
            tasks.append(asyncio.create_task(unpack(wanted)))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _strict(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """The array as one of which every chunk must be there, if it was written so."""
    return array.with_config({"read_missing_chunks": False}) if is_marked(array) else array


def _parts_in_blocks(rows: RowRange, blocks: Blocks) -> Iterator[_Part]:
    for number, first, last, into in _by_chunk(rows, blocks.rows * blocks.blocks):
        in_chunk = min(blocks.rows * blocks.blocks, rows.array.shape[0] - number * blocks.rows * blocks.blocks)
        begin, end = first // blocks.rows * blocks.length, blocks.count(last) * blocks.length
        # A whole chunk is fetched with its index, which is checked as well.
        where = None if (first, last) == (0, in_chunk) else RangeByteRequest(begin, end)
        yield _Part(rows.array, number, where, first % blocks.rows, into, blocks)


def _by_chunk(wanted: RowRange, rows: int) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """The chunks that a range touches, of `rows` each: number, first row and row after the last in it, their place."""
    start, stop = wanted.start, wanted.start + len(wanted.into)
    for number in range(start // rows, -(-stop // rows)):
        begin = number * rows
        first, last = max(start, begin), min(stop, begin + rows)
        yield number, first - begin, last - begin, wanted.into[first - start : last - start]


def _fill(part: _Part, found: NDArray[np.uint8] | None) -> None:
    if found is not None:
        part.blocks.decode(partial(_copy, found), part.skip, part.into, part.bytes is None)
    elif part.number in part.blocks.empty:
        part.into[...] = 0
    else:
        raise ValueError(f"its chunk {part.number} is missing")


def _copy(found: NDArray[np.uint8], pieces: Sequence[NDArray[np.uint8]]) -> int:
    """Fill pieces with bytes, one after another; how many there are."""
    at = 0
    for piece in pieces:
        held = found[at : at + len(piece)]
        piece[: len(held)] = held
        at += len(piece)
    return len(found)


def _not_in_files(ranges: Sequence[RowRange]) -> list[RowRange]:
    """Fill the ranges that files give as they were written; the others."""
    left = {number for number, wanted in enumerate(ranges) if wanted.files is None}
    parts = [
        (part, wanted.files, number)
        for number, wanted in enumerate(ranges)
        if wanted.files is not None
        for part in _parts_in_blocks(wanted, wanted.files.blocks)
    ]
    # New memory costs more than what is read into it, and the system gives it to several threads at once.
    threads = usable_cores() if sum(part.into.nbytes for part, *_ in parts) >= _LONG_BYTES else 1
    with ThreadPoolExecutor(threads, "ranges") if threads > 1 else nullcontext() as pool:
        for some in batched(parts, _AT_ONCE):
            for part, files, _ in some[1:]:
                begin = part.bytes.start if part.bytes else 0
                files.announce(part.number, begin, begin + part.into.nbytes)
            filled = (pool.map if pool else map)(lambda one: _filled(*one[:2]), some)
            left |= {number for (*_, number), is_filled in zip(some, filled, strict=True) if not is_filled}
    return [ranges[number] for number in sorted(left)]


def _filled(part: _Part, files: ArrayFiles) -> bool:
    """Fill the rows of a part from the chunk's file; whether that could be done."""
    place, begin = files.places.get(part.number), part.bytes.start if part.bytes else 0
    if place is None:
        part.into[...] = 0
        return part.number in part.blocks.empty
    with suppress(OSError, ValueError, OverflowError):  # the engine says what is wrong
        part.blocks.decode(partial(files.reader.fetch, place, begin), part.skip, part.into, part.bytes is None)
        return True
    return False
