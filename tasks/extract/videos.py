"""Extract from one video all that it still lacks, in one decode."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from affstore import FeatureStore
from affstore.models.audio_pass import align_to_frames, read_waveforms, waveform_format
from affstore.models.extractor_specs import ExtractorSpec, SoundExtractorSpec, faces_among, sounds_among
from affstore.models.face_pass import StoredFaces, TrackedFaces, embed_faces, faces_in_video
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.tracking import FaceTrack
from affstore.models.media.sound import Sound
from affstore.models.media.video import VideoFacts, frames
from affstore.store.contract.errors import SourceError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address, Artifact, Record, rows
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.cancellation import report_frames
from affstore.tasks.extract.crop_folders import write_crops
from affstore.tasks.extract.features import network_facts, put_feature, run_facts, visual_artifact
from affstore.tasks.extract.jobs import VideoJob, still_due
from affstore.tasks.extract.networks import detector, face_network, sound_network
from affstore.tasks.ingest.sources import facts_of, lift_quarantine, quarantine_artifact
from affstore.tasks.outcomes import Outcome, PartOutcome, postponed
from affstore.tasks.remarks import NO_SOUND
from affstore.tasks.retries import raise_what_passes
from affstore.tasks.specs import Profile, WorkerContext
from affstore.tasks.task import task

_NO_SOUND = np.empty(0, np.float32)


_GROUP_FRAMES = 250
"""Of how many frames together short videos are worked on as one unit: ten seconds of them."""


@task("extract", "extract {job.video}", share=lambda _context, job, _profile: job.passing_frames / _GROUP_FRAMES)
def extract_video(context: WorkerContext, job: VideoJob, profile: Profile) -> Outcome:
    """Extract the faces and embeddings that a video lacks in the store, unless the run's time is over."""
    late = postponed(context, "extract", job.video)
    return late or extract(context, still_due(job, profile, context.store()), profile)


@task("extract", "extract: {videos} videos have all they should have")
def keep_videos(videos: int) -> Outcome:
    """Show that so many videos need no work, without a task for each."""
    return Outcome("extract", "", "cached", f"{videos} videos have all they should have in the store.")


def extract(context: WorkerContext, job: VideoJob, profile: Profile) -> Outcome:
    """Compute what is due of a video into a draft; a fault of one part does not stop the others."""
    return replace(_extracted(context, job, profile), file=job.location)


def _extracted(context: WorkerContext, job: VideoJob, profile: Profile) -> Outcome:
    parts = [PartOutcome("quarantined", job.refused)] if job.refused else []
    parts += [PartOutcome("failed", f"{job.lacking}.")] if job.lacking else []
    if not job.due:
        text = " ".join(part.note for part in parts) or "all it should have is in the store"
        return Outcome("extract", job.video, parts[0].status if parts else "cached", text)
    store = context.store()
    draft = store.draft(context.code, context.run_id)
    source = store.get(Address("source", video=job.video))
    fault = _file_fault(job) if job.reads_video else ""
    if fault:
        parts.append(PartOutcome("failed", fault))
    elif job.reads_video:
        parts += _Work(context, job, profile, store, source, facts_of(store, source)).write(draft)
    parts += [part for crop in job.crops for part in write_crops(context, store, crop, source, draft)]
    return Outcome.of_parts("extract", job.video, parts, job.passing_frames, draft)


def _file_fault(job: VideoJob) -> str:
    """Why a video's file cannot be read today, or an empty text."""
    path = Path(job.location)
    if not path.is_file():
        return f"'{path}' is not there any more. Add the video again from where it is now."
    if digest_file(path) != job.sha256:
        return f"'{path}' is not the file that was added. Restore it, or add it again with --replace."
    return ""


def _came_from(record: Record, gone: Set[str]) -> bool:
    """Whether something that an artifact was computed from is gone."""
    return any(parent.path in gone for parent in record.parents)


@dataclass(frozen=True, slots=True)
class _Work:
    """One video being worked on."""

    context: WorkerContext
    job: VideoJob
    profile: Profile
    store: FeatureStore
    source: Record
    facts: VideoFacts

    def write(self, draft: Draft) -> list[PartOutcome]:
        """Write what the job asks for; pictures that cannot be used do not cost the sound, nor the other way round.

        Returns:
            What could not be used; it is in quarantine.
        """
        refused: list[PartOutcome] = []
        beyond_float16: list[PartOutcome] = []
        for stage, write_part in (("pictures", self.write_faces), ("sound", self.write_sounds)):
            before = len(draft.records)
            try:
                beyond_float16 += write_part(draft)
            except SourceError as error:
                raise_what_passes(error)
                path = Path(self.job.location)
                draft.put(quarantine_artifact(stage, self.job.video, path, self.job.sha256, str(error)))
                refused.append(PartOutcome("quarantined", str(error)))
                continue
            if len(draft.records) > before:
                lift_quarantine(self.store, draft, stage, name=self.job.video)
        return refused + beyond_float16

    # Faces

    def write_faces(self, draft: Draft) -> list[PartOutcome]:
        """Find faces where that is due, and embed them by every face network that is; see `put_feature`."""
        specs = faces_among(self.job.extractors)
        if not specs and not self.job.find_faces:
            return []
        faces = self._face_source()
        networks = {spec.name: face_network(spec, self.context.weights, self.context.device) for spec in specs}
        started = time.perf_counter()  # without the loading of networks, which only the first video waits for
        pictures = frames(Path(self.job.location), self.facts)
        embedded = embed_faces(faces_in_video(pictures, faces, report_frames), networks)
        elapsed_s = round(time.perf_counter() - started, 3)
        records = self._write_tracks(draft, faces, elapsed_s) if isinstance(faces, TrackedFaces) else self._tracks()
        refused: list[PartOutcome] = []
        for subject, record in records.items():
            names = faces.names_of(subject)
            for spec in specs:
                arrays = embedded[spec.name].of(names, self.job.frames)
                how = run_facts(spec, self.context.device, elapsed_s)
                refused += self._put(draft, spec, visual_artifact(spec, self.source, record, arrays, how))
        return refused

    def _put(self, draft: Draft, spec: ExtractorSpec, artifact: Artifact) -> list[PartOutcome]:
        return put_feature(self.store, draft, spec, artifact, Path(self.job.location))

    def _face_source(self) -> TrackedFaces | StoredFaces:
        if self.job.find_faces:
            return TrackedFaces(detector(self.profile.detector, self.context.device), self._tracking)
        return StoredFaces({subject: self._read_track(record) for subject, record in self._tracks().items()})

    @property
    def _tracking(self) -> TrackingSpec:
        return self.profile.tracking_of(next(iter(self._tracks().values()), None))

    def _tracks(self) -> dict[str, Record]:
        """The stored face tracks, by subject."""
        place = Address("face", self.profile.detector.name, self.job.video)
        return {record.address.subject: record for record in self.store.find_all(self.store.below(place))}

    def _read_track(self, record: Record) -> FaceTrack:
        return FaceTrack(**self.store.read(record.address))

    def _write_tracks(self, draft: Draft, faces: TrackedFaces, elapsed_s: float) -> dict[str, Record]:
        """Write each subject's track; subjects that an earlier detection found and this one did not are removed."""
        found = faces.tracks()
        for subject, old in self._tracks().items():
            if subject not in found:
                self._remove_subject(draft, old)
        return {subject: draft.put(self._face(subject, track, faces, elapsed_s)) for subject, track in found.items()}

    def _remove_subject(self, draft: Draft, face: Record) -> None:
        """Take away a face and all that was made of it; the same subject's crop folders stay."""
        gone, made = {face.address.path}, self.store.records("visual", "prediction", video=self.job.video)
        draft.remove(face.address)
        # An experiment's predictions are made of its heads', which may be listed after them.
        while further := [one for one in made if one.address.path not in gone and _came_from(one, gone)]:
            for record in further:
                gone.add(record.address.path)
                draft.remove(record.address)

    def _face(self, subject: str, track: FaceTrack, faces: TrackedFaces, elapsed_s: float) -> Artifact:
        spec, side = self.profile.detector, faces.subjects.sides.get(subject)
        return Artifact(
            Address("face", spec.name, self.job.video, subject),
            recipes.face(spec, self._tracking, self.source.key, subject),
            {"box": track.box, "landmark": track.landmark, "score": track.score, "present": track.present},
            {
                "frames": self.job.frames,
                "prominent": subject == faces.subjects.foremost,
                "people": faces.people,
                "faces_at_once": faces.faces_at_once,
                "cuts": faces.cuts,
            }
            | ({"side": side} if side else {}),
            (self.source.as_parent(),),
            run_facts(spec, self.context.device, elapsed_s)
            | {"weights": spec.weights_sha256, "faces": rows(track.present)},
        )

    # Sound

    def write_sounds(self, draft: Draft) -> list[PartOutcome]:
        """Embed the sound by every sound network that is due, from one decode; see `put_feature`."""
        specs = sounds_among(self.job.extractors)
        if not specs:
            return []
        sounds = read_waveforms(Path(self.job.location), specs, self.facts)
        refused: list[PartOutcome] = []
        for spec in specs:
            refused += self._put(draft, spec, self._audio(spec, sounds.get(waveform_format(spec))))
        return refused

    def _audio(self, spec: SoundExtractorSpec, sound: Sound | None) -> Artifact:
        network = sound_network(spec, self.context.weights, self.context.device)
        started = time.perf_counter()
        output = network.embed(sound.samples if sound else _NO_SOUND)
        arrays = align_to_frames(spec, output, sound, self.facts)
        elapsed_s = round(time.perf_counter() - started, 3)
        return Artifact(
            Address("audio", spec.name, self.job.video),
            recipes.feature(spec, self.source.key),
            arrays,
            {
                "frames": self.job.frames,
                "vectors": len(output.embedding),
                "classes": list(spec.logits.names) if spec.logits else None,
                "complaint": sound.complaint if sound else NO_SOUND,
            },
            (self.source.as_parent(),),
            run_facts(spec, self.context.device, elapsed_s)
            | network_facts(spec)
            | {"frames_heard": rows(arrays["present"])},
        )
