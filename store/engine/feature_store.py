"""The feature store: one small class over an icechunk repository."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from shlex import quote
from typing import Any, cast

import icechunk
import zarr
from numpy.typing import NDArray

from affstore.store.contract.errors import (
    NotFoundError,
    SpecError,
    StoreError,
    UnknownNameError,
)
from affstore.store.contract.names import tag_fault
from affstore.store.contract.printable import excerpt
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of, families, family
from affstore.store.engine.chain import Content
from affstore.store.engine.chunk_places import ChunkPlaces, chunk_places
from affstore.store.engine.committing import commit_drafts
from affstore.store.engine.creating import create_repository
from affstore.store.engine.draft import Draft
from affstore.store.engine.ledger import note_update
from affstore.store.engine.listing import Known, Listing, node_id, order
from affstore.store.engine.places import (
    check_no_file,
    check_there,
    committer_lock,
    exists,
    is_local,
    local_folder,
    open_repository,
    translate_errors,
)
from affstore.store.engine.ranges import ArrayFiles, check_whole, read_rows
from affstore.store.engine.states import (
    IDENTITY,
    branch_named,
    check_layout,
    check_not_retracted,
    find_snapshot,
    generation_on,
    metadata_of,
    open_generations,
)


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
            self.repository, self._known, self.at = open_repository(url), Known(), at
            self.branch = branch_named(self.repository, at)
            self.snapshot = find_snapshot(url, self.repository, at, self.branch)
        self.layout = check_layout(url, self.repository, self.session)

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
        create_repository(os.fspath(url))
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
            other.snapshot = find_snapshot(self.url, self.repository, at, other.branch)
        if other.snapshot == self.snapshot:
            shared = {"session": self.session, "_root": self._root, "_listing": self._listing, "layout": self.layout}
            vars(other).update(shared)
        else:
            other.layout = check_layout(self.url, self.repository, other.session)
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
            # Of all, which is one question to the engine, or of some; before any is read.
            opened = dict(self.group(address).arrays()) if arrays is None else {}
            opened |= {stored: self.array(address, stored) for stored in present.values() if stored not in opened}
            for name, stored in sorted(present.items()):
                array = opened[stored]
                found[name] = read_rows(array, rows, ArrayFiles.of(self.chunk_places, array))
        if rows == slice(None) and arrays is None:
            check_whole(record, found)
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

    def array(self, address: Address, name: str) -> zarr.Array[Any]:
        """One array of an artifact, as plain Zarr; nothing of it is read yet.

        Raises:
            NotFoundError: nothing is there, or it has no such array.
        """
        self.get(address)
        with translate_errors(self.url, "Reading"):
            there = self._listing.children(address.path)
            if name not in there:
                raise NotFoundError(f"'{address}' has no array '{name}'; it has {there}.")
            return cast(zarr.Array[Any], self._root[f"{address.path}/{name}"])

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
            content = Content(message, dict(metadata or {}))
            snapshot = commit_drafts(self.url, self.repository, self.branch, drafts, content)
        for draft in drafts:
            draft.mark.release()
        return snapshot

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
            return metadata_of(self.repository)

    def check_not_retracted(self, tag: str) -> None:
        """See that a tag is not one that was withdrawn; whoever does not find one asks this before saying so.

        Raises:
            NotFoundError: it named a publication of a video that was forgotten.
        """
        check_not_retracted(self.url, self.repository, tag)

    @cached_property
    def identity(self) -> str:
        """What a store is called wherever it lies, however its place is spelled, and in every copy of it.

        A store that was made before stores had one is called as the first commit that its history has.
        """
        known = self.repository_metadata().get(IDENTITY)
        return str(known) if known else next(info.id for info in reversed(self.history()) if info.parent_id)

    @cached_property
    def session(self) -> icechunk.Session:
        """The engine's read-only session, for plain `zarr` and `xarray`."""
        return self.repository.readonly_session(snapshot_id=self.snapshot)

    @property
    def chunk_places(self) -> ChunkPlaces | None:
        """Where the chunks of this state lie; None unless the store is a folder."""
        return chunk_places(local_folder(self.url), self.snapshot) if is_local(self.url) else None

    @cached_property
    def _root(self) -> zarr.Group:
        return zarr.open_group(self.session.store, mode="r")

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self.repository, self.session, self._known, self.url)


def _at_snapshot(url: str, at: str | None, snapshot: str) -> FeatureStore:
    """A store as a process had it that handed it on, whatever was committed meanwhile."""
    store = FeatureStore(url, at)
    if store.snapshot == snapshot:
        return store
    held = store.state(snapshot)
    held.at, held.branch = at, store.branch
    return held
