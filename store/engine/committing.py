"""How drafts become a commit: others may commit at the same time, or have changed what a draft was made from."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from uuid import uuid4

import icechunk
import zarr

from affstore.store.contract.errors import ConflictError
from affstore.store.contract.records import Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.chain import Content, commit_linked
from affstore.store.engine.draft import Draft
from affstore.store.engine.group_writing import add_groups
from affstore.store.engine.ledger import note_update
from affstore.store.engine.listing import Listing, node_id
from affstore.store.engine.places import open_repository, translate_errors
from affstore.store.engine.states import check_layout

_MOST_RACES = 20
_LONGEST_WAIT_S = 2.0
"""Between two tries to commit first, so that several who try do not meet again and again."""


def until_first[Result](url: str, step: Callable[[], Result]) -> Result:
    """Take a step that ends with a commit; if others commit first, begin it again from what they left.

    Where no lock keeps other committers out, what was read before a commit may not hold any more when it is made. So a
    step reads the newest state itself, and nothing is moved on top of a commit that it has not seen.

    Args:
        url: of the store.
        step: reads the newest state, and commits by `commit_session`.

    Raises:
        ConflictError: others were first each time.
    """
    for number in range(_MOST_RACES):
        with suppress(icechunk.ConflictError):
            return step()
        time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, 0.02 * 2**number)))
    raise ConflictError(
        f"Nothing was committed to the store at '{url}': others commit there all the time, and were first "
        f"{_MOST_RACES} times. Run the command again."
    )


def session_at(repository: icechunk.Repository, branch: str, snapshot: str) -> icechunk.Session:
    """A session to write on top of a snapshot that is still the newest of its branch.

    Raises:
        icechunk.ConflictError: another run committed meanwhile.
    """
    session = repository.writable_session(branch)
    if session.snapshot_id != snapshot:
        raise icechunk.ConflictError(snapshot, session.snapshot_id)
    return session


def commit_session(url: str, repository: icechunk.Repository, session: icechunk.Session, content: Content) -> str:
    """Commit a session, with its link of the chain, on top of the snapshot that it is of.

    An error is looked into: the answer may be lost, and the commit there.

    Raises:
        icechunk.ConflictError: another run committed meanwhile; see `until_first`.
    """
    own = uuid4().hex
    content = replace(content, metadata={**content.metadata, "commit": own})
    branch, base = session.branch, session.snapshot_id  # once it has committed, it does not say so any more
    try:
        return commit_linked(url, repository, session, content)
    except (icechunk.IcechunkError, OSError) as error:
        committed = _committed_as(url, branch, base, own)
        if not committed:
            gone = isinstance(error, icechunk.SnapshotNotFoundError)
            if gone and (tip := open_repository(url).lookup_branch(str(branch))) != base:  # with the older history
                raise icechunk.ConflictError(base, tip) from error
            raise
    note_update(url, repository, committed)
    return committed


def _committed_as(url: str, branch: str | None, base: str, own: str) -> str:
    """The snapshot of a commit by the mark in its metadata, among those after `base`; empty if there is none."""
    with suppress(icechunk.IcechunkError, OSError):
        for info in open_repository(url).ancestry(branch=branch):
            if info.metadata.get("commit") == own:
                return info.id
            if info.id == base:
                break
    return ""


def commit_drafts(
    url: str, repository: icechunk.Repository, branch: str, drafts: Sequence[Draft], content: Content
) -> str:
    """Commit drafts on top of the newest snapshot of a branch; gives the snapshot that has what they hold.

    Where no lock keeps other committers out, one may have made the same groups meanwhile, or changed what a draft was
    made from: all of it is looked at again then.

    Args:
        url: of the store.
        repository: the store's.
        branch: that is committed to.
        drafts: to commit.
        content: the message and metadata of the commit.

    Raises:
        ConflictError: another run changed an address of a draft since the draft was begun; nothing was committed.
    """
    return until_first(url, lambda: _commit_merged(url, repository, branch, drafts, content))


def _commit_merged(
    url: str, repository: icechunk.Repository, branch: str, drafts: Sequence[Draft], content: Content
) -> str:
    session = repository.writable_session(branch)
    tip: str = session.snapshot_id
    full = (draft for draft in drafts if draft.fork is not None and (draft.records or draft.removed))  # not released
    # Those that are still news: not what another run has stored with the same keys meanwhile.
    news = [draft for draft in full if draft.base == tip or not _is_overtaken(url, repository, draft, session)]
    if not news:
        return tip
    root = zarr.open_group(session.store, mode="a")
    written = frozenset(record.address.path for draft in news for record in draft.records)
    taken_away = {address.path for draft in news for address in draft.removed} - written
    removed = frozenset(path for path in taken_away if path in root)
    session.merge(*(draft.fork for draft in news))
    add_groups(session.store, _groups_above(written))
    return commit_session(url, repository, session, replace(content, written=written, removed=removed))


def _is_overtaken(url: str, repository: icechunk.Repository, draft: Draft, session: icechunk.Session) -> bool:
    """Whether another run stored the same artifacts first, by what a draft found and what is there now.

    Its base is not asked: older history may be let go while a run works.
    """
    own = {record.address.path: record for record in draft.records}
    touched = {parent.path: parent.key for record in draft.records for parent in record.parents}
    touched |= {address.path: "" for address in draft.removed} | {path: record.key for path, record in own.items()}
    contested = [path for path in touched if node_id(session, path) != draft.found.get(path)]
    now = _records(url, repository, session.snapshot_id, contested)
    for path in contested:
        if (now[path].key if path in now else "") != touched[path]:
            raise ConflictError(f"Another run changed '{path}' while this one worked with it. Run the command again.")
    done = [path for path in own if path in contested]
    for path in done:
        # A draft may only note something about an artifact, as another name.
        if path in draft.noted and now[path].attributes != own[path].attributes:
            raise ConflictError(f"Another run changed what is noted of '{path}' meanwhile. Run the command again.")
    if done and len(done) < len(own):
        raise ConflictError(f"Another run stored '{min(done)}' while this one computed it. Run the command again.")
    return bool(done)


def _records(url: str, repository: icechunk.Repository, snapshot: str, paths: Sequence[str]) -> dict[str, Record]:
    """The records at some paths of a snapshot, by those where something is."""
    session = repository.readonly_session(snapshot_id=snapshot)
    check_layout(url, repository, session)
    with translate_errors(url, "Reading"):
        found = Listing(repository, session).records(map(address_of, paths))
    return {record.address.path: record for record in found}


def _groups_above(paths: Iterable[str]) -> list[str]:
    """The groups above some artifacts, from the top down."""
    return sorted({str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."})
