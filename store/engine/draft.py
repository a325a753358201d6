"""Artifacts written but not yet committed: what a worker hands back to the one committer."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import icechunk
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import WrapperStore

from affstore.store.contract.errors import SchemaError
from affstore.store.contract.keys import digest_arrays
from affstore.store.contract.records import Address, Arrays, Artifact, Record, record_of
from affstore.store.contract.schema import ArraySchema, check_finite, family
from affstore.store.engine.blocks import MARK, create_in_blocks
from affstore.store.engine.places import translate_errors
from affstore.store.engine.writers import WriterMark

_CODECS: dict[str, list[Any]] = {
    "none": [Crc32cCodec()],
    "blosc": [BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec()],
    "zstd": [ZstdCodec(level=3), Crc32cCodec()],
}


class _WithoutParents(WrapperStore[Store]):
    """A store to which zarr writes a group without writing the groups above it, which the committer makes.

    Drafts of two videos would each hold `visual/<extractor>`, and the engine does not merge a group that two made.
    """

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Leave out what zarr writes only where it is missing: a group above another one."""


class Draft:
    """A fork of the store that holds finished artifacts nobody can read yet.

    It can be pickled and handed to another process; only `FeatureStore.commit` makes it readable, whole.

    Attributes:
        base: the snapshot it was forked from.
        records: what it holds.
        removed: addresses it takes away.
        mark: keeps others from removing what it has written; it is let go with the commit.
    """

    def __init__(self, url: str, fork: Any, code: Mapping[str, str], run_id: str) -> None:
        self.url = url
        self.base: str = fork.snapshot_id
        self.records: list[Record] = []
        self.removed: list[Address] = []
        self._fork = fork
        self._code = dict(code)
        self._run_id = run_id
        self.mark = WriterMark(url)

    @property
    def fork(self) -> icechunk.ForkSession:
        """The engine's fork, for the committer."""
        return self._fork

    def put(self, artifact: Artifact) -> Record:
        """Write an artifact: check it against the schema, write its arrays, then its record.

        Whatever stood at its address is replaced when the draft is committed.

        Raises:
            SchemaError: it breaks `schema.yaml`; nothing was written.
            StoreUnavailableError: the place is full or read-only.
        """
        schema = family(artifact.address.family)
        schema.check_address(artifact.address)
        schema.check(artifact.arrays, artifact.attributes)
        check_finite(schema.name, artifact.arrays)
        made_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = record_of(artifact, digest_arrays(artifact.arrays), self._code, self._run_id, made_at)
        with translate_errors(self.url, "Writing to"):
            self._check_frames(artifact)
            self.write(record, artifact.arrays, schema.version)
        self.records = [other for other in self.records if other.address != record.address] + [record]
        return record

    def remove(self, address: Address) -> None:
        """Take an artifact away when the draft is committed; earlier snapshots keep it."""
        with translate_errors(self.url, "Writing to"):
            root = self._root()
            if address.path in root:
                del root[address.path]
                self.records = [kept for kept in self.records if kept.address != address]
                self.removed.append(address)

    def copy(self, record: Record, arrays: Arrays, version: int) -> None:
        """Write what another store holds as it is there, with its record.

        Args:
            record: where to, and the record.
            arrays: the artifact's.
            version: of its family, by which it was written.
        """
        with translate_errors(self.url, "Writing to"):
            self.write(record, arrays, version)
        self.records.append(record)

    def release(self) -> None:
        """Let go of the engine's session once the draft is committed."""
        self._fork = None
        self.mark.release()

    def write(self, record: Record, arrays: Arrays, version: int) -> None:
        """Write a record and its arrays as they are; `put` is for what is new.

        Args:
            record: where to, and the record.
            arrays: the artifact's.
            version: of its family.
        """
        schema = family(record.address.family)
        group = self._root().create_group(record.address.path, overwrite=True, attributes=record.to_attributes(version))
        for name in sorted(arrays):
            _write_array(group, name, schema.array(name), arrays[name])

    def _root(self) -> zarr.Group:
        return zarr.open_group(_WithoutParents(self._fork.store), mode="a")

    def _check_frames(self, artifact: Artifact) -> None:
        """Frame-aligned is a property of the store: every array has as many rows as its video has frames."""
        address = artifact.address
        frames = artifact.attributes.get("frames")
        if frames is None or address.family == "source":
            return
        source = Address("source", video=address.video).path
        root = zarr.open_group(self._fork.store, mode="r")
        if source not in root:
            raise SchemaError(f"'{address}' belongs to no video: '{source}' is not in the store. Add the video first.")
        expected = root[source].attrs.get("frames")
        if frames != expected:
            raise SchemaError(f"'{address}' has {frames} rows, but its video has {expected} frames.")


def _write_array(group: zarr.Group, name: str, schema: ArraySchema, values: NDArray[Any]) -> None:
    """Write one array in the codec its schema states, in chunks of equal length, with their checksums."""
    rows = _chunk_rows(len(values), schema.chunk) if values.ndim else 1
    more: dict[str, Any] = {
        "filters": None,
        "fill_value": np.zeros((), values.dtype).item(),
        "dimension_names": schema.dims if schema.dims != ("any",) else None,
    }
    if schema.block and values.size:
        chunk = -(-rows // schema.block) * schema.block
        create_in_blocks(group, name, values, chunk=chunk, block=schema.block, **more)
        return
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *(max(1, length) for length in values.shape[1:])) if values.ndim else (),
        compressors=_CODECS[schema.codec],
        attributes={MARK: {"empty_chunks": []}},
        config={"write_empty_chunks": True},
        **more,
    )
    array[...] = values


def _chunk_rows(rows: int, most: int) -> int:
    """Rows of a chunk: as few chunks as may be, of equal length, for zarr stores the last one full."""
    chunks = max(1, -(-rows // most))
    return max(1, -(-rows // chunks))
