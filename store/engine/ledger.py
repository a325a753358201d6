"""The ledger: a SHA-256 of every small object that the engine wrote for a commit, kept beside the objects.

The engine's lists (snapshots, manifests, logs of transactions and operations) have no checksum: a turned bit in one may
decode to something else, or to the same. They are never changed once written, so their digests are noted right after
each commit, in a file of the commit's own below `ledger/`, which `sha256sum --check` reads. Chunks need none: each has
checksums of its own, and the digest of an artifact's arrays is in its record. See docs/adr/0016-ledger.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import icechunk

from affstore.store.contract.errors import AffstoreError
from affstore.store.engine.objects import Objects, objects_of

FOLDER = "ledger/"
STATE = "repo"
"""The one object of the engine that changes: its list of snapshots, branches and tags. Earlier ones are kept as
`overwritten/…`, with the same bytes."""
_FIRST_LINE = "# update of "
_LAST_LINE = "# SHA-256 of the lines above: "
_READERS = 8


def note_update(url: str, repository: icechunk.Repository, snapshot: str = "") -> None:
    """Note the objects that an update of the repository brought: the commit of a snapshot, or the newest update.

    Where that fails the update stands all the same; `affstore verify` then says that nothing vouches for its objects.
    """
    with suppress(OSError, icechunk.IcechunkError, AffstoreError):
        objects = objects_of(url)
        if objects is None:
            return
        updates = repository.inspect_repo_info()["latest_updates"]
        number = next((n for n, one in enumerate(updates) if _snapshot_of(one) == snapshot), 0) if snapshot else 0
        update, before = updates[number], updates[number + 1 : number + 2]
        # Others may have updated it since; then the state that this one left is where the engine put it aside.
        state = f"overwritten/{update['backup_path']}" if update.get("backup_path") else STATE
        put_aside = [f"overwritten/{one['backup_path']}" for one in before if one.get("backup_path")]
        keys = put_aside + _new_objects(repository, _snapshot_of(update))
        found = digests_of(objects, keys) | {STATE: _digest(objects.read(state))}
        objects.write(FOLDER + _name_of(update), _as_text(update["updated_at"], found))


@dataclass(frozen=True)
class Note:
    """What a note says.

    Attributes:
        time: of the update, ISO 8601.
        digests: SHA-256 by the keys of the objects that it brought; the state that it left under `repo`.
    """

    time: str
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Ledger:
    """All notes of a store.

    Attributes:
        notes: by their keys.
        damaged: the keys of notes that are not as they were written.
    """

    notes: Mapping[str, Note] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 by the keys of all objects that never change."""
        return {key: one for note in self.notes.values() for key, one in note.digests.items() if key != STATE}

    @cached_property
    def states(self) -> dict[str, str]:
        """SHA-256 of every state of the changing object, by the time of its update."""
        return {note.time: note.digests[STATE] for note in self.notes.values() if STATE in note.digests}

    @property
    def last_state(self) -> str:
        """SHA-256 of the newest state; empty if none was noted."""
        return self.states[max(self.states)] if self.states else ""


def read_ledger(objects: Objects, keys: Iterable[str]) -> Ledger:
    """Read all notes of a store, of whose objects the keys are known."""
    notes, damaged = {}, []
    for key, content in contents(objects, (key for key in keys if key.startswith(FOLDER))):
        note = _note(content)
        if note is None:
            damaged.append(key)
        else:
            notes[key] = note
    return Ledger(notes, tuple(damaged))


def contents(objects: Objects, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Objects' keys and bytes, read side by side; those that are gone meanwhile are left out."""

    def read(key: str) -> tuple[str, bytes | None]:
        try:
            return key, objects.read(key)
        except FileNotFoundError:
            return key, None

    with ThreadPoolExecutor(_READERS) as threads:
        yield from ((key, content) for key, content in threads.map(read, sorted(keys)) if content is not None)


def digests_of(objects: Objects, keys: Iterable[str]) -> dict[str, str]:
    """SHA-256 of objects as they are now, by their keys."""
    return {key: _digest(content) for key, content in contents(objects, keys)}


def with_bit_turned_back(content: bytes, digest: str) -> bytes | None:
    """The bytes that a digest is of, if one bit of them was turned; None otherwise.

    Every bit is tried, so that this is for small objects: 64 kB take some 20 s.
    """
    before, rest = hashlib.sha256(), bytearray(content)
    for place in range(len(content)):
        for bit in range(8):
            rest[place] ^= 1 << bit
            tried = before.copy()
            tried.update(memoryview(rest)[place:])
            if tried.hexdigest() == digest:
                return bytes(rest)
            rest[place] ^= 1 << bit
        before.update(content[place : place + 1])
    return None


def restored_note(content: bytes) -> bytes | None:
    """A note of which one bit was turned, as it was; None if more is wrong."""
    for place in range(len(content)):
        for bit in range(8):
            tried = bytearray(content)
            tried[place] ^= 1 << bit
            if _note(bytes(tried)) is not None:
                return bytes(tried)
    return None


def _note(content: bytes) -> Note | None:
    """A note as it was written; None if it is not."""
    text = content.decode("ascii", "replace")
    lines, mark, digest = text.rpartition(_LAST_LINE)
    if not mark or digest != f"{_digest(lines.encode())}\n" or text.encode() != content:
        return None
    first, *others = lines.splitlines()
    digests = {key: found for found, _, key in (line.partition("  ") for line in others)}
    return Note(first.removeprefix(_FIRST_LINE), digests)


def _as_text(time: str, digests: Mapping[str, str]) -> bytes:
    lines = f"{_FIRST_LINE}{time}\n" + "".join(f"{digests[key]}  {key}\n" for key in sorted(digests))
    return f"{lines}{_LAST_LINE}{_digest(lines.encode())}\n".encode()


def _snapshot_of(update: Mapping[str, Any]) -> str:
    return str(update["update_type"].get("new_snap_id", ""))


def _name_of(update: Mapping[str, Any]) -> str:
    return _snapshot_of(update) or hashlib.sha256(str(update["updated_at"]).encode()).hexdigest()[:20]


def _new_objects(repository: icechunk.Repository, snapshot: str) -> list[str]:
    """The keys of the objects that a commit brought; none of another update."""
    if not snapshot:
        return []
    parent = repository.lookup_snapshot(snapshot).parent_id
    own, before = ({one.id for one in repository.list_manifest_files(id)} if id else set() for id in (snapshot, parent))
    ids = [snapshot]
    if parent is not None and repository.lookup_snapshot(parent).parent_id is None:
        ids.append(parent)  # the engine's own first one, which no commit of ours brought
    lists = [f"{kind}/{id}" for id in ids for kind in ("snapshots", "transactions")]
    return lists + [f"manifests/{one}" for one in sorted(own - before)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
