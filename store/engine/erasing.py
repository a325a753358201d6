"""Take artifacts out of a store for good: out of its newest state, its tags and its history, and off the disk."""

from __future__ import annotations

import datetime
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import icechunk
import zarr

from affstore.store.contract.errors import ConflictError
from affstore.store.contract.records import Address
from affstore.store.engine.accounting import decoded
from affstore.store.engine.chain import Content, folding
from affstore.store.engine.committing import commit_session, session_at, until_first
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.ledger import FOLDER as LEDGER
from affstore.store.engine.ledger import STATE, note_update
from affstore.store.engine.objects import Objects, objects_of
from affstore.store.engine.places import committer_lock, is_local, local_folder, translate_errors
from affstore.store.engine.states import open_generations, tips, where_parted

_SKEW = datetime.timedelta(days=1)
"""How far ahead the clock of a server may be."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """What no snapshot needs.

    Attributes:
        snapshots: how many snapshots of the history are let go.
        objects: chunks, lists and snapshots that are removed.
        bytes: of them.
    """

    snapshots: int
    objects: int
    bytes: int


def collect_garbage(
    store: FeatureStore, younger_than: datetime.timedelta, history: datetime.timedelta | None = None
) -> Garbage:
    """Remove the objects that no snapshot of the history, of the tags and of open generations needs.

    Args:
        store: the newest state.
        younger_than: objects of no more than this age stay.
        history: snapshots older than this that neither a tag names nor a history ends with are let go first.
    """
    now = datetime.datetime.now(datetime.UTC)
    folded = fold(store, now - history) if history is not None else 0
    with translate_errors(store.url, "Collecting the garbage of"):
        return _collect(store, now - younger_than, folded)


def plan_garbage(
    store: FeatureStore, younger_than: datetime.timedelta, history: datetime.timedelta | None = None
) -> Garbage:
    """What `collect_garbage` would remove; nothing is changed.

    Where history is let go, it is tried on a copy of the lists, in which a chunk is as long and as old as in the store,
    and holds nothing. Of a bucket's objects no age is known there: those that are too young are counted as well.
    """
    now = datetime.datetime.now(datetime.UTC)
    with translate_errors(store.url, "Reading"):
        planned = _Fold.of(store, now - history) if history is not None else None
        if planned is None or not planned.gone:
            found = store.repository.garbage_collect(now - younger_than, dry_run=True)
            return Garbage(0, _objects(found), found.bytes_deleted)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "store"
        with translate_errors(store.url, "Reading"):
            _copy_without_content(store.url, trial)
        young = younger_than if is_local(store.url) else -_SKEW
        return collect_garbage(FeatureStore(str(trial)), young, history)


def fold(store: FeatureStore, older_than: datetime.datetime) -> int:
    """Let go of older snapshots that nothing names, and say so in the history; gives how many they were."""
    with translate_errors(store.url, "Reading"):
        planned = _Fold.of(store, older_than)
    if planned.gone:
        _announce(store, planned.kept)
        with translate_errors(store.url, "Letting go of the history of"), committer_lock(store.url):
            repository = store.repository.reopen()
            repository.expire_snapshots(planned.older_than)
            note_update(store.url, repository)
    return len(planned.gone)


def _announce(store: FeatureStore, kept: Sequence[str]) -> None:
    """Commit that what is older than some snapshots is let go on purpose; see `_Fold.kept`."""
    content = Content("older history is let go", folding(store.repository, kept))

    def committed() -> str:
        session = store.repository.writable_session(store.branch)
        return commit_session(store.url, store.repository, session, content)

    with translate_errors(store.url, "Committing to"), committer_lock(store.url):
        until_first(store.url, committed)


@dataclass(frozen=True, slots=True)
class _Fold:
    """A part of the history that is let go.

    Attributes:
        older_than: what is older, and nothing names, goes; the newest snapshot never does, nor what came since an open
            generation began.
        gone: those snapshots.
        kept: the first snapshot that stays of what readers, each tag and each generation have.
    """

    older_than: datetime.datetime
    gone: frozenset[str]
    kept: tuple[str, ...]

    @classmethod
    def of(cls, store: FeatureStore, older_than: datetime.datetime) -> _Fold:
        """What goes of a store's history, and what stays."""
        repository = store.repository
        began = [where_parted(repository, name).written_at for name in open_generations(repository)]
        cut = min(older_than, store.history()[0].written_at, *began)
        named = tips(repository)
        histories = [list(repository.ancestry(snapshot_id=tip)) for tip in named]
        old = {info.id for history in histories for info in history if info.written_at < cut and info.parent_id}
        first = {next((info.id for info in reversed(one) if info.written_at >= cut), one[0].id) for one in histories}
        return cls(cut, frozenset(old.difference(named)), tuple(sorted(first)))


def erase(store: FeatureStore, addresses: Collection[Address], tags: Iterable[str]) -> Garbage:
    """Take artifacts out of the newest state, remove tags, let go of the history before, and remove every object of it.

    Whoever is killed can call it again. Nobody else may write meanwhile.

    Raises:
        ConflictError: another run committed since the state was opened; nothing was changed.
    """
    with translate_errors(store.url, "Writing to"):
        try:
            tip = _without(store, addresses)
        except icechunk.ConflictError as error:
            raise ConflictError(
                f"Another run committed to the store at '{store.url}' meanwhile, and may have computed more that has "
                "to go. Run the command again."
            ) from error
        repository = store.repository.reopen()
        for tag in {*tags} & repository.list_tags():
            with committer_lock(store.url):
                repository.delete_tag(tag)
                note_update(store.url, repository)
        newest = store.newest()
        folded = fold(newest, repository.lookup_snapshot(tip).written_at)
        return _collect(store, datetime.datetime.now(datetime.UTC) + _SKEW, folded)


def _collect(store: FeatureStore, older_than: datetime.datetime, folded: int) -> Garbage:
    with committer_lock(store.url):  # a tag that is set meanwhile would be lost with the list of all that it rewrites
        repository = store.repository.reopen()
        found = repository.garbage_collect(older_than)
        note_update(store.url, repository)
    logs = _remove_logs(store.url, repository) if is_local(store.url) else []
    return Garbage(folded, _objects(found) + len(logs), found.bytes_deleted + sum(logs))


def _remove_logs(url: str, repository: icechunk.Repository) -> list[int]:
    """Remove the logs of commits that the history has no more, which the engine leaves; gives how large they were.

    In a local store only, where nobody else writes: a commit's log is there before the commit is in the history.
    """
    objects, known = objects_of(url), {one["id"] for one in repository.inspect_repo_info()["snapshots"]}
    removed = []
    for key, size in objects.sizes().items() if objects else ():
        if objects and key.startswith("transactions/") and key.removeprefix("transactions/") not in known:
            objects.delete(key)
            removed.append(size)
    return removed


def _without(store: FeatureStore, addresses: Collection[Address]) -> str:
    """Commit the newest state without artifacts, and without the groups above them that nothing is below any more."""
    with committer_lock(store.url):
        repository = store.repository.reopen()
        session = session_at(repository, store.branch, store.snapshot)
        if not addresses:
            return store.snapshot
        root = zarr.open_group(session.store, mode="a")
        kept = {above for one in store.addresses() if one not in addresses for above in _above(one)}
        gone = {str(path) for one in addresses for path in (*_above(one), PurePosixPath(one.path)) if path not in kept}
        for path in sorted(gone):
            if not any(str(above) in gone for above in PurePosixPath(path).parents):
                del root[path]
        removed = frozenset(address.path for address in addresses)
        content = Content(f"forget: {len(addresses)}", removed=removed)
        return commit_session(store.url, repository, session, content)


def _above(address: Address) -> list[PurePosixPath]:
    """The groups above an artifact that not every store has."""
    return [path for path in PurePosixPath(address.path).parents if len(path.parts) > 1]


def find_in_objects(url: str, in_lists: re.Pattern[bytes], in_chunks: re.Pattern[bytes]) -> Iterator[str]:
    """The names of a store's objects in which something is found, as they are stored or in what they unpack to.

    Args:
        url: of the store.
        in_lists: what is looked for in snapshots and all else that has names.
        in_chunks: what is looked for in numbers.
    """
    objects = objects_of(url)
    for key in sorted(objects.sizes()) if objects else ():
        stored = objects.read(key) if objects else b""
        unpacked = decoded(stored)
        wanted = in_chunks if key.startswith("chunks/") else in_lists
        # Packed lists have any three bytes by chance, as numbers have.
        is_packed = unpacked and not stored.endswith(unpacked)
        if wanted.search(unpacked) or (in_chunks if is_packed else wanted).search(stored):
            yield key


def _copy_without_content(url: str, folder: Path) -> None:
    """Copy a repository, its chunks as empty files of their length; of a local one with the time of each object.

    What names the newest snapshots is copied first: all that it needs is there, whatever others write meanwhile.
    """
    objects = objects_of(url)
    if objects is None:
        return
    for names_others in (True, False):
        for key, size in objects.sizes().items():
            changes = key == STATE or key.startswith("refs/")  # the latter in stores of older formats
            if changes == names_others and not key.startswith((LEDGER, "overwritten/")):
                with suppress(FileNotFoundError):  # it was written under another name meanwhile
                    _copy_object(url, objects, key, size, folder / key)


def _copy_object(url: str, objects: Objects, key: str, size: int, copy: Path) -> None:
    then = (local_folder(url) / key).stat() if is_local(url) else None
    content = b"" if key.startswith("chunks/") else objects.read(key)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    if key.startswith("chunks/"):
        os.truncate(copy, size)
    if then:
        os.utime(copy, ns=(then.st_atime_ns, then.st_mtime_ns))


def _objects(found: icechunk.GCSummary) -> int:
    deleted = (found.chunks_deleted, found.manifests_deleted, found.snapshots_deleted, found.transaction_logs_deleted)
    return sum(deleted)
