"""The states of a store: what its branches are called, and which snapshot a tag, generation, id or time names."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import icechunk

from affstore.store.contract.errors import NewerSchemaError, NotFoundError, StoreError
from affstore.store.contract.moments import moment_of
from affstore.store.contract.names import is_snapshot
from affstore.store.contract.printable import excerpt
from affstore.store.contract.schema import layout_version
from affstore.store.engine.listing import read_attributes
from affstore.store.engine.places import translate_errors

BRANCH = "main"
"""The branch whose newest snapshot is what readers see."""
UNFINISHED = "unfinished-copy"
"""The branch on which a copy is written; it is there as long as the copy is no store yet."""
BEFORE = "before"
"""Metadata of the commit by which a generation is promoted: the snapshot that readers saw until then."""
IDENTITY = "affstore_identity"
"""Metadata of the repository; see `FeatureStore.identity`."""
_GENERATION = "generation-"
_DROPPED = "affstore_dropped"
"""Metadata of the repository: the snapshots of generations that were let go."""


def is_unfinished(repository: icechunk.Repository) -> bool:
    """Whether a repository is a copy of a store that is still being written, or was killed meanwhile."""
    return UNFINISHED in repository.list_branches()


def branch_of(generation: str) -> str:
    """The branch that a generation is written on; readers' own without one."""
    return f"{_GENERATION}{generation}" if generation else BRANCH


def generation_on(branch: str) -> str | None:
    """The name of the generation that is written on a branch; None of the readers' own."""
    return branch.removeprefix(_GENERATION) if branch.startswith(_GENERATION) else None


def open_generations(repository: icechunk.Repository) -> list[str]:
    """The names of the generations that are neither promoted nor dropped, sorted."""
    return sorted(name for branch in repository.list_branches() if (name := generation_on(branch)) is not None)


def branch_named(repository: icechunk.Repository, at: str | None) -> str:
    """The branch that a state is written on: that of a generation by its name, else the readers' own."""
    if at is None or at in repository.list_tags():
        return BRANCH
    return branch_of(at) if branch_of(at) in repository.list_branches() else BRANCH


def find_snapshot(url: str, repository: icechunk.Repository, at: str | None, branch: str) -> str:
    """The snapshot of a tag, of the end of a branch, by its id, or that readers saw at a time.

    Args:
        url: of the store.
        repository: the store's.
        at: a tag, a generation, an id or a time; None for the newest.
        branch: what `branch_named` says.

    Raises:
        NotFoundError: there is none; the message says why.
    """
    found = _snapshot_named(repository, at, branch)
    if found is not None:
        return found
    name = str(at)
    check_not_retracted(url, repository, name)
    asked = f"The store at '{url}' has no tag, generation, snapshot or time '{excerpt(name)[1:-1]}': "
    if moment_of(name) is None and not is_snapshot(name):
        raise NotFoundError(
            f"{asked}a snapshot is named by its whole id, and a time is written as 2026-11-27T18:30 (ISO 8601, in "
            "UTC). `affstore log` lists snapshots, times and tags."
        )
    # The engine's own first snapshot is older, and no state of the store yet.
    seen = list(seen_by_readers(repository))
    first = next((info for info in reversed(seen) if info.parent_id), seen[-1])
    raise NotFoundError(
        f"{asked}its history begins at {first.written_at.isoformat()}, and what is older was never there or has "
        "expired. `affstore log` lists the snapshots."
    )


def check_layout(url: str, repository: icechunk.Repository, session: icechunk.Session) -> int:
    """See that this affstore can read a snapshot; gives the version of its tree of groups.

    Raises:
        NewerSchemaError: a newer affstore wrote it.
        NotFoundError: the store was not made yet then.
        StoreError: the repository is no store, or a copy that was not finished.
    """
    with translate_errors(url, "Opening"):
        if is_unfinished(repository):
            raise StoreError(f"'{url}' is a copy that was not finished. Run `affstore copy` again.")
        found = read_attributes(session, [""]).get("", {}).get("affstore")
    layout = found.get("layout") if isinstance(found, dict) else None
    if not isinstance(layout, int) and session.snapshot_id != repository.lookup_branch(BRANCH):
        raise NotFoundError(
            f"In snapshot {session.snapshot_id}, with which the history of '{url}' begins, the store was not made yet: "
            "there is no state to read. Name a later one; `affstore log` lists them."
        )
    if not isinstance(layout, int):
        raise StoreError(f"'{url}' is an icechunk repository, but not an affstore. Choose another place.")
    if layout > layout_version():
        raise NewerSchemaError(
            f"The store at '{url}' has layout {layout}; this affstore knows up to {layout_version()}. Update affstore."
        )
    return layout


def _snapshot_named(repository: icechunk.Repository, at: str | None, branch: str) -> str | None:
    if at is not None and at in repository.list_tags():
        return repository.lookup_tag(at)
    if at is None or at == generation_on(branch):
        return repository.lookup_branch(branch)
    if moment := moment_of(at):
        return _seen_at(repository, moment)
    newest = repository.lookup_branch(branch)
    is_known = at in _known_snapshots(repository, newest) or at in _known_snapshots(repository, *tips(repository))
    return at if is_known else None


def tips(repository: icechunk.Repository) -> list[str]:
    """The snapshots that the engine keeps, with all before them: what readers see, open generations', tags'."""
    branches = [BRANCH, *map(branch_of, open_generations(repository))]
    tags = sorted(repository.list_tags())
    found = [*map(repository.lookup_branch, branches), *map(repository.lookup_tag, tags)]
    return list(dict.fromkeys(found))


def _known_snapshots(repository: icechunk.Repository, *ends: str) -> set[str]:
    """The ids of some snapshots and of all before them."""
    found: set[str] = set()
    for tip in ends:
        for info in repository.ancestry(snapshot_id=tip):
            if info.id in found:
                break
            found.add(info.id)
    return found


def forebears(repository: icechunk.Repository, snapshot: str) -> set[str]:
    """The ids of a snapshot and of all that came before it, also of what readers saw before a promotion."""
    found: set[str] = set()
    todo = [snapshot]
    while todo:
        with suppress(icechunk.IcechunkError):  # that older history may be let go
            for info in repository.ancestry(snapshot_id=todo.pop()):
                if info.id in found:
                    break
                found.add(info.id)
                todo += [info.metadata[BEFORE]] if BEFORE in info.metadata else []
    return found


def where_parted(repository: icechunk.Repository, generation: str) -> icechunk.SnapshotInfo:
    """The newest snapshot of a generation that readers see, or saw before a promotion, too."""
    shared = forebears(repository, repository.lookup_branch(BRANCH))
    history = repository.ancestry(branch=branch_of(generation))
    return next(info for info in history if info.id in shared)


def generation_of(repository: icechunk.Repository, snapshot: str) -> str | None:
    """The open generation that has a snapshot which readers do not see, nor saw before a promotion; None of others."""
    if snapshot in forebears(repository, repository.lookup_branch(BRANCH)):
        return None
    tips_of = {name: repository.lookup_branch(branch_of(name)) for name in open_generations(repository)}
    return next((name for name, tip in tips_of.items() if snapshot in _known_snapshots(repository, tip)), None)


def dropped_snapshots(repository: icechunk.Repository) -> set[str]:
    """The snapshots that only generations had which were let go; some may be there still."""
    return set(metadata_of(repository).get(_DROPPED, ()))


def note_dropped(repository: icechunk.Repository, generation: str) -> set[str]:
    """Write down that the snapshots of a generation are let go; gives those that were not noted before."""
    shared = forebears(repository, repository.lookup_branch(BRANCH))
    own = {info.id for info in repository.ancestry(branch=branch_of(generation))} - shared
    before = dropped_snapshots(repository)
    repository.update_metadata({_DROPPED: sorted(before | own)})
    return own - before


def note_kept(repository: icechunk.Repository, snapshots: Collection[str]) -> None:
    """Take back that some snapshots are let go."""
    repository.update_metadata({_DROPPED: sorted(dropped_snapshots(repository).difference(snapshots))})


def metadata_of(repository: icechunk.Repository) -> dict[str, Any]:
    """What a repository says of itself today, beside its history; formats before icechunk 2 say nothing."""
    repository = repository.reopen()
    return {} if repository.spec_version < icechunk.SpecVersion.current() else repository.get_metadata()


def check_not_retracted(url: str, repository: icechunk.Repository, tag: str) -> None:
    """See that a tag is not one that was withdrawn.

    Raises:
        NotFoundError: it named a publication of a video that was forgotten.
    """
    with translate_errors(url, "Reading"):
        retracted = metadata_of(repository).get("affstore", {}).get("retracted", ())
    for one in retracted:
        if one["tag"] == tag:
            raise NotFoundError(
                f"The publication '{tag}' of the store at '{url}' was retracted on {one['date']}: it contained a video "
                "that was forgotten on request. Publish again without it."
            )


def _seen_at(repository: icechunk.Repository, moment: datetime.datetime) -> str | None:
    # The engine's first snapshot is no feature store yet.
    seen = seen_by_readers(repository)
    return next((info.id for info in seen if info.written_at <= moment and info.parent_id), None)


def seen_by_readers(repository: icechunk.Repository) -> Iterator[icechunk.SnapshotInfo]:
    """The snapshots that were the newest state of the store one after the other, the last one first.

    What was committed to a generation came to readers by its last commit alone.
    """
    follow: str | None = repository.lookup_branch(BRANCH)
    while follow is not None:
        begin, follow = follow, None
        with suppress(icechunk.IcechunkError):  # that older history may be let go
            for info in repository.ancestry(snapshot_id=begin):
                yield info
                if BEFORE in info.metadata:
                    follow = str(info.metadata[BEFORE])
                    break
