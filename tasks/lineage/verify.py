"""Whether a store holds what was written into it: digests of records, arrays, sources and weights computed again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from affstore import FeatureStore
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, WeightsError, WeightsMissingError
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Address, Record
from affstore.store.engine.chain import LinkState
from affstore.store.engine.history import CheckedCommit, check_history
from affstore.tasks.lineage.graph import Leaf, LineageGraph, leaves_of

Fault = Literal["altered", "missing", "orphaned", "unexplained"]
"""What can be wrong: bytes are not those that were written; a file is not there; an artifact was computed from one that
is not there; an artifact names nothing that it was computed from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        fault: what kind of fault.
        what: an artifact's path, `snapshot ID`, or a file.
        reason: a sentence.
    """

    fault: Fault
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what was found.

    Attributes:
        snapshot: of the store.
        artifacts: how many were read whole.
        array_bytes: of their arrays, unpacked.
        snapshots: how many commits of the history were read.
        files: how many sources, annotations and weights were digested again.
        unproven: how many of the commits no chain proves, by the reason.
        findings: what is wrong, in order.
    """

    snapshot: str
    artifacts: int
    array_bytes: int
    snapshots: int
    files: int
    unproven: Mapping[str, int]
    findings: tuple[Finding, ...]

    def as_document(self) -> dict[str, Any]:
        """The verification as plain values, for other programs."""
        return asdict(self)


def verify(store: FeatureStore, weights: WeightsFolder | None = None, deep: bool = False) -> Verification:
    """Compute every digest of a store again and follow every link between its artifacts.

    Args:
        store: an open store. Every artifact of its snapshot is read whole; of its history it is seen that every commit
            can be read. The engine keeps no checksum of its lists, so that a turned bit in one may pass if no name,
            attribute or array is another by it.
        weights: the folder whose parameters are digested again with `deep`.
        deep: whether videos, annotation files and weights are read again where they are at hand.
    """
    addresses = store.addresses()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        checked = list(threads.map(lambda address: _check(store, address), addresses))
    records = [one.record for one in checked if one.record is not None]
    findings = [finding for one in checked for finding in one.findings]
    findings += _links(LineageGraph(records), {address.path for address in addresses})
    history = list(check_history(store))
    findings += [finding for commit in history if (finding := _of_commit(commit)) is not None]
    files = list(_files(records, weights)) if deep else []
    findings += [finding for finding in files if finding is not None]
    return Verification(
        store.snapshot,
        len(addresses),
        sum(one.array_bytes for one in checked),
        len(history),
        len(files),
        {reason: count for state, reason in _UNPROVEN.items() if (count := _count(history, state))},
        tuple(findings),
    )


_UNPROVEN: Mapping[LinkState, str] = {
    "unchained": "made before commits were chained",
    "folded": "the first after older history was let go on purpose",
}
_BROKEN_LINKS: Mapping[LinkState, tuple[Fault, str]] = {
    "altered": (
        "altered",
        "Its link of the chain of commits is not the digest of what it holds and of the link before.",
    ),
    "shortened": ("missing", "What was committed before it is gone, and nobody said that it would be let go."),
}


def _count(history: list[CheckedCommit], state: LinkState) -> int:
    return sum(commit.state == state for commit in history)


def _of_commit(commit: CheckedCommit) -> Finding | None:
    what = f"snapshot {commit.snapshot}"
    if commit.error is not None:
        return _unreadable(what, commit.error)
    broken = _BROKEN_LINKS.get(commit.state) if commit.state else None
    return Finding(broken[0], what, broken[1]) if broken else None


@dataclass(frozen=True, slots=True)
class _Checked:
    record: Record | None
    array_bytes: int
    findings: tuple[Finding, ...]


def _check(store: FeatureStore, address: Address) -> _Checked:
    """One artifact read whole: its record against its checksum, its key, and its arrays against their digest."""
    record = None
    try:
        record = store.get(address)
        arrays = store.read(address)
    except AffstoreError as error:
        return _Checked(record, 0, (_unreadable(address.path, error),))
    size = sum(array.nbytes for array in arrays.values())
    if key_of(record.recipe) != record.key:
        reason = f"The key of '{address}' is not the digest of its recipe; somebody wrote its record by other means."
        return _Checked(record, size, (Finding("altered", address.path, reason),))
    return _Checked(record, size, ())


def _unreadable(what: str, error: AffstoreError) -> Finding:
    """The finding of what the engine cannot read; what follows `context:` in its words names its own functions."""
    reason = str(error).partition(" context:")[0]
    return Finding("missing" if "object not found" in reason else "altered", what, reason)


def _links(graph: LineageGraph, there: set[str]) -> Iterator[Finding]:
    for record in graph.records.values():
        path = record.address.path
        missing = [parent.path for parent in record.parents if parent.path not in there]
        if missing:
            more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            yield Finding("orphaned", path, f"'{missing[0]}'{more}, which it was computed from, is not there any more.")
        if not record.parents and not leaves_of(record):
            yield Finding("unexplained", path, "Its record names nothing that it was computed from.")


def _files(records: list[Record], weights: WeightsFolder | None) -> Iterator[Finding | None]:
    """The files that the store's numbers came from, each digested once; None for one that is as it was."""
    in_use = (record for record in records if record.address.family != "quarantine")
    leaves = dict.fromkeys(leaf for record in in_use for leaf in leaves_of(record))
    known: set[str] = set()
    for leaf in leaves:
        if leaf.kind in ("video", "annotation"):
            yield _source(leaf)
        elif leaf.kind == "weights" and weights is not None and leaf.digest not in known:
            known.add(leaf.digest)
            try:
                weights.load(leaf.digest)
            except WeightsMissingError:
                continue  # no reader of the store needs them
            except WeightsError as error:
                yield Finding("altered", f"weights {leaf.name}", str(error))
            else:
                yield None


def _source(leaf: Leaf) -> Finding | None:
    path = Path(leaf.name)
    try:
        digest = digest_file(path)
    except OSError as error:
        return Finding("missing", leaf.name, f"The {leaf.kind} '{leaf.name}' cannot be read: {error.strerror}.")
    if digest == leaf.digest:
        return None
    return Finding("altered", leaf.name, f"The {leaf.kind} '{leaf.name}' has other bytes than when it was added.")
