"""The hash chain over a store's commits: the metadata of each hold a digest of its content and of the link before it.

The content is the commit's message and metadata, the record of every artifact that it wrote (and with it the digest of
the arrays), and the paths that it removed. So a commit that was altered, left out or put in later is found by computing
the digests again. Only digests are kept, because the engine never erases the metadata of a commit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import icechunk

from affstore.store.engine.ledger import note_update
from affstore.store.engine.listing import artifacts_among, read_attributes

_LINK = "chain"
_FOLDED = "folded"
"""Metadata of a commit: the links of the first commits that are kept, once what is older is let go."""

LinkState = Literal["whole", "unchained", "folded", "altered", "shortened"]
"""How a commit stands in the chain: as it was written; made before there was a chain; the first that is left of a
history whose older part was let go on purpose; it, or its place after the commit before it, is not what was written;
the first that is left, and no commit says that what was before it would be let go."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a commit is about.

    Attributes:
        message: its message.
        metadata: its metadata, but for the link.
        written: paths of the artifacts that it added or replaced.
        removed: paths of those that it removed.
    """

    message: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    written: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


def commit_linked(url: str, repository: icechunk.Repository, session: icechunk.Session, content: Content) -> str:
    """Commit a session on top of the snapshot that it is of, with its link of the chain, and note its objects.

    Raises:
        icechunk.ConflictError: the branch has a newer snapshot.
    """
    parent = repository.lookup_snapshot(session.snapshot_id)
    metadata = {**content.metadata, _LINK: _link(_end_of(parent), session, content)}
    committed = session.commit(content.message, metadata=metadata, allow_empty=True)
    note_update(url, repository, committed)
    return committed


def folding(repository: icechunk.Repository, kept: Sequence[str]) -> dict[str, Any]:
    """The metadata of a commit which says that what is older than some snapshots will be let go.

    Args:
        repository: the store's.
        kept: the first snapshot that stays of the branch, and of each tag that is older.
    """
    return {_FOLDED: sorted(_end_of(repository.lookup_snapshot(snapshot)) for snapshot in kept)}


def folded_links(history: Iterable[icechunk.SnapshotInfo]) -> frozenset[str]:
    """The links of the commits that a history says it will begin with."""
    return frozenset(link for info in history for link in info.metadata.get(_FOLDED, ()))


def content_of(
    repository: icechunk.Repository,
    info: icechunk.SnapshotInfo,
    parent: icechunk.SnapshotInfo,
    paths: Mapping[str, str],
) -> Content:
    """What a commit that is there is about; the first of a history is about all that it holds.

    Args:
        repository: the store's.
        info: the commit.
        parent: the commit before it.
        paths: of groups of the newest state, by the engine's ids. A commit of nothing but those is told by its log; for
            any other the engine has to compare all nodes of two snapshots.
    """
    log = repository.inspect_transaction_log(info.id)
    ids = {*log["new_groups"], *log["updated_groups"]}
    metadata = {name: value for name, value in info.metadata.items() if name not in (_LINK, "__icechunk")}
    if parent.parent_id is not None and not log["deleted_groups"] and ids <= paths.keys():
        return Content(info.message, metadata, frozenset(artifacts_among(paths[id] for id in ids)))
    difference = repository.diff(from_snapshot_id=parent.id, to_snapshot_id=info.id)
    written = artifacts_among(difference.new_groups | difference.updated_groups)
    removed = artifacts_among(difference.deleted_groups) - written
    return Content(info.message, metadata, frozenset(written), frozenset(removed))


def link_state(
    session: icechunk.Session,
    info: icechunk.SnapshotInfo,
    parent: icechunk.SnapshotInfo,
    content: Content,
    folded: frozenset[str],
) -> LinkState:
    """Compute the link of a commit again.

    Args:
        session: of its snapshot.
        info: the commit.
        parent: the commit before it.
        content: see `content_of`.
        folded: what `folded_links` gives of the whole history.

    Raises:
        icechunk.IcechunkError: what the commit holds cannot be read.
    """
    if parent.parent_id is None and _end_of(info) in folded:
        return "folded"  # all that the engine can still say is what the snapshot holds, not what its commit changed
    if _LINK not in info.metadata:
        return "altered" if _LINK in parent.metadata else "unchained"
    if info.metadata[_LINK] == _link(_end_of(parent), session, content):
        return "whole"
    return "shortened" if parent.parent_id is None else "altered"


def _end_of(info: Any) -> str:
    """What the link after a commit follows."""
    return str(info.metadata.get(_LINK, f"unchained {info.id}" if info.parent_id else "the beginning"))


def _link(before: str, session: icechunk.Session, content: Content) -> str:
    paths = ["", *sorted(content.written)]  # the root, whose attributes state the layout
    attributes = read_attributes(session, paths)
    records = [[path, _digest(attributes[path])] for path in paths]
    return _digest([before, content.message, content.metadata, records, sorted(content.removed)])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
