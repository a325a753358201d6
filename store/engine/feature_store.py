"""The feature store: one small class over an icechunk repository."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath
from shlex import quote
from typing import Any, cast
from uuid import uuid4

import icechunk
import zarr
from numpy.typing import NDArray

from affstore.store.contract.errors import (
    ConflictError,
    NewerSchemaError,
    NotFoundError,
    SpecError,
    StoreError,
    UnknownNameError,
)
from affstore.store.contract.moments import moment_of
from affstore.store.contract.names import is_snapshot, tag_fault
from affstore.store.contract.printable import excerpt
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of, families, family, layout_version
from affstore.store.engine.chain import Content, commit_linked, folding
from affstore.store.engine.draft import Draft
from affstore.store.engine.group_writing import add_groups
from affstore.store.engine.ledger import note_update
from affstore.store.engine.listing import Known, Listing, changed_paths, node_id, order, read_attributes
from affstore.store.engine.places import (
    check_no_file,
    check_there,
    check_writable,
    committer_lock,
    exists,
    is_local,
    local_folder,
    open_repository,
    settings,
    storage_of,
    translate_errors,
)
from affstore.store.engine.ranges import damage, read_rows
from affstore.store.engine.states import (
    BRANCH,
    branch_named,
    generation_on,
    is_unfinished,
    open_generations,
    seen_by_readers,
    snapshot_named,
)

_IDENTITY = "affstore_identity"
"""Metadata of the repository; see `FeatureStore.identity`."""
_MOST_RACES = 10
_CREATION_S = 20
"""How long a repository that another process is creating is waited for."""
_HALF_CREATED = (icechunk.AlreadyExistsError, icechunk.RepositoryNotFoundError, icechunk.ConflictError)


class FeatureStore:
    """A store at one snapshot: whoever holds it reads one consistent state, whatever others commit meanwhile.

    Attributes:
        url: a folder, `s3://bucket/prefix` or `memory:name`.
        at: the tag, generation, snapshot or time (ISO 8601; UTC unless it names a zone) it was opened at; None for the
            newest state.
        snapshot: id of the snapshot it reads.
        branch: the engine's branch that it writes to: that of the generation it was opened at, else the readers' own.
        layout: the version of the tree of groups, `layout` in `schema.yaml`.
        repository: the engine's repository, for the modules of this folder.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> [record.address.path for record in store.records("visual", video="interview")]
        ['visual/emotieffnet_b0/interview/main']
        >>> store.read(store.records("visual")[0].address)["present"].dtype
        dtype('bool')
    """

    def __init__(self, url: str | os.PathLike[str], at: str | None = None) -> None:
        """Open an existing store.

        Raises:
            NotFoundError: there is no store there, or no such tag, generation, snapshot or time in its history.
            NewerSchemaError: a newer affstore wrote it.
        """
        self.url = url = os.fspath(url)
        with translate_errors(url, "Opening"):
            check_no_file(url)
            # Asked first, because opening a local path creates its folder.
            absent = is_local(url) and not local_folder(url).is_dir()
            if absent or not exists(url):
                raise NotFoundError(
                    f"There is no store at '{url}'. `affstore add VIDEO --store {quote(url)}` makes one."
                )
            self.repository = open_repository(url)
        self._known = Known()
        self._open_at(at)

    def __repr__(self) -> str:
        # The snapshot of a store that was opened as it was then: what stands here opens the same state again.
        return f"FeatureStore({self.url!r}, at={self.at or self.snapshot!r})"

    def __reduce__(self) -> tuple[Any, tuple[str, str | None, str]]:
        # Handles do not travel, addresses do: a worker opens its own.
        return _at_snapshot, (self.url, self.at, self.snapshot)

    @classmethod
    def create(cls, url: str | os.PathLike[str]) -> FeatureStore:
        """Open the store, making an empty one first where there is none.

        Raises:
            StoreUnavailableError: the place cannot be written.
        """
        url = os.fspath(url)
        check_writable(url)
        with translate_errors(url, "Creating"), committer_lock(url):
            repository = _repository_at(url)
            session = repository.writable_session(BRANCH)
            if is_unfinished(repository):
                return cls(url)  # which says so
            # Nothing but the engine's first snapshot: nobody has begun to use the repository.
            if len(list(repository.ancestry(snapshot_id=session.snapshot_id))) == 1:
                root = zarr.create_group(session.store, attributes={"affstore": {"layout": layout_version()}})
                for name in families():
                    root.create_group(name)
                # On an object store several may get here at once; the first one's commit is the one that counts.
                with suppress(icechunk.ConflictError):
                    commit_linked(url, repository, session, Content("an empty affstore"))
                    repository.update_metadata({_IDENTITY: uuid4().hex})
                    note_update(url, repository)
        return cls(url)

    def newest(self) -> FeatureStore:
        """The same store as it is now; of one that was opened at a generation, that generation as it is now."""
        return self.state(generation_on(self.branch))

    def state(self, at: str | None) -> FeatureStore:
        """The same store at another state, or as it is now; what the engine has of it in memory is shared.

        A record that is the same in both is read once.

        Args:
            at: a tag, generation, snapshot or time; None for what readers see now.

        Raises:
            NotFoundError: there is no such state in its history.
        """
        other = object.__new__(FeatureStore)
        other.url, other.repository, other._known, other.at = self.url, self.repository, self._known, at
        with translate_errors(self.url, "Opening"):
            other.branch = branch_named(self.repository, at)
            other.snapshot = other._snapshot_of(at)
        if other.snapshot == self.snapshot:
            shared = {"session": self.session, "_root": self._root, "_listing": self._listing, "layout": self.layout}
            vars(other).update(shared)
        else:
            other.layout = other._check_layout()
        return other

    # Reading

    def find(self, address: Address) -> Record | None:
        """The record at an address, or None; `get` also asks whether a damaged list is why nothing is there."""
        return next(iter(self.find_all([address])), None)

    def present(self, addresses: Iterable[Address]) -> list[Address]:
        """Those of the addresses where something is, in their order; records are not read."""
        with translate_errors(self.url, "Reading"):
            return [address for address in addresses if node_id(self.session, address.path)]

    def find_all(self, addresses: Iterable[Address]) -> list[Record]:
        """The records at those addresses where something is, in their order, read at once."""
        with translate_errors(self.url, "Reading"):
            return self._listing.records(addresses)

    def mentioning(self, text: str) -> list[Record]:
        """Every record that holds a text anywhere, in the order of their addresses; only those are read whole."""
        with translate_errors(self.url, "Reading"):
            return self._listing.records(self._listing.mentioning(text))

    def children(self, path: str) -> list[str]:
        """The names right below a path, as `visual`; quicker than `addresses`, which looks at everything."""
        with translate_errors(self.url, "Listing"):
            return self._listing.children(path)

    def get(self, address: Address) -> Record:
        """The record at an address.

        Raises:
            NotFoundError: nothing is there.
        """
        record = self.find(address)
        if record is None:
            self.check_list()  # if it is damaged, the artifact may seem to be missing by that
            raise NotFoundError(f"The store at '{self.url}' has no '{address}'. `affstore status` lists what it has.")
        return record

    def below(self, place: Address) -> list[Address]:
        """The artifacts right below a place, as the subjects of an address without one; quicker than `addresses`.

        That lists everything, anew at each snapshot: a worker that asks about its video is not to wait for it.
        """
        with translate_errors(self.url, "Listing"):
            found = [address_of(f"{place.path}/{name}") for name in self._listing.children(place.path)]
        return sorted(found, key=order)

    def addresses(self, *names: str, video: str = "") -> list[Address]:
        """Every artifact's address, or those of the named families, or of one video, in order; records are not read.

        Raises:
            UnknownNameError: there is no such family.
        """
        for name in names:
            if name not in families():
                raise UnknownNameError.of("family of artifacts", name, families())
        with translate_errors(self.url, "Listing"):
            among = self._listing.of_video.get(video, []) if video else self._listing.addresses
        return [address for address in among if not names or address.family in names]

    def check_list(self) -> None:
        """Read the snapshot's own list of what it holds; `addresses` may know it from a list that was kept.

        Raises:
            StoreError: it is damaged.
        """
        with translate_errors(self.url, "Listing"):
            self._listing.check()

    def records(self, *names: str, video: str = "") -> list[Record]:
        """Every record, or those of the named families, or of one video, in the order of their addresses.

        Raises:
            UnknownNameError: there is no such family.
        """
        with translate_errors(self.url, "Listing"):
            return self._listing.records(self.addresses(*names, video=video))

    def read(
        self, address: Address, arrays: Sequence[str] | None = None, rows: slice = slice(None)
    ) -> dict[str, NDArray[Any]]:
        """Read an artifact's arrays, or some of them, or some of their rows, in the types that they are stored in.

        Raises:
            NotFoundError: nothing is there, or it has no such array.
            SchemaError: what is there breaks `schema.yaml`.
            StoreError: what is there is damaged.
        """
        record = self.get(address)
        found: dict[str, NDArray[Any]] = {}
        with translate_errors(self.url, "Reading"):
            schema, there = family(address.family), self._listing.children(address.path)
            names = [schema.name_of(stored) for stored in there] if arrays is None else arrays
            present = {name: schema.stored_name(name, there) for name in names}
            unknown = [name for name, stored in present.items() if stored not in there]
            if unknown:
                raise NotFoundError(f"'{address}' has no array '{unknown[0]}'; it has {there}.")
            # All of them are opened at once; of some, only those.
            opened = dict(self.group(address).arrays()) if arrays is None else {}
            for name, stored in sorted(present.items()):
                array: Any = opened[stored] if opened else self._root[f"{address.path}/{stored}"]
                found[name] = read_rows(array, rows)
        if rows == slice(None) and arrays is None:
            _check_whole(record, found)
        else:
            frames = record.attributes.get("frames") if rows == slice(None) else None
            schema.check_kinds(found, frames)
        return found

    def array_names(self, address: Address) -> list[str]:
        """What the arrays of an artifact are called, sorted; they are not opened.

        Raises:
            NotFoundError: nothing is there.
        """
        self.get(address)
        with translate_errors(self.url, "Reading"):
            return sorted(map(family(address.family).name_of, self._listing.children(address.path)))

    def group(self, address: Address) -> zarr.Group:
        """The plain Zarr group of an artifact, for readers who want its arrays lazily."""
        self.get(address)
        with translate_errors(self.url, "Reading"):
            return cast(zarr.Group, self._root[address.path])

    def holds(self, address: Address, version: str) -> bool:
        """Whether what is at an address is the version of this id of the engine's; each write has a new one."""
        with translate_errors(self.url, "Reading"):
            return node_id(self.session, address.path) == version

    # Writing

    def draft(self, code: Mapping[str, str], run_id: str) -> Draft:
        """A fork of the newest state to write finished artifacts into."""
        with translate_errors(self.url, "Writing to"):
            session = self.repository.writable_session(self.branch)
            return Draft(self.url, session.fork(), code, run_id)

    def commit(self, drafts: Sequence[Draft], message: str, metadata: Mapping[str, Any] | None = None) -> str:
        """Make drafts readable, all at once, as one snapshot.

        Raises:
            ConflictError: another run changed an address of a draft since the draft was begun; nothing was committed.
        """
        if not drafts:
            return self.snapshot
        check_there(self.url)
        with translate_errors(self.url, "Committing to"), committer_lock(self.url):
            snapshot = self._commit_racing(drafts, message, dict(metadata or {}))
        for draft in drafts:
            draft.mark.release()
        return snapshot

    def _commit_racing(self, drafts: Sequence[Draft], message: str, metadata: dict[str, Any]) -> str:
        """Where no lock keeps other committers out, one may have made the same groups meanwhile."""
        for _ in range(_MOST_RACES):
            with suppress(icechunk.RebaseFailedError):
                return self._commit_merged(drafts, message, metadata)
        return self._commit_merged(drafts, message, metadata)

    def announce_folding(self, kept: Sequence[str]) -> str:
        """Commit that what is older than some snapshots is let go on purpose; whoever then expires it can say so.

        Args:
            kept: the first snapshot that stays of the history, and of each tag that is older.
        """
        with translate_errors(self.url, "Committing to"), committer_lock(self.url):
            session = self.repository.writable_session(self.branch)
            return self.commit_session(session, Content("older history is let go", folding(self.repository, kept)))

    def _commit_merged(self, drafts: Sequence[Draft], message: str, metadata: dict[str, Any]) -> str:
        session = self.repository.writable_session(self.branch)
        tip: str = session.snapshot_id
        news = self._to_commit(drafts, tip)
        if not news:
            return tip
        root = zarr.open_group(session.store, mode="a")
        written = frozenset(record.address.path for draft in news for record in draft.records)
        taken_away = {address.path for draft in news for address in draft.removed} - written
        removed = frozenset(path for path in taken_away if path in root)
        session.merge(*(draft.fork for draft in news))
        add_groups(session.store, _groups_above(written))
        return self.commit_session(session, Content(message, metadata, written, removed))

    def commit_session(self, session: Any, content: Content) -> str:
        """Commit a session, with its link of the chain, on top of the newest snapshot.

        Others may commit first on an object store, and then the link is that of the new parent; so the engine may not
        rebase by itself. An error is looked into before: the answer may be lost, and the commit there.
        """
        own = uuid4().hex
        content = replace(content, metadata={**content.metadata, "commit": own})
        for _ in range(_MOST_RACES):
            base = session.snapshot_id
            try:
                return commit_linked(self.url, self.repository, session, content)
            except (icechunk.IcechunkError, OSError) as error:
                committed = self._committed_as(own, base)
                if not committed and not isinstance(error, icechunk.ConflictError):
                    raise
            if committed:
                note_update(self.url, self.repository, committed)
                return committed
            session.rebase(icechunk.ConflictDetector())
        raise ConflictError(f"Others commit to the store at '{self.url}' all the time. Run the command again.")

    def _committed_as(self, own: str, base: str) -> str:
        """The snapshot of a commit by the mark in its metadata, among those after `base`; empty if there is none."""
        with suppress(icechunk.IcechunkError, OSError):
            for info in open_repository(self.url).ancestry(branch=self.branch):
                if info.metadata.get("commit") == own:
                    return info.id
                if info.id == base:
                    break
        return ""

    def tag(self, name: str) -> None:
        """Name the snapshot this store reads, for ever.

        Raises:
            SpecError: it is no name for a tag, or a generation has it.
            StoreError: the name stands for another snapshot.
        """
        fault = tag_fault(name)
        if fault:
            raise SpecError(f"A snapshot cannot be tagged {excerpt(name)}: {fault}.")
        with translate_errors(self.url, "Tagging"):
            if name in open_generations(self.repository):
                raise SpecError(f"A snapshot cannot be tagged '{name}': a generation is called so. Use another name.")
            named = self.tags().get(name)
        if named is not None:
            if named != self.snapshot:
                raise StoreError(
                    f"The tag '{name}' already names another snapshot; tags are never moved. Use a new one."
                )
            return
        with translate_errors(self.url, "Tagging"), committer_lock(self.url):
            self.repository.create_tag(name, snapshot_id=self.snapshot)
            note_update(self.url, self.repository)

    def tags(self) -> dict[str, str]:
        """Every tag and the snapshot it names."""
        with translate_errors(self.url, "Reading"):
            return {name: self.repository.lookup_tag(name) for name in sorted(self.repository.list_tags())}

    def history(self) -> list[icechunk.SnapshotInfo]:
        """Every snapshot from this one back to the first."""
        with translate_errors(self.url, "Reading"):
            return list(self.repository.ancestry(snapshot_id=self.snapshot))

    # Inside

    def repository_metadata(self) -> dict[str, Any]:
        """What the repository says of itself today, beside its history; formats before icechunk 2 say nothing."""
        with translate_errors(self.url, "Reading"):
            repository = self.repository.reopen()
            is_old = repository.spec_version < icechunk.SpecVersion.current()
            return {} if is_old else repository.get_metadata()

    def check_not_retracted(self, tag: str) -> None:
        """See that a tag is not one that was withdrawn; whoever does not find one asks this before saying so.

        Raises:
            NotFoundError: it named a publication of a video that was forgotten.
        """
        for one in self.repository_metadata().get("affstore", {}).get("retracted", ()):
            if one["tag"] == tag:
                raise NotFoundError(
                    f"The publication '{tag}' of the store at '{self.url}' was retracted on {one['date']}: it "
                    "contained a video that was forgotten on request. Publish again without it."
                )

    @cached_property
    def identity(self) -> str:
        """What a store is called wherever it lies, however its place is spelled, and in every copy of it.

        A store that was made before stores had one is called as the first commit that its history has.
        """
        known = self.repository_metadata().get(_IDENTITY)
        return str(known) if known else next(info.id for info in reversed(self.history()) if info.parent_id)

    @cached_property
    def session(self) -> icechunk.Session:
        """The engine's read-only session, for plain `zarr` and `xarray`."""
        return self.repository.readonly_session(snapshot_id=self.snapshot)

    @cached_property
    def _root(self) -> zarr.Group:
        return zarr.open_group(self.session.store, mode="r")

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self.repository, self.session, self._known, self.url)

    def _open_at(self, at: str | None) -> None:
        self.at = at
        with translate_errors(self.url, "Opening"):
            self.branch = branch_named(self.repository, at)
            self.snapshot = self._snapshot_of(at)
        self.layout = self._check_layout()

    def _snapshot_of(self, at: str | None) -> str:
        found = snapshot_named(self.repository, at, self.branch)
        if found is None:
            name = str(at)
            self.check_not_retracted(name)
            asked = f"The store at '{self.url}' has no tag, generation, snapshot or time '{excerpt(name)[1:-1]}': "
            if moment_of(name) is None and not is_snapshot(name):
                raise NotFoundError(
                    f"{asked}a snapshot is named by its whole id, and a time is written as 2026-11-27T18:30 (ISO 8601, "
                    "in UTC). `affstore log` lists snapshots, times and tags."
                )
            # The engine's own first snapshot is older, and no state of the store yet.
            seen = list(seen_by_readers(self.repository))
            first = next((info for info in reversed(seen) if info.parent_id), seen[-1])
            raise NotFoundError(
                f"{asked}its history begins at {first.written_at.isoformat()}, and what is older was never there or "
                "has expired. `affstore log` lists the snapshots."
            )
        return found

    def _check_layout(self) -> int:
        with translate_errors(self.url, "Opening"):
            if is_unfinished(self.repository):
                raise StoreError(f"'{self.url}' is a copy that was not finished. Run `affstore copy` again.")
            found = read_attributes(self.session, [""]).get("", {}).get("affstore")
        layout = found.get("layout") if isinstance(found, dict) else None
        if not isinstance(layout, int) and self.snapshot != self.repository.lookup_branch(BRANCH):
            raise NotFoundError(
                f"In snapshot {self.snapshot}, with which the history of '{self.url}' begins, the store was not made "
                "yet: there is no state to read. Name a later one; `affstore log` lists them."
            )
        if not isinstance(layout, int):
            raise StoreError(f"'{self.url}' is an icechunk repository, but not an affstore. Choose another place.")
        if layout > layout_version():
            raise NewerSchemaError(
                f"The store at '{self.url}' has layout {layout}; this affstore knows up to {layout_version()}. "
                "Update affstore."
            )
        return layout

    def _to_commit(self, drafts: Sequence[Draft], tip: str) -> list[Draft]:
        """The drafts that are still news: not what another run has stored with the same keys meanwhile."""
        full = (draft for draft in drafts if draft.records or draft.removed)
        return [draft for draft in full if draft.base == tip or not self._overtaken(draft, tip)]

    def _overtaken(self, draft: Draft, tip: str) -> bool:
        """Whether another run stored the same artifacts first."""
        changed = changed_paths(self.repository, draft.base, tip)
        own = {record.address.path: record.key for record in draft.records}
        read = {parent.path: parent.key for record in draft.records for parent in record.parents}
        touched = {**read, **own, **{address.path: "" for address in draft.removed if address.path not in own}}
        contested = {path: key for path, key in touched.items() if path in changed}
        now = self.state(tip)
        for path, key in contested.items():
            found = now.find(address_of(path))
            if (found.key if found else "") != key:
                raise ConflictError(
                    f"Another run changed '{path}' while this one worked with it. Run the command again."
                )
        self._check_notes(draft, [record for record in draft.records if record.address.path in contested], now)
        done = own.keys() & contested.keys()
        if done and len(done) < len(own):
            raise ConflictError(f"Another run stored '{min(done)}' while this one computed it. Run the command again.")
        return bool(done)

    def _check_notes(self, draft: Draft, records: Sequence[Record], now: FeatureStore) -> None:
        """Refuse a draft that only notes something about an artifact, as another name, where another run noted else.

        Raises:
            ConflictError: it does.
        """
        before = self.state(draft.base)
        for record in records:
            old = before.find(record.address)
            only_notes = old is not None and (old.key, old.digest) == (record.key, record.digest)
            if only_notes and now.get(record.address).attributes != record.attributes:
                raise ConflictError(
                    f"Another run changed what is noted of '{record.address.path}' meanwhile. Run the command again."
                )


def _at_snapshot(url: str, at: str | None, snapshot: str) -> FeatureStore:
    """A store as a process had it that handed it on, whatever was committed meanwhile."""
    store = FeatureStore(url, at)
    if store.snapshot == snapshot:
        return store
    held = store.state(snapshot)
    held.at, held.branch = at, store.branch
    return held


def _groups_above(paths: Iterable[str]) -> list[str]:
    """The groups above some artifacts, from the top down."""
    return sorted({str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."})


def read_whole(
    record: Record,
    arrays: Mapping[str, zarr.Array[Any]],
    read: Callable[[zarr.Array[Any]], NDArray[Any]] = read_rows,
) -> dict[str, NDArray[Any]]:
    """Read all arrays of an artifact and compare them with its record.

    Args:
        record: the artifact's.
        arrays: by their names as stored.
        read: how one is read.

    Raises:
        SchemaError: what is there breaks `schema.yaml`.
        StoreError: what is there is damaged.
    """
    schema = family(record.address.family)
    found = {schema.name_of(name): read(arrays[name]) for name in sorted(arrays)}
    _check_whole(record, found)
    return found


def _check_whole(record: Record, found: Mapping[str, NDArray[Any]]) -> None:
    schema = family(record.address.family)
    schema.check(found, record.attributes)
    if not schema.has_digest(found, record.digest):
        raise damage(record.address, "the digest of its arrays is not the one that its record holds")


def _repository_at(url: str) -> icechunk.Repository:
    """Create a repository, or open the one that is there or that another process is creating now."""
    deadline = time.monotonic() + _CREATION_S
    while True:
        try:
            if exists(url):
                return open_repository(url)
            return icechunk.Repository.create(storage_of(url), settings())
        except icechunk.IcechunkError as error:
            # Half of a repository is there: its creator is at work, or this is no place for one.
            half = isinstance(error, _HALF_CREATED) or "clean prefixes" in str(error)
            if is_local(url) or not half or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
