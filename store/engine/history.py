"""A store's commits: when each was made, by which run, and which artifacts it added, replaced or removed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import icechunk

from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.chain import LinkState, content_of, folded_links, link_state
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.listing import artifacts_among, node_id
from affstore.store.engine.places import translate_errors
from affstore.store.engine.states import tips


@dataclass(frozen=True, slots=True)
class Commit:
    """One snapshot and how it came about.

    Attributes:
        snapshot: its id.
        parent: id of the snapshot before it; None for the first that the history still has.
        written_at: when it was committed.
        message: of the commit, e.g. `extract: 3`.
        run_id: the run that committed; empty where no run did.
    """

    snapshot: str
    parent: str | None
    written_at: datetime.datetime
    message: str
    run_id: str

    @property
    def time(self) -> str:
        """When it was committed, ISO 8601 UTC to the second, as records write it."""
        return self.written_at.astimezone(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class ChangedArtifacts:
    """Addresses that differ between two snapshots, each tuple in order."""

    added: tuple[Address, ...] = field(default=())
    replaced: tuple[Address, ...] = field(default=())
    removed: tuple[Address, ...] = field(default=())

    @property
    def written(self) -> tuple[Address, ...]:
        """What the later snapshot has anew."""
        return tuple(sorted((*self.added, *self.replaced)))


def commits(store: FeatureStore) -> Iterator[Commit]:
    """Every commit from the snapshot that a store reads back to the first that its history has."""
    with translate_errors(store.url, "Reading"):
        for info in store.history():
            run_id = str(info.metadata.get("run_id", ""))
            yield Commit(info.id, info.parent_id, info.written_at, info.message, run_id)


def changes_by(store: FeatureStore, commit: Commit) -> ChangedArtifacts:
    """What one commit changed; nothing for the first that the history has."""
    return ChangedArtifacts() if commit.parent is None else changed_between(store, commit.parent, commit.snapshot)


def changed_between(store: FeatureStore, before: str, after: str) -> ChangedArtifacts:
    """The artifacts that differ between two snapshots, the earlier one named first.

    An artifact that was written again with the same numbers counts as replaced.
    """
    with translate_errors(store.url, "Reading"):
        difference = store.repository.diff(from_snapshot_id=before, to_snapshot_id=after)
    new, deleted = (set(_artifacts(paths)) for paths in (difference.new_groups, difference.deleted_groups))
    replaced = new & deleted | set(_artifacts(difference.updated_groups))
    return ChangedArtifacts(tuple(sorted(new - replaced)), tuple(sorted(replaced)), tuple(sorted(deleted - replaced)))


def may_differ(one: FeatureStore, other: FeatureStore) -> set[Address]:
    """The addresses at which two states of a store may differ; all that are in either where their histories do not say.

    Where one is an earlier state of the other, what was not written since need not be looked at.
    """
    if (one.url, one.snapshot) == (other.url, other.snapshot):
        return set()
    for before, after in ((one, other), (other, one)):
        if before.url == after.url and before.snapshot in {info.id for info in after.history()}:
            changed = changed_between(after, before.snapshot, after.snapshot)
            return {*changed.written, *changed.removed}
    return {*one.addresses(), *other.addresses()}


@dataclass(frozen=True, slots=True)
class CheckedCommit:
    """One commit, read again.

    Attributes:
        snapshot: its id.
        state: how it stands in the chain; None where it could not be read.
        versions: of the artifacts that it wrote: the engine's id of each, and where it is.
        error: why it could not be read.
    """

    snapshot: str
    state: LinkState | None
    versions: Mapping[str, Address] = field(default_factory=dict)
    error: StoreError | None = None


def check_history(store: FeatureStore) -> Iterator[CheckedCommit]:
    """Read every commit that readers, tags and open generations have, and compute the chain's digests again.

    What readers see comes first, and of each history the newest.
    """
    repository = store.repository
    with translate_errors(store.url, "Reading"):
        kept = tips(repository)
        histories = [list(repository.ancestry(snapshot_id=tip)) for tip in kept]
        paths = _paths_by_id(repository, kept[0])
    folded = folded_links(info for history in histories for info in history)
    pairs: dict[str, tuple[icechunk.SnapshotInfo, icechunk.SnapshotInfo | None]] = {}
    for history in histories:
        pairs |= {info.id: (info, parent) for info, parent in zip(history, [*history[1:], None], strict=True)}
    for info, parent in pairs.values():
        try:
            with translate_errors(store.url, "Reading"):
                checked = _checked(repository, (info, parent), folded, paths)
        except StoreError as error:
            yield CheckedCommit(info.id, None, error=error)
        else:
            yield checked


def _paths_by_id(repository: icechunk.Repository, snapshot: str) -> dict[str, str]:
    """The paths of a snapshot's groups; none where its list cannot be read, which is found out elsewhere."""
    try:
        nodes = repository.inspect_snapshot(snapshot)["nodes"]
    except icechunk.IcechunkError:
        return {}
    return {node["id"]: node["path"] for node in nodes if node["node_type"] == "group"}


def _checked(
    repository: icechunk.Repository,
    commit: tuple[icechunk.SnapshotInfo, icechunk.SnapshotInfo | None],
    folded: frozenset[str],
    paths: Mapping[str, str],
) -> CheckedCommit:
    info, parent = commit
    if parent is None:
        written_by = repository.inspect_snapshot(info.id)["header"]["spec_version"]
        if not written_by.startswith("1"):  # the engine's first format began without a log
            repository.inspect_transaction_log(info.id)
        return CheckedCommit(info.id, "whole")
    session, content = repository.readonly_session(snapshot_id=info.id), content_of(repository, info, parent, paths)
    versions = {node_id(session, path): address_of(path) for path in sorted(content.written)}
    return CheckedCommit(info.id, link_state(session, info, parent, content, folded), versions)


def commit_of(store: FeatureStore, record: Record) -> Commit | None:
    """The commit that brought an artifact as it is in the snapshot that a store reads; None if the history lost it."""
    known = [commit for commit in commits(store) if commit.parent is not None]
    # The run that wrote the record committed it, soon after: usually the first one looked at is the one.
    likely = [one for one in reversed(known) if one.run_id == record.run_id and one.time >= record.made_at]
    with translate_errors(store.url, "Reading"):
        own = node_id(store.session, record.address.path)
        for commit in dict.fromkeys((*likely, *known)):
            # The log names what was written by ids; unlike a diff, it needs no list of the snapshot's nodes.
            log = store.repository.inspect_transaction_log(commit.snapshot)
            if own in log["new_groups"] or own in log["updated_groups"]:
                return commit
    return None


def _artifacts(paths: set[str]) -> Iterator[Address]:
    return map(address_of, artifacts_among(paths))


def source_versions(store: FeatureStore) -> Iterator[Record]:
    """The record of every video as each commit of the history wrote it; what newer commits replaced is among them.

    A commit's log has the numbers of nodes only, but is read in 1 ms; where all are known to be others, that is enough.
    """
    with translate_errors(store.url, "Reading"):
        nodes = store.repository.inspect_snapshot(store.snapshot)["nodes"]
    others = {node["id"] for node in nodes if not node["path"].startswith("/source/")}
    for commit in (one for one in commits(store) if one.parent is not None):
        with translate_errors(store.url, "Reading"):
            log = store.repository.inspect_transaction_log(commit.snapshot)
        if others.issuperset((*log["new_groups"], *log["updated_groups"])):
            continue
        written = [address for address in changes_by(store, commit).written if address.family == "source"]
        yield from store.state(commit.snapshot).find_all(written) if written else ()
