"""What a run does for each video: everything it lacks, read once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.store.contract.records import Address, Record
from affstore.tasks.ingest.crop_assignment import CropAssignment
from affstore.tasks.plan_rows import PlanRow, StoredRecords, sound_rows, subject_rows
from affstore.tasks.specs import Profile

_COMPUTED = ("face", "visual", "audio")


@dataclass(frozen=True, slots=True)
class CropJob:
    """A crop folder of a video from which something is due.

    Attributes:
        kind: of the folder.
        subject: whose face it shows.
        folder: where it is, or was when it was last read.
        extractors: the networks that are due on it; none where only the folder itself is to be taken in.
        note: what a person should know of how its name was understood.
    """

    kind: str
    subject: str
    folder: Path
    extractors: tuple[FaceExtractorSpec, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class VideoJob:
    """Everything one video still lacks: one decode serves it all, and one reading of each crop folder.

    Attributes:
        video: the video's name.
        location: where its file was last seen.
        sha256: of its bytes.
        find_faces: detect and track; otherwise the stored boxes are used.
        extractors: the networks that are due on the video itself.
        frames: of the video.
        refused: why the pictures, the sound or a folder of these bytes could not be used; they are not tried again.
        crops: crop folders that are to be read.
        lacking: what is wanted of this video and cannot be made yet.
    """

    video: str
    location: str
    sha256: str
    find_faces: bool
    extractors: tuple[ExtractorSpec, ...]
    frames: int
    refused: str = ""
    crops: tuple[CropJob, ...] = ()
    lacking: str = ""

    @property
    def reads_video(self) -> bool:
        """Whether the video's own file is needed."""
        return self.find_faces or bool(self.extractors)

    @property
    def due(self) -> bool:
        """Whether there is anything to do."""
        return self.reads_video or bool(self.crops)

    @property
    def passing_frames(self) -> int:
        """How many frames pass by: those of the video, and those of each folder."""
        faces = self.find_faces or any(spec.SENSE == "face" for spec in self.extractors)
        return self.frames * max(1, faces + len(self.crops))


def jobs(
    records: Sequence[Record], profile: Profile, rows: Iterable[PlanRow], given: CropAssignment | None = None
) -> list[VideoJob]:
    """One job a video, also for those that lack nothing (their tasks are shown as cached).

    Args:
        records: of the store.
        profile: what is wanted of every video.
        rows: what the plan of these says.
        given: the run's crop folders.
    """
    of_video: dict[str, list[PlanRow]] = {}
    for row in rows:
        if row.address.family in ("source", *_COMPUTED) and row.status != "fresh":
            of_video.setdefault(row.address.video, []).append(row)
    faces = {record.address: record for record in records if record.address.family == "face"}
    crops = _Crops(faces, given or CropAssignment())
    sources = [record for record in records if record.address.family == "source"]
    return [_job(source, of_video.get(source.address.video, []), profile, crops) for source in sources]


def still_due(job: VideoJob, profile: Profile, store: FeatureStore) -> VideoJob:
    """A job less what another run has stored since it was made; a crop folder is compared when it is read.

    Args:
        job: which may have waited for hours.
        profile: what is wanted of every video.
        store: as it is now.

    Raises:
        NotFoundError: it has the video no more.
    """
    source = store.get(Address("source", video=job.video))
    faces = store.below(Address("face", profile.detector.name, job.video))
    networks = profile.faces_from(profile.detector.name)
    visuals = [replace(face, family="visual", producer=spec.name) for spec in networks for face in faces]
    sounds = [Address("audio", spec.name, job.video) for spec in profile.sounds]
    stored = StoredRecords([source, *store.find_all([*faces, *visuals, *sounds])])
    rows = [row for face in faces for row in subject_rows(source, face.subject, stored, profile)]
    rows += sound_rows(source, stored, profile)
    made = {row.address.producer for row in rows} - {row.address.producer for row in rows if row.status != "fresh"}
    return replace(
        job,
        find_faces=job.find_faces and profile.detector.name not in made,
        extractors=tuple(spec for spec in job.extractors if spec.name not in made),
    )


def _job(source: Record, rows: Sequence[PlanRow], profile: Profile, crops: _Crops) -> VideoJob:
    """What a video lacks and can have; one whose clock is out of date must be taken in again first."""
    due = [row.address for row in rows if row.due and row.requested]
    refused = {row.reason for row in rows if row.status == "quarantined"}
    lacking = {row.reason for row in rows if row.status == "missing" and not row.requested}
    if source.address in due:
        refused, due = {"It is decoded in another way today. Add it again."}, []
    producers = {address.producer for address in due}
    return VideoJob(
        video=source.address.video,
        location=source.attributes["location"],
        sha256=source.attributes["sha256"],
        find_faces=("face", profile.detector.name) in {(address.family, address.producer) for address in due},
        extractors=tuple(spec for spec in profile.on_video if spec.name in producers),
        frames=int(source.attributes["frames"]),
        refused=" ".join(sorted(refused)),
        crops=tuple(crops.jobs(due, profile)),
        lacking="; ".join(sorted(lacking)),
    )


@dataclass(frozen=True, slots=True)
class _Crops:
    """Where crop folders are: as given, else as stored."""

    faces: dict[Address, Record]
    given: CropAssignment

    def jobs(self, due: Sequence[Address], profile: Profile) -> Iterable[CropJob]:
        """A job for every folder from which something is due."""
        kind_of = {spec.name: spec.faces for spec in profile.faces}
        networks: dict[Address, list[str]] = {}
        for address in due:
            kind = address.producer if address.family == "face" else kind_of.get(address.producer, "")
            if address.subject and kind not in ("", profile.detector.name):
                face = Address("face", kind, address.video, address.subject)
                networks.setdefault(face, []).append(address.producer)
        for face, names in sorted(networks.items()):
            specs = tuple(spec for spec in profile.faces_from(face.producer) if spec.name in names)
            folder = self.given.of(face.producer, face.video).get(face.subject)
            path = Path(os.path.realpath(folder.path) if folder else self.faces[face].attributes["location"])
            note = self.given.notes.get(str(folder.path), "") if folder else ""
            yield CropJob(face.producer, face.subject, path, specs, note)
