"""Chunks brought back where they are, so that every snapshot and tag that needs them is whole again.

A chunk is never changed otherwise. What is written in its place is proven by reading the whole artifact against the
digest of its record; if it is not proven, the bytes that were there are put back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import icechunk
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.engine.accounting import decoded, id_bytes
from affstore.store.engine.blocks import Blocks
from affstore.store.engine.copying import chunk_keys
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.listing import DOCUMENT
from affstore.store.engine.objects import Objects, objects_of
from affstore.store.engine.places import translate_errors

_CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """One chunk of an array as a store holds it.

    Attributes:
        array: whose it is.
        key: where it is in the array's snapshot.
        content: its bytes; None if its object is gone.
        size: how many there should be at least.
        object: of the engine's objects, the one that is gone; empty where the engine gives its bytes.
    """

    array: zarr.Array[Any]
    key: str
    content: bytes | None
    size: int
    object: str = ""


def turn_bits_back(store: FeatureStore, record: Record, dry_run: bool = False) -> bool:
    """Turn back the one bit of a chunk, or of some, by the checksums that chunks hold.

    Args:
        store: a state that holds the artifact.
        record: the artifact's.
        dry_run: only find out whether it could be tried.

    Returns:
        Whether the artifact is as it was written.
    """
    with translate_errors(store.url, "Reading"):
        wanted = {chunk: content for chunk in _chunks(store, record) if (content := _with_bit_back(chunk))}
        return bool(wanted) if dry_run else _put(store, record, wanted)


def write_chunks_again(store: FeatureStore, record: Record, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Write those chunks again that are not what an artifact's numbers are packed into.

    Args:
        store: a state that holds the artifact.
        record: the artifact's.
        arrays: its numbers, whose digest is the record's.

    Returns:
        Whether the artifact is as it was written; not so where these packages pack the same numbers into other bytes.
    """
    schema, packed = family(record.address.family), dict[str, bytes]()
    with translate_errors(store.url, "Reading"):
        chunks = list(_chunks(store, record))
        for array in {chunk.array.path: chunk.array for chunk in chunks}.values():
            packed |= _packed(array, arrays[schema.name_of(array.basename)])
        wanted = {chunk: packed[chunk.key] for chunk in chunks if packed.get(chunk.key, chunk.content) != chunk.content}
        if any(len(content) < chunk.size for chunk, content in wanted.items()):
            return False  # the engine would ask for bytes that are not there
        return _put(store, record, wanted)


def _chunks(store: FeatureStore, record: Record) -> Iterator[_Chunk]:
    source = store.session.store
    for _, array in sorted(store.group(record.address).arrays()):
        for key in chunk_keys(array):
            try:
                found = sync(source.get(key, default_buffer_prototype()))
            except icechunk.IcechunkError as error:
                gone = re.search(r"\bchunk_id=(\w+) range=(\d+)\.\.(\d+)", str(error))
                if gone is None or "object not found" not in str(error):
                    raise
                yield _Chunk(array, key, None, int(gone[3]) - int(gone[2]), f"chunks/{gone[1]}")
            else:
                if found is not None:
                    content = found.to_bytes()
                    yield _Chunk(array, key, content, len(content))


def _packed(array: zarr.Array[Any], values: NDArray[Any]) -> dict[str, bytes]:
    """The chunks of an array that holds some values, by their keys."""
    keys, blocks = list(chunk_keys(array)), Blocks.of(array)
    if blocks is not None:
        rows = blocks.rows * blocks.blocks
        parts = ((key, number) for number, key in enumerate(keys) if number not in blocks.empty)
        return {key: blocks.encode(values[number * rows : (number + 1) * rows]).tobytes() for key, number in parts}
    memory = MemoryStore()
    document = sync(array.store_path.store.get(f"{array.path}/{DOCUMENT}", default_buffer_prototype()))
    if document is None:
        return {}
    sync(memory.set(f"{array.path}/{DOCUMENT}", document))
    zarr.open_array(memory, path=array.path, mode="r+", config={"write_empty_chunks": True})[...] = values
    found = {key: sync(memory.get(key, default_buffer_prototype())) for key in keys}
    return {key: content.to_bytes() for key, content in found.items() if content is not None}


def _put(store: FeatureStore, record: Record, wanted: Mapping[_Chunk, bytes]) -> bool:
    """Write chunks in place of those that are there; if the artifact is not whole by that, put back what was there."""
    objects = objects_of(store.url)
    if objects is None:
        return False
    before: dict[str, bytes | None] = {}
    for chunk, content in wanted.items():
        for key in _objects_of(store, objects, chunk):
            before[key] = chunk.content
            objects.write(key, content)
    try:
        FeatureStore(store.url, store.at or store.snapshot).read(record.address)
    except StoreError:
        for key, was in before.items():
            objects.delete(key) if was is None else objects.write(key, was)
        return False
    return bool(before)


def _objects_of(store: FeatureStore, objects: Objects, chunk: _Chunk) -> list[str]:
    """The objects that hold a chunk: of those that the manifests of its array name, the ones with its bytes."""
    if chunk.content is None:
        return [chunk.object]
    nodes = store.repository.inspect_snapshot(store.snapshot)["nodes"]
    (node,) = (node for node in nodes if node["path"].strip("/") == chunk.array.path)
    named = b"".join(decoded(objects.read(f"manifests/{one['id']}")) for one in node["manifest_refs"])
    size = len(chunk.content)
    sized = (key for key, length in objects.sizes().items() if key.startswith("chunks/") and length == size)
    among = [key for key in sized if id_bytes(key.partition("/")[2]) in named]
    return [key for key in among if objects.read(key) == chunk.content]


def _with_bit_back(chunk: _Chunk) -> bytes | None:
    """A chunk with one bit of a part turned back, where that part's checksum says which; None of one that is whole."""
    if chunk.content is None:
        return None
    parts, changed = [], False
    for begin, end in _checked_parts(chunk.array, len(chunk.content)):
        part = chunk.content[begin:end]
        back = bit_turned_back(part)
        changed |= back is not None
        parts.append(back or part)
    return b"".join(parts) if changed else None


def _checked_parts(array: zarr.Array[Any], size: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a chunk begin and end that are followed by a checksum of theirs; none where it has none."""
    blocks = Blocks.of(array)
    if blocks is not None:
        index = size - blocks.blocks * 16 - _CHECKSUM_BYTES
        if index > 0 and index % blocks.length == 0:
            yield from ((begin, begin + blocks.length) for begin in range(0, index, blocks.length))
            yield index, size
    elif any(isinstance(codec, Crc32cCodec) for codec in getattr(array.metadata, "codecs", ())[-1:]):
        yield 0, size


def bit_turned_back(part: bytes) -> bytes | None:
    """Bytes that end in their CRC-32C, of which one bit was turned, as they were; None if they are whole, or worse off.

    The checksum is linear: what differs in it is the trace of the bit, moved on once for every byte behind it.
    """
    data, content = part[:-_CHECKSUM_BYTES], bytearray(part)
    off = google_crc32c.value(data) ^ int.from_bytes(part[-_CHECKSUM_BYTES:], "little")
    if off.bit_count() == 1:  # of the checksum itself
        place = off.bit_length() - 1
        content[len(data) + place // 8] ^= 1 << place % 8
        return bytes(content)
    trace = off
    for place in range(len(data) - 1, -1, -1) if off else ():
        if (bit := _TRACES.get(trace)) is not None:
            content[place] ^= 1 << bit
            return bytes(content)
        step = _STEP_OF_TOP[trace >> 24]
        trace = (trace ^ _TABLE[step]) << 8 | step
    return None


def _table() -> list[int]:
    """What each value of a byte does to a CRC-32C."""
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return found


_TABLE = _table()
_STEP_OF_TOP = {value >> 24: number for number, value in enumerate(_TABLE)}
_TRACES = {_TABLE[1 << bit]: bit for bit in range(8)}
