"""Groups of arrays, written by few requests to the engine.

Zarr alone asks for some nine things an array, one after another and each by way of two other threads, which on a busy
machine takes 0.1 s for the embedding of a short video. So the documents and the small arrays are packed here, as Zarr
does it but for blanks in documents, and the engine gets them at once.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from affstore.store.contract.schema import ArraySchema
from affstore.store.engine.blocks import MARK, InBlocks, chunk_key
from affstore.store.engine.listing import DOCUMENT

_LEVEL = 3
_CODECS: dict[str, list[Any]] = {
    "none": [Crc32cCodec()],
    "blosc": [BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec()],
    "zstd": [ZstdCodec(level=_LEVEL), Crc32cCodec()],
}
_PACKERS: dict[str, Any] = {"blosc": Blosc(cname="lz4", shuffle=Blosc.BITSHUFFLE), "zstd": Zstd(level=_LEVEL)}


@dataclass(frozen=True)
class Part:
    """An array to be written.

    Attributes:
        name: of the array.
        schema: how it is packed and cut into chunks.
        values: of the array.
    """

    name: str
    schema: ArraySchema
    values: NDArray[Any]

    @property
    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk: as few chunks as may be, of equal length, for Zarr stores the last one full."""
        if not self.values.ndim:
            return ()
        chunks = max(1, -(-len(self.values) // self.schema.chunk))
        rows = max(1, -(-len(self.values) // chunks))
        block = self.schema.block if self.values.size else 0
        return (-(-rows // block) * block if block else rows, *(max(1, length) for length in self.values.shape[1:]))

    @functools.cached_property
    def in_blocks(self) -> InBlocks | None:
        """The array in blocks; None where a chunk is packed whole."""
        block = self.schema.block
        return InBlocks(self._as_stored, self.chunk[0], block) if block and self.values.size else None

    def document(self) -> bytes:
        """What Zarr must know of the array to read it."""
        blocks = self.in_blocks
        document = _document(self.schema, self.values.dtype.str, self.chunk[1:], self.values.ndim, blocks is not None)
        mark = {MARK: {"empty_chunks": sorted(blocks.empty) if blocks else []}}
        grid = document["chunk_grid"] | {"configuration": {"chunk_shape": self.chunk}}
        return _as_json(document | {"shape": self.values.shape, "chunk_grid": grid, "attributes": mark})

    def chunks(self) -> Iterator[tuple[str, bytes]]:
        """The keys of its chunks below the array, and their bytes, each packed whole."""
        values = self._as_stored
        if not values.ndim:
            yield chunk_key(0, 0), self._packed(values)
            return
        if not values.size:
            return
        rows = self.chunk[0]
        for number, first in enumerate(range(0, len(values), rows)):
            chunk = np.zeros(self.chunk, values.dtype)
            chunk[: len(values) - first] = values[first : first + rows]
            yield chunk_key(number, values.ndim), self._packed(chunk)

    @property
    def _as_stored(self) -> NDArray[Any]:
        """The values with the byte order that Zarr writes on any machine."""
        return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False)

    def _packed(self, chunk: NDArray[Any]) -> bytes:
        packer = _PACKERS.get(self.schema.codec)
        packed = bytes(packer.encode(np.ascontiguousarray(chunk))) if packer else chunk.tobytes()
        return packed + google_crc32c.value(packed).to_bytes(4, "little")


def write_group(store: Store, path: str, attributes: Mapping[str, Any], parts: Iterable[Part]) -> None:
    """Write a group and its arrays, with the checksums of their chunks, in place of whatever is there.

    The groups above it are not written: drafts of two videos would each hold `visual/<extractor>`, and the engine does
    not merge a group that two made. Whoever commits makes them.

    Args:
        store: where to.
        path: of the group.
        attributes: of the group.
        parts: its arrays.
    """
    of_group = {f"{path}/{DOCUMENT}": _group_document(attributes)}
    documents: dict[str, bytes] = {}
    chunks: dict[str, bytes] = {}
    in_blocks: dict[str, InBlocks] = {}
    for part in parts:
        documents[f"{path}/{part.name}/{DOCUMENT}"] = part.document()
        if part.in_blocks is not None:
            in_blocks[f"{path}/{part.name}"] = part.in_blocks
        else:
            chunks |= {f"{path}/{part.name}/{key}": content for key, content in part.chunks()}
    # The engine takes what is in a node after the node's own document.
    sync(_replace(store, path, (of_group, documents, chunks)))
    for array, blocks in in_blocks.items():
        for key, content in blocks.chunks():  # the large ones: one at a time in memory
            sync(_set(store, {f"{array}/{key}": content}))


def add_groups(store: Store, paths: Sequence[str]) -> None:
    """Make those of some groups that are not there yet, all by two rounds of requests to the engine."""
    sync(_add_groups(store, paths))


async def _add_groups(store: Store, paths: Sequence[str]) -> None:
    documents = [f"{path}/{DOCUMENT}" for path in paths]
    there = await asyncio.gather(*map(store.exists, documents))
    empty = _group_document({})
    await _set(store, {document: empty for document, found in zip(documents, there, strict=True) if not found})


async def remove_group(store: Store, path: str) -> bool:
    """Take away a group and all below it; whether it was there."""
    there = await store.exists(f"{path}/{DOCUMENT}")
    if there:
        await store.delete_dir(path)
    return there


async def _replace(store: Store, path: str, in_turn: Iterable[Mapping[str, bytes]]) -> None:
    await remove_group(store, path)
    for contents in in_turn:
        await _set(store, contents)


async def _set(store: Store, contents: Mapping[str, Any]) -> None:
    buffer = default_buffer_prototype().buffer
    arrays = {key: np.frombuffer(content, np.uint8) for key, content in contents.items()}
    await asyncio.gather(*(store.set(key, buffer.from_array_like(array)) for key, array in arrays.items()))


@functools.lru_cache(256)
def _document(schema: ArraySchema, dtype: str, width: tuple[int, ...], axes: int, in_blocks: bool) -> dict[str, Any]:
    """What Zarr writes of such an array of some length."""
    held: dict[str, Any] = {}
    rows = (schema.block if in_blocks else 1,) * bool(axes)
    how: dict[str, Any] = (
        {"shards": (*rows, *width), "compressors": Crc32cCodec()}
        if in_blocks
        else {"compressors": _CODECS[schema.codec]}
    )
    zarr.create_array(
        MemoryStore(held),
        shape=(*rows, *width),
        dtype=dtype,
        chunks=(*rows, *width),
        filters=None,
        fill_value=np.zeros((), dtype).item(),
        dimension_names=schema.dims if schema.dims != ("any",) else None,
        **how,
    )
    found: dict[str, Any] = json.loads(held[DOCUMENT].to_bytes())
    return found


def _group_document(attributes: Mapping[str, Any]) -> bytes:
    """What Zarr must know of a group."""
    return _as_json({"attributes": attributes, "zarr_format": 3, "node_type": "group"})


def _as_json(document: Mapping[str, Any]) -> bytes:
    """A document without Zarr's blanks, which are a third of what the engine keeps of a node in each of its lists."""
    return json.dumps(document, separators=(",", ":")).encode()
