"""Write a store anew at another place: its newest state and its tags, with artifacts left out or all of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import icechunk
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from affstore.store.contract.errors import AffstoreError, SpecError, StoreError
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import families
from affstore.store.engine.catalogue import content_digest_of
from affstore.store.engine.chain import Content, commit_linked
from affstore.store.engine.committing import commit_session, session_at, until_first
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.ledger import note_update
from affstore.store.engine.listing import DOCUMENT, Listing, array_names
from affstore.store.engine.objects import wipe
from affstore.store.engine.places import (
    check_outside,
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
from affstore.store.engine.ranges import read_whole
from affstore.store.engine.sizes import array_bytes
from affstore.store.engine.states import BRANCH, UNFINISHED, generation_of, generation_on, is_unfinished
from affstore.store.engine.tombstones import Tombstones
from affstore.store.engine.writers import marked_as_writing

_AT_ONCE = 8
"""Documents and chunks of an artifact that are under way at once."""


@dataclass(frozen=True, slots=True)
class State:
    """A state of a store that is copied.

    Attributes:
        store: the store, opened at it.
        tags: that name it in the copy.
        records: what of it is copied.
    """

    store: FeatureStore
    tags: tuple[str, ...]
    records: tuple[Record, ...]

    @property
    def content_digest(self) -> str:
        """Of what is copied."""
        return content_digest_of(self.records)


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy consists of.

    Attributes:
        states: in the order of history; the newest state is the last one.
        artifacts: how many are written; one that is the same in several states counts once.
        array_bytes: of their arrays, unpacked.
        tombstones: what the copy remembers of what was forgotten.
        snapshot: of the copy's newest state; empty as long as nothing was written.
    """

    states: tuple[State, ...]
    artifacts: int
    array_bytes: int
    tombstones: Tombstones
    snapshot: str = ""


def plan_copy(
    store: FeatureStore,
    left_out: Mapping[str, Collection[Address]] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Copy:
    """What a copy of a store would hold; nothing is written.

    Args:
        store: the newest state of the store.
        left_out: by snapshot, the addresses that the copy shall not hold.
        tags: those that the copy shall have, each with how it is called there; all of them by default.
    """
    known = store.tags()
    named: dict[str, list[str]] = {store.snapshot: []}
    for tag, name in (tags if tags is not None else dict(zip(known, known, strict=True))).items():
        named.setdefault(known[tag], []).append(name)
    with translate_errors(store.url, "Reading"):
        written = {snapshot: store.repository.lookup_snapshot(snapshot).written_at for snapshot in named}
    order = sorted(named, key=lambda snapshot: (snapshot == store.snapshot, written[snapshot]))
    opened = {snapshot: store.state(tag) for tag, snapshot in known.items()} | {store.snapshot: store}
    without = left_out or {}
    states = tuple(_state(opened[snapshot], named[snapshot], without.get(snapshot, ())) for snapshot in order)
    artifacts, size = 0, 0
    for state, before in zip(states, (None, *states), strict=False):
        sizes = array_bytes(state.store)
        new = [sizes.get(record.address, 0) for record in _new_records(state, before)]
        artifacts, size = artifacts + len(new), size + sum(new)
    return Copy(states, artifacts, size, Tombstones.of(store))


def _state(store: FeatureStore, tags: Sequence[str], without: Collection[Address]) -> State:
    return State(store, tuple(tags), tuple(record for record in store.records() if record.address not in without))


def _new_records(state: State, before: State | None) -> Iterator[Record]:
    """The records of a state that the one before does not have as they are."""
    known = {record.address: record for record in before.records} if before else {}
    same_layout = before is None or before.store.layout == state.store.layout
    for record in state.records:
        if known.get(record.address) != record or not same_layout:
            yield record


def copy_store(plan: Copy, url: str) -> Copy:
    """Carry out a copy, one artifact at a time, and prove it.

    Every artifact is read back whole from where it was written, and the content digests of all states are compared. The
    copy is a store only once all of it is there: after a kill, it is begun anew at the same place.

    Args:
        plan: what to copy.
        url: an empty place, or that of a copy that was not finished.

    Raises:
        SpecError: the place is not empty, or within the original.
        StoreError: an artifact of the original is damaged, by its name; the place holds no store.
    """
    check_empty(url, plan.states[-1].store.url)
    check_writable(url)
    with translate_errors(url, "Copying to"), committer_lock(url):
        check_empty(url, plan.states[-1].store.url)  # another copy may have been finished while this one waited
        if exists(url):
            wipe(url)
        repository = icechunk.Repository.create(storage_of(url), settings())
        first = repository.lookup_branch(BRANCH)
        repository.create_branch(UNFINISHED, first)
        note_update(url, repository)
        try:
            snapshots = _write_states(url, repository, plan.states)
            for state, snapshot in zip(plan.states, snapshots, strict=True):
                for tag in state.tags:
                    repository.create_tag(tag, snapshot_id=snapshot)
                    note_update(url, repository)
            forgotten = plan.tombstones.as_metadata() if plan.tombstones.dates else {}
            repository.set_metadata(plan.states[-1].store.repository_metadata() | forgotten)
            note_update(url, repository)
        except (AffstoreError, icechunk.IcechunkError, OSError):
            wipe(url)
            raise
        # From here on it is a store.
        repository.reset_branch(BRANCH, snapshots[-1], from_snapshot_id=first)
        note_update(url, repository)
        repository.delete_branch(UNFINISHED)
        note_update(url, repository)
    return replace(plan, snapshot=snapshots[-1])


def check_was_seen(state: FeatureStore) -> None:
    """See that a state can be gone back to: what only an open generation has, readers have not seen yet.

    Raises:
        SpecError: an open generation is named, or a state of one.
    """
    with translate_errors(state.url, "Reading"):
        generation = generation_on(state.branch) or generation_of(state.repository, state.snapshot)
    if generation is not None:
        named = f"'{state.at}' is" if state.at == generation else f"'{state.at}' is a state of '{generation}',"
        raise SpecError(
            f"{named} an open generation, which readers have not seen. `affstore generation promote {generation}` lets "
            f"them see it, `affstore generation drop {generation}` lets go of it."
        )


def roll_back(store: FeatureStore, to: FeatureStore) -> str:
    """Commit a state of the history again, on top of all that came since; gives the new snapshot.

    Where others commit meanwhile, it is done again on top of what they left.

    Args:
        store: the newest state.
        to: the same store, opened at the state that it shall have again; see `check_was_seen`.

    Raises:
        ConflictError: others commit all the time; nothing was changed.
        NotFoundError: that state was let go meanwhile, as when a video of it was forgotten.
        StoreError: an artifact of that state is damaged, by its name; nothing was changed.
    """

    def committed() -> str:
        newest = store.newest()
        before, wanted = (State(one, (), tuple(one.records())) for one in (newest, newest.state(to.snapshot)))
        session = session_at(newest.repository, newest.branch, newest.snapshot)
        content = write_state(session, wanted, before)
        content = replace(content, message=f"rollback: {len(content.written) + len(content.removed)}")
        return commit_session(newest.url, newest.repository, session, content)

    with translate_errors(store.url, "Committing to"), marked_as_writing(store.url), committer_lock(store.url):
        return until_first(store.url, committed)


def check_empty(url: str, original: str) -> None:
    """See that a place can be copied to.

    Raises:
        SpecError: there is something else than a copy that was not finished, or it is within the original.
    """
    if is_local(url):
        check_outside(original, local_folder(url))
    with translate_errors(url, "Opening"):
        if is_local(url) and not local_folder(url).exists():
            return
        if is_local(url) and not local_folder(url).is_dir():
            raise SpecError(f"A store cannot be copied to '{url}': that is a file. Name another place.")
        if exists(url):
            if not is_unfinished(open_repository(url)):
                raise SpecError(f"A store cannot be copied to '{url}': there is one already. Name another place.")
        elif is_local(url) and any(not path.is_dir() for path in local_folder(url).rglob("*")):
            raise SpecError(f"A store cannot be copied to '{url}': the folder is not empty. Name another place.")


def _write_states(url: str, repository: icechunk.Repository, states: Sequence[State]) -> list[str]:
    """Write states, each as a commit after the one before it; gives their snapshots."""
    snapshots = []
    for state, before in zip(states, (None, *states), strict=False):
        session = repository.writable_session(UNFINISHED)
        content = write_state(session, state, before, states)
        snapshots.append(commit_linked(url, repository, session, content))
        listing = Listing(repository, repository.readonly_session(snapshot_id=snapshots[-1]))
        if content_digest_of(listing.records(listing.addresses)) != state.content_digest:
            raise StoreError(
                f"The copy of snapshot {state.store.snapshot} does not hold what the original does, so it was dropped. "
                "Copy it again; if it happens again, tell the developers."
            )
    return snapshots


def write_state(session: icechunk.Session, state: State, before: State | None, spare: Sequence[State] = ()) -> Content:
    """Bring a session from the state before to the next one; gives what the commit will be about.

    An artifact that is damaged is taken from a spare state that has the same record, as a repair leaves it.
    """
    source, target = state.store.session.store, session.store
    there, wanted = _groups(before.records) if before else set(), _groups(state.records)
    new = list(_new_records(state, before))
    gone = (there - wanted) | (there & {record.address.path for record in new})
    for path in sorted(gone):
        if not any(str(above) in gone for above in PurePosixPath(path).parents):
            sync(target.delete_dir(path))
    sync(_copy_keys(source, target, [DOCUMENT]))
    root = zarr.open_group(target, mode="a")
    for name in families():
        root.require_group(name)
    above = wanted - there - {record.address.path for record in state.records}
    sync(_copy_keys(source, target, [f"{path}/{DOCUMENT}" for path in sorted(above)]))
    names = array_names(state.store.repository, state.store.snapshot)
    for record in new:
        try:
            _copy_artifact(source, target, record, names.get(record.address.path, ()))
        except (StoreError, icechunk.IcechunkError):
            if not any(_copy_from(other, target, record) for other in spare if other is not state):
                raise
    written = frozenset(record.address.path for record in new)
    removed = {record.address.path for record in before.records} - wanted if before else set[str]()
    about = {"state_of": state.store.snapshot}
    return Content(f"copy: {len(written)}", about, written, frozenset(removed))


def _groups(records: Iterable[Record]) -> set[str]:
    """The paths of artifacts, and of the groups above them that not every store has."""
    paths = {record.address.path for record in records}
    return paths | {str(above) for path in paths for above in PurePosixPath(path).parents if len(above.parts) > 1}


def _copy_artifact(source: Store, target: Store, record: Record, names: Sequence[str]) -> None:
    """Copy an artifact, documents first, for the engine takes no chunk of an unknown array; and read the copy."""
    path = record.address.path
    sync(_copy_keys(source, target, [f"{path}/{DOCUMENT}", *(f"{path}/{name}/{DOCUMENT}" for name in names)]))
    arrays = {name: zarr.open_array(target, path=f"{path}/{name}", mode="r") for name in names}
    sync(_copy_at_once(source, target, (key for array in arrays.values() for key in chunk_keys(array))))
    read_whole(record, arrays)


def _copy_from(state: State, target: Store, record: Record) -> bool:
    """Copy an artifact from another state; whether that has it, by the same record, and whole."""
    if state.store.find(record.address) != record:
        return False
    names = array_names(state.store.repository, state.store.snapshot)[record.address.path]
    try:
        sync(target.delete_dir(record.address.path))
        _copy_artifact(state.store.session.store, target, record, names)
    except (StoreError, icechunk.IcechunkError):
        return False
    return True


async def _copy_at_once(source: Store, target: Store, keys: Iterable[str]) -> None:
    free = asyncio.Semaphore(_AT_ONCE)

    async def copy(key: str) -> None:
        async with free:
            await _copy_keys(source, target, [key])

    await asyncio.gather(*(copy(key) for key in keys))


def chunk_keys(array: zarr.Array[Any]) -> Iterator[str]:
    """The keys of all chunks that an array can have; the engine would list those that it has by looking at all keys."""
    counts = (-(-length // rows) for length, rows in zip(array.shape, array.shards or array.chunks, strict=True))
    for place in itertools.product(*map(range, counts)):
        yield f"{array.path}/{array.metadata.encode_chunk_key(place)}"


async def _copy_keys(source: Store, target: Store, keys: Iterable[str]) -> None:
    for key in keys:
        found = await source.get(key, default_buffer_prototype())
        if found is not None:
            await target.set(key, found)
