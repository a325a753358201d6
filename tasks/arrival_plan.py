"""What of a configuration's videos and annotation files the store does not have yet."""

from __future__ import annotations

from collections.abc import Iterable

from affstore import FeatureStore
from affstore.models.annotations import FoundAnnotation
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Address
from affstore.tasks import recipes
from affstore.tasks.arrivals import Arrival
from affstore.tasks.crop_plan import GivenCrops
from affstore.tasks.plan_rows import PlanRow


def arrival_rows(
    store: FeatureStore, arriving: Iterable[Arrival], annotations: Iterable[FoundAnnotation]
) -> list[PlanRow]:
    """Rows for videos and annotation files that a run would take in."""
    rows = []
    for arrival in arriving:
        if arrival.verdict in ("new", "alias", "moved"):
            rows.append(PlanRow(Address("source", video=arrival.name), "missing", f"to take in: {arrival.path}"))
        elif arrival.verdict in ("refused", "taken"):
            reason = arrival.reason or "its name is taken by other bytes"
            rows.append(PlanRow(Address("source", video=arrival.name), "quarantined", reason))
    for found in annotations:
        source = store.find(Address("source", video=found.video))
        address = Address("label", found.task, found.video, found.subject)
        held = store.find(address)
        key = source and key_of(recipes.label(found.task, found.split, digest_file(found.path), source.key))
        if source is not None and (held is None or held.key != key) and not _unusable(store, found):
            rows.append(PlanRow(address, "missing" if held is None else "stale", f"to read: {found.path}"))
    return rows


def stranger_rows(given: GivenCrops, arriving: Iterable[Arrival]) -> list[PlanRow]:
    """Rows for crop folders of videos that the store does not have: some arrive in the same run."""
    names = {arrival.name for arrival in arriving if arrival.verdict in ("new", "alias", "moved")}
    rows = []
    for folder, reason in given.strangers:
        comes = folder.video in names
        address = Address("face", folder.kind, folder.video, folder.subject)
        rows.append(PlanRow(address, "missing", f"to read: {folder.path}" if comes else reason, asked=comes))
    return rows


def _unusable(store: FeatureStore, found: FoundAnnotation) -> bool:
    """Whether an annotation file is in quarantine."""
    sha256 = digest_file(found.path)
    return store.find(Address("quarantine", "annotate", key_of([found.path.name, sha256])[:16])) is not None
