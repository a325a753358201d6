"""What is fresh, missing, stale and why: always asked of the store's records, never of a cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from affstore import FeatureStore
from affstore.store.contract.records import Parent, Record
from affstore.tasks import recipes
from affstore.tasks.ingest.crop_assignment import CropAssignment
from affstore.tasks.plan_rows import PlanRow, StoredRecords, compared, sound_rows, subject_rows
from affstore.tasks.planning.crops import crop_rows
from affstore.tasks.planning.prices import priced
from affstore.tasks.specs import Profile

_ORDER = ("source", "face", "visual", "audio", "label", "head", "prediction", "result", "quarantine")


def plan(
    records: Sequence[Record], profile: Profile, given: CropAssignment | None = None, device: str = "cpu"
) -> list[PlanRow]:
    """What each artifact of a store is, for what the profile wants of every video.

    An artifact is stale when its recipe is not the one wanted now, or when something it was computed from is stale,
    missing or was replaced by other numbers. What the profile does not name is only asked about its parents.

    Args:
        records: of the store.
        profile: what is wanted of every video.
        given: crop folders that the run brings; those that the store knows and are not given are taken as unchanged.
        device: that networks will run on, for what each row will cost.
    """
    stored = StoredRecords(records)
    rows: dict[str, PlanRow] = {}
    for source in records:
        if source.address.family == "source":
            rows |= {row.address.path: row for row in _video_rows(source, stored, profile, given or CropAssignment())}
    for record in sorted(records, key=lambda record: (_ORDER.index(record.address.family), record.address)):
        if record.address.path not in rows:
            rows[record.address.path] = _by_parents(record, rows, stored)
    return priced(rows.values(), records, profile, device)


def bytes_of(store: FeatureStore, records: Iterable[Record], rows: Iterable[PlanRow], profile: Profile) -> int | None:
    """How many bytes due rows will hold, unpacked, by one artifact of each producer; None where nothing is known.

    Args:
        store: whose records these are.
        records: of the store.
        rows: of a plan.
        profile: in which type each network's embeddings will be stored.
    """
    number_bytes = {spec.name: np.dtype(spec.stored).itemsize for spec in profile.extractors}
    examples = {
        (one.address.family, one.address.producer): one for one in records if int(one.attributes.get("frames", 0)) > 0
    }
    per_frame: dict[tuple[str, str], float] = {}
    total = 0.0
    for row in rows:
        producer = row.address.family, row.address.producer
        if row.due and row.requested and row.frames and producer in examples:
            if producer not in per_frame:
                example = examples[producer]
                size = sum(
                    array.size * number_bytes.get(row.address.producer, array.dtype.itemsize)
                    if name == "embedding"
                    else array.nbytes
                    for name, array in store.group(example.address).arrays()
                )
                per_frame[producer] = size / int(example.attributes["frames"])
            total += per_frame[producer] * row.frames
    return round(total) if per_frame else None


def _video_rows(source: Record, stored: StoredRecords, profile: Profile, given: CropAssignment) -> list[PlanRow]:
    """The rows of one video: its source, its faces, and every extractor of the profile."""
    recipe = recipes.source(source.attributes["sha256"])
    rows = [compared(source.address, stored, recipe, source)]
    if profile.finds_faces:
        # One without a name while the detector has not looked yet.
        for subject in stored.subjects(profile.detector.name, source.address.video) or [""]:
            rows += subject_rows(source, subject, stored, profile)
    rows += crop_rows(source, stored, profile, given)
    rows += sound_rows(source, stored, profile)
    return rows


def _by_parents(record: Record, rows: dict[str, PlanRow], stored: StoredRecords) -> PlanRow:
    """The row of an artifact whose recipe nobody states here: it is as fresh as what it came from."""
    if record.address.family == "quarantine":
        return PlanRow(record.address, "quarantined", str(record.attributes["reason"]))
    frames = int(record.attributes.get("frames", 0))
    for parent in record.parents:
        reason = _parent_fault(parent, rows, stored)
        if reason:
            return PlanRow(record.address, "stale", f"its {parent.path} {reason}", frames, requested=False)
    return PlanRow(record.address, "fresh")


def _parent_fault(parent: Parent, rows: dict[str, PlanRow], stored: StoredRecords) -> str | None:
    """What happened to something an artifact was computed from, or None."""
    now, row = stored.by_path.get(parent.path), rows.get(parent.path)
    if now is None:
        return "is gone"
    if row is not None and row.due:
        return f"is {row.status}"
    return None if (now.key, now.digest) == (parent.key, parent.digest) else "was computed anew"
