"""Artifacts written but not yet committed: what a worker hands back to the one committer."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import icechunk
from zarr.abc.store import Store
from zarr.core.sync import sync

from affstore.store.contract.errors import SchemaError
from affstore.store.contract.keys import digest_arrays
from affstore.store.contract.records import Address, Arrays, Artifact, Record, record_of
from affstore.store.contract.schema import check_finite, family
from affstore.store.engine.group_writing import Part, remove_group, write_group
from affstore.store.engine.listing import node_id, read_attributes
from affstore.store.engine.places import check_there, translate_errors
from affstore.store.engine.writers import WriterMark


class Draft:
    """A fork of the store that holds finished artifacts nobody can read yet.

    It can be pickled and handed to another process; only `FeatureStore.commit` makes it readable, whole.

    Attributes:
        base: the snapshot it was forked from; its history may be let go before the draft is committed.
        records: what it holds.
        removed: addresses it takes away.
        found: what was there when it was begun, as the engine's ids, of all that it writes, takes away and stands on.
        noted: of what it writes, the paths where the same numbers stood: only what is said of them is new.
        mark: keeps others from removing what it has written; it is let go with the commit.
    """

    def __init__(self, url: str, fork: Any, code: Mapping[str, str], run_id: str) -> None:
        self.url = url
        self.base: str = fork.snapshot_id
        self.records: list[Record] = []
        self.removed: list[Address] = []
        self.found: dict[str, str] = {}
        self.noted: set[str] = set()
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
            self._look_at(address.path)
            if sync(remove_group(self._fork.store, address.path)):
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
        check_there(self.url)
        path = record.address.path
        there = node_id(self._fork, path)
        if there and self._look_at(path) == there:  # not what the draft itself wrote
            before = read_attributes(self._fork, [path])[path].get("affstore") or {}
            if (before.get("key"), before.get("digest")) == (record.key, record.digest):
                self.noted.add(path)
        for touched in (path, *(parent.path for parent in record.parents)):
            self._look_at(touched)
        write_record(self._fork.store, record, arrays, version)

    def _look_at(self, path: str) -> str:
        """Remember what was at a path before the draft wrote anything there."""
        return self.found.setdefault(path, node_id(self._fork, path))

    def _check_frames(self, artifact: Artifact) -> None:
        """Frame-aligned is a property of the store: every array has as many rows as its video has frames."""
        address = artifact.address
        frames = artifact.attributes.get("frames")
        if frames is None or address.family == "source":
            return
        source = Address("source", video=address.video).path
        found = read_attributes(self._fork, [source])
        if source not in found:
            raise SchemaError(f"'{address}' belongs to no video: '{source}' is not in the store. Add the video first.")
        expected = found[source].get("frames")
        if frames != expected:
            raise SchemaError(f"'{address}' has {frames} rows, but its video has {expected} frames.")


def write_record(store: Store, record: Record, arrays: Arrays, version: int) -> None:
    """Write a record and its arrays, in place of what is at its address.

    Args:
        store: of a session.
        record: where to, and the record.
        arrays: the artifact's.
        version: of its family.
    """
    schema = family(record.address.family)
    parts = [Part(name, schema.array(name), arrays[name]) for name in sorted(arrays)]
    write_group(store, record.address.path, record.to_attributes(version), parts)
