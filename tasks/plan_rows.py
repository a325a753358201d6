"""What a plan says of one artifact, and what the store holds to say it from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from affstore.models.extractor_specs import ExtractorSpec
from affstore.store.contract.keys import canonical, changes, key_of
from affstore.store.contract.names import MAIN, in_order, join_subject
from affstore.store.contract.records import Address, Record
from affstore.tasks import recipes
from affstore.tasks.specs import Profile

Freshness = Literal["fresh", "missing", "stale", "quarantined"]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What the plan says of one artifact.

    Attributes:
        address: where it is or will be; without a subject while the subjects are not known yet.
        status: fresh, missing, stale or quarantined.
        reason: why, one line.
        frames: rows to compute, 0 when fresh.
        cost_s: estimated seconds, from how long the same producer took on this store and device; None where that is not
            known.
        requested: whether this plan's run would compute it; the rest is only told about.
        device: that it will run on, `cpu` or `cuda`.
        other_cost_s: seconds that it would take on the other device, where only that is known.
    """

    address: Address
    status: Freshness
    reason: str = ""
    frames: int = 0
    cost_s: float | None = None
    requested: bool = True
    device: str = "cpu"
    other_cost_s: float | None = None

    @property
    def due(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("missing", "stale")


class StoredRecords:
    """The records of a store, by path, and each video's subjects.

    Attributes:
        by_path: the records.
        refused: why inputs are in quarantine, by the key of what was refused.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.refused = {r.key: str(r.attributes["reason"]) for r in records if r.address.family == "quarantine"}
        self.by_path: dict[str, Record] = {}
        self._subjects: dict[tuple[str, str], list[str]] = {}
        for record in records:
            address = record.address
            self.by_path[address.path] = record
            if address.family == "face":
                self._subjects.setdefault((address.producer, address.video), []).append(address.subject)

    def at(self, address: Address) -> Record | None:
        """The record at an address."""
        return self.by_path.get(address.path)

    def subjects(self, producer: str, video: str) -> list[str]:
        """The subjects whose faces a detector found, or a kind of crop folder shows."""
        return in_order(self._subjects.get((producer, video), []))


def compared(address: Address, stored: StoredRecords, recipe: Any, source: Record) -> PlanRow:
    """The row of an artifact, by comparing what is stored with what is wanted."""
    frames, record = int(source.attributes["frames"]), stored.at(address)
    if record is None:
        return PlanRow(address, "missing", "not computed yet", frames)
    if record.key == key_of(recipe):
        return PlanRow(address, "fresh")
    return PlanRow(address, "stale", "; ".join(changes(record.recipe, recipe)), frames)


def feature_row(
    address: Address, stored: StoredRecords, spec: ExtractorSpec, parent_key: str, source: Record
) -> PlanRow:
    """The row of an embedding; one that float16 cannot hold is not tried again as long as it would be the same."""
    recipe = recipes.feature(spec, parent_key)
    if spec.stored == "float16" and stored.refused:
        name = join_subject(address.video, address.subject or MAIN)
        refused = stored.refused.get(key_of(recipes.beyond_float16(spec, name, key_of(recipe))))
        if refused:
            return PlanRow(address, "quarantined", refused)
    return compared(address, stored, recipe, source)


def subject_rows(source: Record, subject: str, stored: StoredRecords, profile: Profile) -> list[PlanRow]:
    """One subject's face, and every face network on it."""
    source_key = key_of(recipes.source(source.attributes["sha256"]))
    video = source.address.video
    at = Address("face", profile.detector.name, video, subject)
    recipe = recipes.face(profile.detector, profile.tracking_of(stored.at(at)), source_key, subject)
    face = _refused(at, stored, source) or compared(at, stored, recipe, source)
    rows = [face]
    for spec in profile.faces_from(profile.detector.name):
        address = Address("visual", spec.name, video, subject)
        row = _refused(address, stored, source) or feature_row(address, stored, spec, key_of(recipe), source)
        if row.status == "stale" and face.due and stored.by_path[address.path].recipe["extractor"] == canonical(spec):
            row = PlanRow(address, "stale", f"its {face.address} is {face.status}", row.frames)
        rows.append(row)
    return rows


def sound_rows(source: Record, stored: StoredRecords, profile: Profile) -> list[PlanRow]:
    """Every sound network of a video."""
    rows, source_key = [], key_of(recipes.source(source.attributes["sha256"]))
    for spec in profile.sounds:
        address = Address("audio", spec.name, source.address.video)
        rows.append(_refused(address, stored, source) or feature_row(address, stored, spec, source_key, source))
    return rows


def _refused(address: Address, stored: StoredRecords, source: Record) -> PlanRow | None:
    """The row of what is made of a video's own pictures or sound, if these are in quarantine."""
    stage = "sound" if address.family == "audio" else "pictures"
    refused = stored.refused.get(key_of(recipes.quarantine(stage, source.address.video, source.attributes["sha256"])))
    return PlanRow(address, "quarantined", refused) if refused else None
