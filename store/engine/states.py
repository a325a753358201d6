"""The states of a store: what its branches are called, and which snapshot a tag, generation, id or time names."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import suppress

import icechunk

from affstore.store.contract.moments import moment_of

BRANCH = "main"
"""The branch whose newest snapshot is what readers see."""
UNFINISHED = "unfinished-copy"
"""The branch on which a copy is written; it is there as long as the copy is no store yet."""
BEFORE = "before"
"""Metadata of the commit by which a generation is promoted: the snapshot that readers saw until then."""
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


def snapshot_named(repository: icechunk.Repository, at: str | None, branch: str) -> str | None:
    """The snapshot of a tag, of the end of a branch, by its id, or that readers saw at a time; None if there is none.

    Args:
        repository: the store's.
        at: a tag, a generation, an id or a time; None for the newest.
        branch: what `branch_named` says.
    """
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


def dropped_snapshots(repository: icechunk.Repository) -> set[str]:
    """The snapshots that only generations had which were let go; some may be there still."""
    if repository.spec_version < icechunk.SpecVersion.current():
        return set()
    return set(repository.get_metadata().get(_DROPPED, ()))


def note_dropped(repository: icechunk.Repository, generation: str) -> None:
    """Write down that the snapshots of a generation are let go."""
    shared = forebears(repository, repository.lookup_branch(BRANCH))
    own = {info.id for info in repository.ancestry(branch=branch_of(generation))} - shared
    repository.update_metadata({_DROPPED: sorted(dropped_snapshots(repository) | own)})


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
