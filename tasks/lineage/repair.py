"""Bring back what `verify` finds broken, and only that: objects by noted digests, artifacts by computing them again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from affstore import FeatureStore
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, StoreError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import family
from affstore.store.engine.accounting import altered_objects, restore_object
from affstore.store.engine.history import check_history
from affstore.store.engine.mending import turn_bits_back, write_chunks_again
from affstore.tasks.lineage.graph import LineageGraph
from affstore.tasks.lineage.reproduce import recomputed
from affstore.tasks.lineage.verify import check_artifact
from affstore.tasks.specs import WorkerContext, code_versions

RepairState = Literal["repaired", "would be repaired", "would be computed again", "not repaired"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of something that is broken.

    Attributes:
        what: an object's key, or an artifact's path; with the snapshot that wrote it where the newest state has
            another version of it, or none.
        state: what became of it.
        reason: how; or why not, and what to do.
    """

    what: str
    state: RepairState
    reason: str


def repair(url: str, weights: WeightsFolder, dry_run: bool = False) -> Iterator[Repair]:
    """Repair a store: its newest state, those that tags name, and all other commits that its history has.

    Args:
        url: of the store.
        weights: where the networks' parameters are.
        dry_run: only say what would be done.

    Where objects that are altered could not be restored, so that the store cannot be opened, that is all.

    Raises:
        StoreError: the store cannot be opened, and all its objects are as they were noted.
    """
    altered = altered_objects(url)
    for key, digest in altered.items():
        yield _object(url, key, digest, dry_run)
    try:
        newest = FeatureStore(url)
        states = list(_states(newest))
    except StoreError:
        if altered:
            return  # what is wrong was said
        raise
    for then, written in states:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            checked = threads.map(lambda address, at=then: check_artifact(at, address), written)
            broken = [one.record for one in checked if one.finding and one.record is not None]
        yield from _of_state(then, broken, written, weights, dry_run)


def _states(newest: FeatureStore) -> Iterator[tuple[FeatureStore, dict[Address, bool]]]:
    """Every commit of the history that can be read, the first one first, and what it wrote; then what none of them did.

    In this order what an artifact was computed from is repaired before it. Of each version of an artifact it is said
    whether the newest state has it.
    """
    tags = {snapshot: tag for tag, snapshot in newest.tags().items()}
    rest = dict.fromkeys(newest.addresses(), True)
    for commit in reversed(list(check_history(newest))):
        written = {address: newest.holds(address, id) for id, address in commit.versions.items()}
        with suppress(StoreError):  # its list is damaged; `verify` names it
            yield newest.state(tags.get(commit.snapshot, commit.snapshot)), written
            rest = {address: True for address in rest if not written.get(address)}
    yield newest, rest


def _of_state(
    then: FeatureStore,
    broken: Sequence[Record],
    in_newest: Mapping[Address, bool],
    weights: WeightsFolder,
    dry_run: bool,
) -> Iterator[Repair]:
    """Repair what a commit wrote."""
    graph = LineageGraph(_records(then)) if broken else LineageGraph(())
    depth = {record.address: len(graph.upstream([record])) for record in broken}
    for record in sorted(broken, key=lambda record: (depth[record.address], record.address)):
        current = in_newest[record.address]
        what = record.address.path if current else f"{record.address.path} of snapshot {then.snapshot}"
        turned = False
        with suppress(StoreError):  # what leads to its chunks cannot be read
            turned = turn_bits_back(then, record, dry_run)
        if turned:
            state: RepairState = "would be repaired" if dry_run else "repaired"
            yield Repair(what, state, "One bit of a chunk was turned; its checksum says which.")
        elif dry_run:
            yield Repair(what, "would be computed again", "From what its record names.")
        else:
            state, reason = _computed_again(then, graph, record, weights, current)
            yield Repair(what, state, reason)


def _object(url: str, key: str, digest: str, dry_run: bool) -> Repair:
    if restore_object(url, key, digest, dry_run):
        state: RepairState = "would be repaired" if dry_run else "repaired"
        return Repair(key, state, "One bit of it was turned; its noted digest says which.")
    return Repair(
        key,
        "not repaired",
        "More than a bit of it is gone. Restore it from a copy of the store; artifacts whose records can be read are "
        "computed again.",
    )


def _records(store: FeatureStore) -> list[Record]:
    """The records that can be read."""
    found = []
    for address in store.addresses():
        try:
            found.append(store.get(address))
        except StoreError:
            continue
    return found


def _computed_again(
    then: FeatureStore, graph: LineageGraph, record: Record, weights: WeightsFolder, in_newest: bool
) -> tuple[RepairState, str]:
    """Compute an artifact again and write its chunks where they were, or else into the newest state if it has it."""
    schema = family(record.address.family)
    if key_of(record.recipe) != record.key:
        return "not repaired", f"Somebody wrote its record by other means. {_INSTEAD}"
    try:
        context = WorkerContext("", "repair", weights.root, str(record.made.get("device", "cpu")))
        arrays = recomputed(FeatureStore(then.url, then.at or then.snapshot), graph, record, context)
        if not schema.has_digest(arrays, record.digest):
            return "not repaired", f"Computed again it has other numbers. {_INSTEAD}"
        with suppress(StoreError):  # what leads to its chunks cannot be read
            if write_chunks_again(then, record, arrays):
                return "repaired", "Computed again, to the same digest."
        if not in_newest:
            return "not repaired", f"Computed again it has the same digest, but does not fit in its place. {_INSTEAD}"
        newest = then.newest()
        draft = newest.draft(code_versions(), "repair")
        draft.copy(record, arrays, schema.version)
        newest.commit([draft], "repaired: 1")
    except AffstoreError as error:
        return "not repaired", str(error)
    return "repaired", "Computed again, to the same digest; earlier snapshots keep what is broken."


_INSTEAD = "Restore the store from a copy; or let `affstore copy --without VIDEO` make one that lacks its video."
