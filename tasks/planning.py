"""What is fresh, missing, stale and why: always asked of the store's records, never of a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

from models.extractors.specs import ExtractorSpec
from store.contract.keys import changes, key_of, plain
from store.contract.records import Address, Parent, Record
from tasks import recipes
from tasks.specs import Profile

Freshness = Literal["fresh", "missing", "stale", "quarantined"]

_ORDER = ("source", "face", "visual", "audio", "label", "head", "prediction", "quarantine")


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What the plan says of one artifact.

    Attributes:
        address: where it is or will be; without a subject while the subjects are not known yet.
        status: fresh, missing, stale or quarantined.
        reason: why, one line.
        frames: rows to compute, 0 when fresh.
        cost_s: estimated seconds, from how long the same producer took on this store; None where nothing is known.
        asked: whether this plan's run would compute it; the rest is only told about.
    """

    address: Address
    status: Freshness
    reason: str = ""
    frames: int = 0
    cost_s: float | None = None
    asked: bool = True

    @property
    def due(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("missing", "stale")


@dataclass(frozen=True, slots=True)
class VideoJob:
    """Everything one video still lacks: one decode serves it all.

    Attributes:
        video: the video's name.
        location: where its file was last seen.
        sha256: of its bytes.
        find_faces: detect and track; otherwise the stored boxes are used.
        extractors: the networks that are due.
        frames: of the video.
        refused: why the pictures or the sound of these bytes could not be used; they are not tried again.
    """

    video: str
    location: str
    sha256: str
    find_faces: bool
    extractors: tuple[ExtractorSpec, ...]
    frames: int
    refused: str = ""

    @property
    def due(self) -> bool:
        """Whether there is anything to do."""
        return self.find_faces or bool(self.extractors)


def plan(records: Sequence[Record], profile: Profile) -> list[PlanRow]:
    """What each artifact of a store is, for what the profile wants of every video.

    An artifact is stale when its recipe is not the one wanted now, or when something it was computed from is stale,
    missing or was replaced by other numbers. What the profile does not name is only asked about its parents.
    """
    held = _Held(records)
    rows: dict[str, PlanRow] = {}
    for source in records:
        if source.address.family == "source":
            rows |= {row.address.path: row for row in _video_rows(source, held, profile)}
    for record in sorted(records, key=lambda record: (_ORDER.index(record.address.family), record.address)):
        if record.address.path not in rows:
            rows[record.address.path] = _by_parents(record, rows, held)
    speeds = _seconds_per_frame(records)
    return [_costed(row, speeds) for row in rows.values()]


class _Held:
    """The records of a store, by path, and each video's subjects."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.refused = refusals(records)
        self.by_path: dict[str, Record] = {}
        self._subjects: dict[tuple[str, str], list[str]] = {}
        for record in records:
            address = record.address
            self.by_path[address.path] = record
            if address.family == "face":
                self._subjects.setdefault((address.producer, address.video), []).append(address.subject)

    def at(self, address: Address) -> Record | None:
        return self.by_path.get(address.path)

    def subjects(self, detector: str, video: str) -> list[str]:
        """The subjects a detector found in a video; one without a name while it has not looked yet."""
        return sorted(self._subjects.get((detector, video), [])) or [""]


def jobs(records: Sequence[Record], profile: Profile, rows: Iterable[PlanRow]) -> list[VideoJob]:
    """One job a video, also for those that lack nothing (their tasks are shown as cached)."""
    due: dict[str, list[Address]] = {}
    for row in rows:
        if row.due and row.address.family in ("source", "face", "visual", "audio"):
            due.setdefault(row.address.video, []).append(row.address)
    refused = refusals(records)
    sources = [record for record in records if record.address.family == "source"]
    return [_job(source, due.get(source.address.video, []), profile, refused) for source in sources]


def refusals(records: Iterable[Record]) -> dict[str, str]:
    """Why inputs are in quarantine, by the key of what was refused."""
    return {r.key: str(r.attributes["reason"]) for r in records if r.address.family == "quarantine"}


def why_refused(source: Record, family: str, refused: Mapping[str, str]) -> str:
    """Why a video's pictures or sound cannot be used, or an empty text."""
    stage = "sound" if family == "audio" else "pictures"
    recipe = recipes.quarantine(stage, source.address.video, source.attributes["sha256"])
    return refused.get(key_of(recipe), "")


def _job(source: Record, due: Sequence[Address], profile: Profile, refused: Mapping[str, str]) -> VideoJob:
    """What a video lacks and can have; one whose clock is out of date must be taken in again first."""
    possible = {address.family for address in due} - {"source"}
    reasons = sorted({why_refused(source, family, refused) for family in ("visual", "audio")} - {""})
    if source.address in due:
        reasons, possible = ["It is decoded in another way today. Add it again."], set()
    wanted = {address.producer for address in due if address.family in possible}
    return VideoJob(
        video=source.address.video,
        location=source.attributes["location"],
        sha256=source.attributes["sha256"],
        find_faces="face" in possible,
        extractors=tuple(spec for spec in profile.extractors if spec.name in wanted),
        frames=int(source.attributes["frames"]),
        refused=" ".join(reasons),
    )


def _video_rows(source: Record, held: _Held, profile: Profile) -> list[PlanRow]:
    """The rows of one video: its source, its faces, and every extractor of the profile."""
    wanted = recipes.source(source.attributes["sha256"])
    rows = [_row(source.address, held, wanted, source)]
    for subject in held.subjects(profile.detector.name, source.address.video):
        rows += _subject_rows(source, subject, held, profile)
    for spec in profile.sounds:
        address = Address("audio", spec.name, source.address.video)
        rows.append(_row(address, held, recipes.feature(spec, key_of(wanted)), source))
    return rows


def _subject_rows(source: Record, subject: str, held: _Held, profile: Profile) -> list[PlanRow]:
    """One subject's face, and every face network on it."""
    source_key = key_of(recipes.source(source.attributes["sha256"]))
    video = source.address.video
    recipe = recipes.face(profile.detector, profile.tracking, source_key, subject)
    face = _row(Address("face", profile.detector.name, video, subject), held, recipe, source)
    rows = [face]
    for spec in profile.faces:
        address = Address("visual", spec.name, video, subject)
        row = _row(address, held, recipes.feature(spec, key_of(recipe)), source)
        if row.status == "stale" and face.due and held.by_path[address.path].recipe["extractor"] == plain(spec):
            row = PlanRow(address, "stale", f"its {face.address} is {face.status}", row.frames)
        rows.append(row)
    return rows


def _row(address: Address, held: _Held, recipe: Any, source: Record) -> PlanRow:
    """Compare what is stored with what is wanted."""
    frames, record = int(source.attributes["frames"]), held.at(address)
    refused = why_refused(source, address.family, held.refused) if address.family != "source" else ""
    if refused:
        return PlanRow(address, "quarantined", refused)
    if record is None:
        return PlanRow(address, "missing", "not computed yet", frames)
    if record.key == key_of(recipe):
        return PlanRow(address, "fresh")
    return PlanRow(address, "stale", "; ".join(changes(record.recipe, recipe)), frames)


def _by_parents(record: Record, rows: dict[str, PlanRow], held: _Held) -> PlanRow:
    """The row of an artifact whose recipe nobody states here: it is as fresh as what it came from."""
    if record.address.family == "quarantine":
        return PlanRow(record.address, "quarantined", str(record.attributes["reason"]))
    frames = int(record.attributes.get("frames", 0))
    for parent in record.parents:
        reason = _parent_fault(parent, rows, held)
        if reason:
            return PlanRow(record.address, "stale", f"its {parent.path} {reason}", frames, asked=False)
    return PlanRow(record.address, "fresh")


def _parent_fault(parent: Parent, rows: dict[str, PlanRow], held: _Held) -> str | None:
    """What happened to something an artifact was computed from, or None."""
    now, row = held.by_path.get(parent.path), rows.get(parent.path)
    if now is None:
        return "is gone"
    if row is not None and row.due:
        return f"is {row.status}"
    return None if (now.key, now.digest) == (parent.key, parent.digest) else "was computed anew"


def _seconds_per_frame(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """How long a frame took each producer on this store, by the median video."""
    seen: dict[tuple[str, str], list[float]] = {}
    for record in records:
        elapsed, frames = record.made.get("elapsed_s"), record.attributes.get("frames")
        if elapsed is not None and frames:
            seen.setdefault((record.address.family, record.address.producer), []).append(elapsed / frames)
    return {producer: median(values) for producer, values in seen.items()}


def _costed(row: PlanRow, speeds: dict[tuple[str, str], float]) -> PlanRow:
    speed = speeds.get((row.address.family, row.address.producer))
    if not row.due or speed is None:
        return row
    return replace(row, cost_s=speed * row.frames)
