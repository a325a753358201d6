"""Extract from one video all that it still lacks, in one decode."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from models.extraction import StoredFaces, TrackedFaces, embed_faces, faces_in_video
from models.extractors.align import to_frames, vectors_clock
from models.extractors.specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec
from models.faces.tracking import FaceTrack
from models.media.sound import Sound, read_sounds
from models.media.video import VideoFacts, frames
from store import FeatureStore
from store.contract.errors import MediaError, SourceError
from store.contract.keys import digest_file
from store.contract.records import Address, Artifact, Record, rows
from store.engine.draft import Draft
from tasks import recipes
from tasks.networks import detector, face_network, sound_network
from tasks.outcomes import Outcome, Status, as_state, refused
from tasks.planning import VideoJob
from tasks.progress import tick
from tasks.sources import facts_of, lift_quarantine, quarantine_artifact
from tasks.specs import Bench, Profile

_NO_SOUND = np.empty(0, np.float32)


@task(
    name="extract", task_run_name="extract {job.video}", cache_policy=NO_CACHE, persist_result=False,
    tags=["affstore", "extract"],
)  # fmt: skip
def extract_video(bench: Bench, job: VideoJob, profile: Profile) -> State[Any]:
    """See to it that a video's faces and embeddings are in the store."""
    return as_state(extract(bench, job, profile))


def extract(bench: Bench, job: VideoJob, profile: Profile) -> Outcome:
    """The body of `extract_video`, for those without Prefect."""
    if not job.due:
        status: Status = "quarantined" if job.refused else "cached"
        return Outcome("extract", job.video, status, job.refused or "all it should have is in the store")
    path = Path(job.location)
    if not path.is_file():
        gone = MediaError(f"'{path}' is not there any more. Add the video again from where it is now.")
        return refused("extract", job.video, gone)
    if digest_file(path) != job.sha256:
        changed = MediaError(f"'{path}' is not the file that was added. Restore it, or add it again with --replace.")
        return refused("extract", job.video, changed)
    store = FeatureStore(bench.store_url)
    draft = store.draft(bench.code, bench.run_id)
    source = store.get(Address("source", video=job.video))
    work = _Work(bench, job, profile, store, source, facts_of(store, source))
    reasons = [reason for reason in (job.refused, *work.write(draft)) if reason]
    said = " ".join(reasons) or ", ".join(sorted({record.address.producer for record in draft.records}))
    return Outcome("extract", job.video, "quarantined" if reasons else "done", said, job.frames, draft)


@dataclass(frozen=True, slots=True)
class _Work:
    """One video being worked on."""

    bench: Bench
    job: VideoJob
    profile: Profile
    store: FeatureStore
    source: Record
    facts: VideoFacts

    def write(self, draft: Draft) -> list[str]:
        """Write what the job asks for; pictures that cannot be used do not cost the sound, nor the other way round.

        Returns:
            Why something could not be used; it is in quarantine.
        """
        reasons = []
        for stage, write_part in (("pictures", self.write_faces), ("sound", self.write_sounds)):
            before = len(draft.records)
            try:
                write_part(draft)
            except SourceError as error:
                path = Path(self.job.location)
                draft.put(quarantine_artifact(stage, self.job.video, path, self.job.sha256, str(error)))
                reasons.append(str(error))
            if len(draft.records) > before and not reasons:
                lift_quarantine(self.store, draft, stage, self.job.video)
        return reasons

    # Faces

    def write_faces(self, draft: Draft) -> None:
        """Find faces where that is due, and embed them by every face network that is."""
        specs = [spec for spec in self.job.extractors if isinstance(spec, FaceExtractorSpec)]
        if not specs and not self.job.find_faces:
            return
        started = time.perf_counter()
        faces = self._face_source()
        networks = {spec.name: face_network(spec, self.bench.weights, self.bench.device) for spec in specs}
        pictures = frames(Path(self.job.location), self.facts)
        embedded = embed_faces(faces_in_video(pictures, faces, tick), networks)
        elapsed_s = round(time.perf_counter() - started, 3)
        records = self._write_tracks(draft, faces, elapsed_s) if isinstance(faces, TrackedFaces) else self._tracks()
        for subject, record in records.items():
            names = faces.names_of(subject)
            for spec in specs:
                draft.put(self._visual(spec, record, embedded[spec.name].of(names, self.job.frames), elapsed_s))

    def _face_source(self) -> TrackedFaces | StoredFaces:
        if self.job.find_faces:
            return TrackedFaces(detector(self.profile.detector, self.bench.device), self.profile.tracking)
        return StoredFaces({subject: self._read_track(record) for subject, record in self._tracks().items()})

    def _tracks(self) -> dict[str, Record]:
        """The stored face tracks, by subject."""
        name = self.profile.detector.name
        found = self.store.records("face", video=self.job.video)
        return {record.address.subject: record for record in found if record.address.producer == name}

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
        for address in self.store.addresses("face", "visual", "prediction", video=self.job.video):
            if address.subject == face.address.subject:
                draft.remove(address)

    def _face(self, subject: str, track: FaceTrack, faces: TrackedFaces, elapsed_s: float) -> Artifact:
        spec = self.profile.detector
        return Artifact(
            Address("face", spec.name, self.job.video, subject),
            recipes.face(spec, self.profile.tracking, self.source.key, subject),
            {"box": track.box, "landmark": track.landmark, "score": track.score, "present": track.present},
            {"frames": self.job.frames, "prominent": subject == faces.subjects.foremost},
            (self.source.as_parent(),),
            self._made(spec, elapsed_s) | {"weights": spec.weights_sha256, "faces": rows(track.present)},
        )

    def _visual(self, spec: FaceExtractorSpec, face: Record, arrays: Mapping[str, Any], elapsed_s: float) -> Artifact:
        return Artifact(
            Address("visual", spec.name, self.job.video, face.address.subject),
            recipes.feature(spec, face.key),
            arrays,
            {"frames": self.job.frames, "classes": list(spec.logits.names) if spec.logits else None},
            (self.source.as_parent(), face.as_parent()),
            self._made(spec, elapsed_s) | _weights(spec) | {"faces": rows(arrays["present"])},
        )

    # Sound

    def write_sounds(self, draft: Draft) -> None:
        """Embed the sound by every sound network that is due, from one decode."""
        specs = [spec for spec in self.job.extractors if isinstance(spec, SoundExtractorSpec)]
        if not specs:
            return
        sounds = read_sounds(Path(self.job.location), sorted({spec.rate_hz for spec in specs}))
        for spec in specs:
            draft.put(self._audio(spec, sounds.get(spec.rate_hz)))

    def _audio(self, spec: SoundExtractorSpec, sound: Sound | None) -> Artifact:
        started = time.perf_counter()
        network = sound_network(spec, self.bench.weights, self.bench.device)
        vectors = network.embed(sound.samples if sound else _NO_SOUND).embedding
        clock = vectors_clock(spec, sound.start_s if sound else Fraction(0), len(vectors))
        embedding, present = to_frames(vectors, clock, self.facts.clock)
        elapsed_s = round(time.perf_counter() - started, 3)
        complaint = sound.complaint if sound else "the video has no sound"
        return Artifact(
            Address("audio", spec.name, self.job.video),
            recipes.feature(spec, self.source.key),
            {"embedding": embedding, "present": present},
            {"frames": self.job.frames, "vectors": len(vectors), "complaint": complaint},
            (self.source.as_parent(),),
            self._made(spec, elapsed_s) | _weights(spec) | {"frames_heard": rows(present)},
        )

    def _made(self, spec: Any, elapsed_s: float) -> dict[str, Any]:
        """How it was made; nothing of it is part of a key that is not part of the spec."""
        return {
            "extractor": spec.name,
            "engine": spec.engine,
            "precision": spec.precision,
            "device": self.bench.device,
            "elapsed_s": elapsed_s,
        }


def _weights(spec: ExtractorSpec) -> dict[str, Any]:
    return {"weights": spec.weights.sha256, "weights_name": spec.weights.name, "trained": spec.weights.trained}
