"""Whole chunks of an array, fetched and unpacked side by side straight into where they stay.

zarr unpacks into a buffer of its own and copies from there, which takes nearly twice the time of a chunk of 2.6 MB.
What is not packed as this store packs numbers, zarr reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from store.contract.errors import StoreError

_SIZE, _PACKED_SIZE = slice(4, 8), slice(12, 16)
"""In Blosc's header: of the numbers, and of all that is packed."""


def read_chunks(array: zarr.Array[Any], numbers: Sequence[int]) -> list[NDArray[Any]]:
    """The chunks of these numbers along the first axis; the last one of an array may be shorter.

    Args:
        array: cut along its first axis alone.
        numbers: which, from 0.

    Raises:
        StoreError: a chunk is damaged.
    """
    rows = array.chunks[0]
    if not _is_ours(array):
        return [np.asarray(array[number * rows : (number + 1) * rows]) for number in numbers]

    async def unpacked() -> list[NDArray[Any]]:
        return list(await asyncio.gather(*(_unpacked(array, number) for number in numbers)))

    found = sync(unpacked())
    return [chunk[: array.shape[0] - number * rows] for number, chunk in zip(numbers, found, strict=True)]


def _is_ours(array: zarr.Array[Any]) -> bool:
    """Whether a chunk is what Blosc makes of numbers in this machine's order, and as wide as the array."""
    codecs = getattr(array.metadata, "codecs", ())
    kinds = tuple(type(codec) for codec in codecs)
    return kinds == (BytesCodec, BloscCodec) and array.dtype.isnative and array.chunks[1:] == array.shape[1:]


async def _unpacked(array: zarr.Array[Any], number: int) -> NDArray[Any]:
    """A chunk in its full length; nothing but the fill value where the store holds none."""
    at = array.store_path / "/".join(["c", str(number), *("0" for _ in array.shape[1:])])
    packed = await at.get(default_buffer_prototype())
    if packed is None:
        return np.full(array.chunks, array.fill_value, array.dtype)
    chunk = np.empty(array.chunks, array.dtype)
    try:
        await asyncio.to_thread(_unpack, packed.as_numpy_array(), chunk)
    except (RuntimeError, ValueError) as error:
        raise StoreError(
            f"'{at}' is damaged: {error}. Restore the store from a copy, or extract it anew into another one."
        ) from error
    return chunk


def _unpack(packed: NDArray[np.uint8], chunk: NDArray[Any]) -> None:
    """What Blosc does not look at itself: whether all bytes are there, and fill the chunk."""
    said = [int.from_bytes(packed[place].tobytes(), "little") for place in (_PACKED_SIZE, _SIZE)]
    if said != [packed.nbytes, chunk.nbytes]:
        raise ValueError(f"{packed.nbytes} bytes, which should hold {chunk.nbytes}, say {said} of themselves")
    blosc.decompress(packed, chunk)
