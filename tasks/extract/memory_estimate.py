"""How much memory a run will need, estimated before it begins.

An estimate from above: what is exact (parameters by their files, rows by their widths) is counted, and what is not (the
workspace of a forward pass, the programs themselves) is taken from measurements on a CPU, rounded up. It speaks of the
process that works, or of all of them on a Dask cluster of this machine; the Prefect server beside it takes some 0.3 GiB
more, and training heads is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from affstore.models.engines.base import forward_threads
from affstore.models.engines.footprint import Workload
from affstore.models.extractor_specs import ExtractorSpec
from affstore.models.extractors.registry import pass_bytes
from affstore.models.media.announced_size import announced
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.printable import counted
from affstore.store.contract.records import Record
from affstore.tasks.specs import Profile

MIB, GIB = 1 << 20, 1 << 30

_PROGRAMS = 1024 * MIB
"""Python, torch, OpenVINO, timm, transformers, Prefect and the store, once imported: 0.9 GiB measured."""

_FLOAT = 4
_NOTES_A_FACE = 128
"""Bytes of Python's lists: whose face a row is, its frame, and where its piece lies."""

# Pictures.
_PICTURES_AHEAD, _PICTURES_HELD = 4, 3
_DECODED = 24
"""Pictures that a decoder keeps to refer to, with its threads; 1.5 bytes a pixel each."""

_DETECTOR = 64 * MIB
"""MTCNN's pyramid and candidates; it shrinks large pictures first. 22 MiB measured."""


@dataclass(frozen=True, slots=True)
class VideoSize:
    """What of a video decides how much memory it needs.

    Attributes:
        video: its name.
        frames: how many.
        pixels: of a picture.
        length_s: of its sound.
        sound_hz: samples a second in the file; 0 without sound.
        faces: in all of its frames together, as far as they are known; one a frame else.
        searched: for faces, so that they are known.
    """

    video: str
    frames: int
    pixels: int
    length_s: float
    sound_hz: int
    faces: int
    searched: bool = True

    @property
    def heard_s(self) -> float:
        """Seconds of sound."""
        return self.length_s if self.sound_hz else 0.0

    @classmethod
    def of_record(cls, source: Record, faces: Mapping[str, int]) -> VideoSize:
        """A video that the store has, and what `faces_in` says of it."""
        facts, video = source.attributes, source.address.video
        base, sound, frames = facts["time_base"], facts["sound"], int(facts["frames"])
        begins_s = Fraction(*sound["start_s"]) if sound else 0
        return cls(
            video,
            frames,
            int(facts["width"]) * int(facts["height"]),
            max(0.0, float(Fraction(facts["end_pts"] * base[0], base[1]) - begins_s)),
            int(sound["rate_hz"]) if sound else 0,
            max(frames, faces.get(video, 0)),
            video in faces,
        )

    @classmethod
    def of_file(cls, video: str, path: Path) -> VideoSize | None:
        """A video that is still to be taken in, as far as its container says; None where it says nothing."""
        header = announced(path)
        if header is None:
            return None
        pixels, sound_hz = header.width_px * header.height_px, header.sound_hz
        return cls(video, header.frames, pixels, header.length_s, sound_hz, header.frames, searched=False)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a run needs, in bytes, of all its processes together.

    Attributes:
        programs: code and libraries.
        parameters: of all networks, and once more of the largest while it is loaded.
        passes: what forward passes need while they run.
        videos: rows, pictures and sound of the videos at work, the longest ones.
        longest: the video that needs most; None where none is due.
        at_once: videos at work at the same time.
        gpu: of the parameters and passes, what lies on a GPU, estimated without having measured one.
        a_face_more: what one more face in every frame would take, of those of these videos that were not searched for
            faces yet, where all people are kept.
    """

    programs: int
    parameters: int
    passes: int
    videos: int
    longest: VideoSize | None
    at_once: int
    gpu: int = 0
    a_face_more: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.programs + self.parameters + self.passes + self.videos

    def __str__(self) -> str:
        whose = f" of '{self.longest.video}', {self.longest.frames:,} frames" if self.longest else ""
        others = f" and {self.at_once - 1} more" if self.at_once > 1 else ""
        at_once = f"{counted(self.at_once, 'video', 'videos')} at once"
        gpu = f"; about {_gib(self.gpu)} GiB more on the GPU" if self.gpu else ""
        parts = (
            f"{_gib(self.programs)} programs, {_gib(self.parameters)} parameters, {_gib(self.passes)} forward passes"
        )
        rows = f"{_gib(self.videos)} rows{whose}{others}"
        crowd = f"; each face more in every frame adds {_gib(self.a_face_more)} GiB" if self.a_face_more else ""
        return f"memory: about {_gib(self.total)} GiB ({parts}, {rows}; {at_once}{gpu}{crowd})"

    def as_document(self) -> dict[str, Any]:
        """For other programs; sizes in bytes."""
        return {
            "total": self.total,
            "programs": self.programs,
            "parameters": self.parameters,
            "passes": self.passes,
            "videos": self.videos,
            "gpu": self.gpu,
            "a_face_more": self.a_face_more,
            "longest": self.longest.video if self.longest else None,
            "frames": self.longest.frames if self.longest else 0,
            "at_once": self.at_once,
        }


@dataclass(frozen=True, slots=True)
class Parallelism:
    """Who does the work.

    Attributes:
        at_once: videos at work at the same time.
        processes: that they are spread over; each has its own networks.
        threads: of each process that run forward passes of face networks.
        device: `cpu` or `cuda`.
    """

    at_once: int = 1
    processes: int = 1
    threads: int = field(default_factory=forward_threads)
    device: str = "cpu"


def memory_need(profile: Profile, weights: Path, videos: Iterable[VideoSize], parallelism: Parallelism) -> MemoryNeed:
    """What extracting these videos will need.

    Args:
        profile: the networks that are due, their weights resolved.
        weights: the weights folder.
        videos: the videos that are due; a face in every frame is counted, where it is not known better.
        parallelism: who does the work.
    """
    longest = sorted(videos, key=lambda video: (sum(_phase(profile, video)), video.video), reverse=True)
    at_once, on_gpu = min(parallelism.at_once, len(longest)), parallelism.device != "cpu"
    processes = max(1, min(parallelism.processes, at_once))
    files = [_file_bytes(weights, spec) for spec in profile.extractors]
    of_faces = [pass_bytes(spec, Workload(parallelism.threads, parallelism.device)) for spec in profile.faces]
    passes = processes * sum(each.host for each in of_faces)
    phases = [_phase(profile, video) for video in longest[:at_once]]
    heard = sum(phase[0] for phase in phases)
    everyone = profile.tracking.most_subjects == "all"
    unknown = [video for video in longest[:at_once] if everyone and not video.searched]
    return MemoryNeed(
        programs=processes * _PROGRAMS,
        parameters=processes * (max(files, default=0) + (0 if on_gpu else sum(files))),
        passes=passes + (0 if on_gpu else heard),
        videos=sum(phase[1] for phase in phases),
        longest=longest[0] if longest else None,
        at_once=at_once,
        gpu=processes * (sum(files) + sum(each.gpu for each in of_faces)) + heard if on_gpu else 0,
        a_face_more=sum(
            _faces_bytes(profile, replace(video, faces=video.faces + video.frames)) - _faces_bytes(profile, video)
            for video in unknown
        ),
    )


def faces_in(records: Iterable[Record], everyone: bool = False) -> dict[str, int]:
    """How many faces each video has in all of its frames, by the detector or the kind of folder that has most.

    Args:
        records: of a store.
        everyone: count as many faces in every frame as there are at most at once, since all will be kept.
    """
    found: dict[tuple[str, str], int] = {}
    most: dict[str, int] = {}
    for record in records:
        if record.address.family == "face":
            whose, frames = (record.address.video, record.address.producer), int(record.attributes["frames"])
            found[whose] = found.get(whose, 0) + int(record.made.get("faces", frames))
            at_once = int(record.attributes.get("faces_at_once", 0)) if everyone else 0
            most[whose[0]] = max(most.get(whose[0], 0), frames * at_once)
    for (video, _), count in found.items():
        most[video] = max(most.get(video, 0), count)
    return most


def due_part(profile: Profile, producers: Iterable[str]) -> Profile:
    """The networks of a profile that something is due from."""
    due = set(producers)
    return replace(profile, extractors=tuple(spec for spec in profile.extractors if spec.name in due))


def _phase(profile: Profile, video: VideoSize) -> tuple[int, int]:
    """A pass over a video's sound, and what its rows, pictures and waveforms take; its sound comes after its faces."""
    heard = _passes_over_sound(profile, video)
    return max((0, _faces_bytes(profile, video)), (heard, _sound_bytes(profile, video)), key=sum)


def _passes_over_sound(profile: Profile, video: VideoSize) -> int:
    """One network's pass after the other's; OpenVINO keeps what each of its networks needed."""
    needed = [(spec.engine, pass_bytes(spec, Workload(sound_s=video.heard_s)).host) for spec in profile.sounds]
    kept = sum(size for engine, size in needed if engine == "openvino")
    return kept + max((size for engine, size in needed if engine != "openvino"), default=0)


def _faces_bytes(profile: Profile, video: VideoSize) -> int:
    """Rows of all face networks as they come, those of one of them again on their frames and once more as written."""
    if not profile.faces:
        return 0
    rows = [_FLOAT * video.faces * spec.row_width for spec in profile.faces]
    pictures = video.pixels * (3 * (_PICTURES_AHEAD + _PICTURES_HELD) + 3 * _DECODED // 2)
    return sum(rows) + 2 * max(rows) + video.faces * _NOTES_A_FACE * len(rows) + pictures + _DETECTOR


def _sound_bytes(profile: Profile, video: VideoSize) -> int:
    """Waveforms of all rates, and the vectors of one network, on their frames and once more as written."""
    if not (profile.sounds and video.sound_hz):
        return 0
    waves = {(spec.rate_hz, spec.resampler) for spec in profile.sounds}
    a_second = sum(
        _FLOAT * hz if kind == "swresample" else 2 * _FLOAT * hz + _FLOAT * video.sound_hz for hz, kind in waves
    )
    longest_wave = _FLOAT * max(video.sound_hz, *(hz for hz, _ in waves))  # a waveform that grows is copied
    rows = max(
        _FLOAT * spec.row_width * (2 * video.frames + round(video.length_s * spec.vectors_hz))
        for spec in profile.sounds
    )
    return round(video.length_s * (a_second + longest_wave)) + rows


def _file_bytes(weights: Path, spec: ExtractorSpec) -> int:
    """The parameters, as they lie in the weights folder."""
    path = WeightsFolder(weights).path_of(spec.weights.sha256)
    return path.stat().st_size if path.is_file() else 0


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
