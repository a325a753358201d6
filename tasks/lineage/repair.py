"""Bring back what `verify` finds broken, and only that: objects by noted digests, artifacts by computing them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from affstore import FeatureStore
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, StoreError
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.engine.accounting import altered_objects, restore_object
from affstore.tasks.lineage.graph import LineageGraph
from affstore.tasks.lineage.reproduce import recomputed
from affstore.tasks.lineage.verify import check_artifact
from affstore.tasks.specs import WorkerContext, code_versions

RepairState = Literal["repaired", "would be computed again", "not repaired"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of something that is broken.

    Attributes:
        what: an object's key, or an artifact's path.
        state: what became of it.
        reason: how; or why not, and what to do.
    """

    what: str
    state: RepairState
    reason: str


def repair(url: str, weights: WeightsFolder, dry_run: bool = False) -> Iterator[Repair]:
    """Repair the newest state of a store.

    Args:
        url: of the store.
        weights: where the networks' parameters are.
        dry_run: only say what would be done.

    Raises:
        StoreError: the store cannot be opened, also after its objects were restored.
    """
    for key, digest in altered_objects(url).items():
        yield _object(url, key, digest, dry_run)
    try:
        store = FeatureStore(url)
        records = _records(store)
        broken = [record for record in records if check_artifact(store, record.address).findings]
    except StoreError:
        if dry_run:
            return  # it can be opened once its objects are restored
        raise
    graph = LineageGraph(records)
    depth = {record.address.path: len(graph.upstream([record])) for record in broken}
    for record in sorted(broken, key=lambda record: (depth[record.address.path], record.address)):
        if dry_run:
            yield Repair(record.address.path, "would be computed again", "From what its record names.")
        else:  # records stay as they are, so the graph does; the arrays of parents may just have been repaired
            yield _artifact(store.newest(), graph, record, weights)


def _object(url: str, key: str, digest: str, dry_run: bool) -> Repair:
    if restore_object(url, key, digest, dry_run):
        return Repair(key, "repaired", "One bit of it was turned; its noted digest says which.")
    return Repair(
        key,
        "not repaired",
        "More than a bit of it is gone. Artifacts of the newest state are computed again; copy what is left to a new "
        "store, or restore it from a copy.",
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


def _artifact(store: FeatureStore, graph: LineageGraph, record: Record, weights: WeightsFolder) -> Repair:
    path, schema = record.address.path, family(record.address.family)
    try:
        context = WorkerContext("", "repair", weights.root, str(record.made.get("device", "cpu")))
        arrays = recomputed(store, graph, record, context)
        if not schema.has_digest(arrays, record.digest):
            return Repair(path, "not repaired", "Computed again it has other numbers. Add it anew, or read a copy.")
        draft = store.draft(code_versions(), "repair")
        draft.copy(record, arrays, schema.version)
        store.commit([draft], "repaired: 1")
    except AffstoreError as error:
        return Repair(path, "not repaired", str(error))
    return Repair(path, "repaired", "Computed again, to the same digest; earlier snapshots keep what is broken.")
