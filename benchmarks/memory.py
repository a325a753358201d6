"""The memory that a long video needs beside its networks: peak resident size while extracting 47,434 frames.

That is the longest video of Aff-Wild2; here it lasts 31 minutes at 25 frames/s, with sound. What is measured is rows,
arrays, decoding and writing, not arithmetic, so STAND-INS do the embedding: the real classes with their batches, widths
and outputs, in which a small matrix takes the place of the forward pass. Every frame has a face, which is in the store;
`--find-faces` finds them anew. The real networks are measured by themselves, on 64 crops and on two minutes of sound.

The row ALL is the whole of it in one piece: the papers' twelve networks with their own classes, engines, parameters and
batches, of whose passes one in EVERY is computed and the others repeat what it said. So all that lies in memory at once
does, and an hour of arithmetic does not have to pass. Its `above` is what the peak exceeds imports and parameters by.

Each row is a process of its own. `before` is its resident size when its imports are done and, for the stand-ins, when
they have run once; `above` is by how much the peak until the commit exceeds that. Linux only: peaks come from /proc.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from bench.arguments import parser_of
from bench.clocks import spent
from bench.workplace import SEVEN, Workplace
from numpy.typing import NDArray
from rich.progress import track

from affstore.flows.commands.options import print_table
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.extractor_specs import FaceExtractorSpec, SoundExtractorSpec
from affstore.models.extractors.audio.network import Outputs, SpeechNetwork, SpeechNetworkKind
from affstore.models.extractors.face.network import FaceNetwork, FaceNetworkKind
from affstore.models.extractors.registry import build_face, entry_of, register, spec_of
from affstore.models.media.video import frames, probe
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks import recipes
from affstore.tasks.extract.networks import face_network, sound_network

LONGEST_FRAMES = 47_434
RATE_HZ = 25
SOUND_HZ = 44_100
HELD_FRAMES = 25
"""How long each picture stays: what does not move is coded and decoded fast."""
BAR_MIB = 2048
FACE, SOUND = "emotieffnet_b0", "wav2vec2_base_960h"
STAND_INS: dict[str, tuple[str, ...]] = {
    "one face network": ("quick_face_1",),
    "the sound network": ("quick_sound",),
    "one of each, in one job": ("quick_face_1", "quick_sound"),
    "three face networks and the sound network": ("quick_face_1", "quick_face_2", "quick_face_3", "quick_sound"),
    "the papers' seven and five, in one job": (
        *("quick_face_1", "quick_face_2", *(f"quick_face_{i}" for i in range(4, 9))),
        *("quick_sound", *(f"quick_sound_{i}" for i in range(2, 6))),
    ),
}
ALL = "the papers' seven and five, some passes computed"
EVERY = 40
EVERY_SOUND = 12
WIDTHS = {
    **{"quick_face_4": 1408, "quick_face_5": 512, "quick_face_6": 512, "quick_face_7": 512, "quick_face_8": 768},
    **{"quick_sound_2": 256, "quick_sound_3": 1024, "quick_sound_4": 512, "quick_sound_5": 1024},
}
"""Of stand-ins that are not as wide as EmotiEffNet-B0 or wav2vec 2.0 base: those of the papers' other networks."""


class QuickForward:
    """An engine without a network."""

    batch = 32

    def __init__(self, spec: FaceExtractorSpec, outputs: int) -> None:
        self._matrix = matrix(3 * (spec.size_px // 16) ** 2, spec.width + outputs)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `affstore.models.engines.base.Forward`."""
        return crops[:, ::16, ::16].reshape(len(crops), -1).astype(np.float32) @ self._matrix


class Thinned:
    """A network's forward pass, computed once in `every` calls with arguments of one shape, and repeated between."""

    def __init__(self, forward: Any, every: int) -> None:
        self.batch = getattr(forward, "batch", 0)
        self._forward, self._every, self._calls = forward, every, count()
        self._said: dict[tuple[int, ...], Any] = {}

    def __call__(self, given: Any) -> Any:
        """What the network says of this, or said of something else of this shape; a copy, as from the network."""
        shape = np.shape(given)
        if next(self._calls) % self._every == 0 or shape not in self._said:
            self._said[shape] = self._forward(given)
        return deepcopy(self._said[shape])


class QuickFace(FaceNetwork):
    """EmotiEffNet without its network: every 16th pixel times a matrix."""

    def __init__(self, spec: FaceExtractorSpec) -> None:
        self.spec, self._classes, self._scales = spec, len(spec.logits or ()), 2 * spec.valence_arousal
        self._forward = QuickForward(spec, self._classes + self._scales)
        self.batch = self._forward.batch


class QuickSpeech:
    """The samples of a vector's own 20 ms times a matrix, as a `SpeechForward`."""

    batch = 1

    def __init__(self, spec: SoundExtractorSpec) -> None:
        self._step = int(spec.rate_hz / spec.vectors_hz)
        self._matrix = matrix(self._step, spec.width)

    def __call__(self, waves: NDArray[np.float32]) -> Outputs:
        """See `SpeechForward.__call__`."""
        vectors = waves.shape[1] // self._step
        steps = waves[:, : vectors * self._step].reshape(len(waves), vectors, self._step)
        return steps @ self._matrix, np.empty((len(waves), 0), np.float32)


class QuickSound(SpeechNetwork):
    """wav2vec 2.0 without its network."""

    def __init__(self, spec: SoundExtractorSpec) -> None:
        self.spec, self._classes, self._scales = spec, 0, 0
        self._forward = QuickSpeech(spec)


class QuickFaceKind(FaceNetworkKind):
    """EmotiEffNet, built without its network."""

    def build(self, spec: FaceExtractorSpec, parameters: object, device: str) -> QuickFace:
        """See `QuickFace`."""
        return QuickFace(spec)


class QuickSoundKind(SpeechNetworkKind):
    """wav2vec 2.0, built without its network."""

    def build(self, spec: SoundExtractorSpec, parameters: object, device: str) -> QuickSound:
        """See `QuickSound`."""
        return QuickSound(spec)


def matrix(rows: int, columns: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, columns), np.float32)


def add_stand_ins(place: Workplace) -> Workplace:
    """The same place with the stand-ins registered, under parameters that are there and that they do not look at."""
    names = sorted({name for names in STAND_INS.values() for name in names})
    face, sound = spec_of(FACE), spec_of(SOUND)
    weights = place.profile.faces[0].weights
    faces = [
        replace(face, name=name, weights=weights, width=WIDTHS.get(name, face.width))
        for name in names
        if "face" in name
    ]
    sounds = [
        replace(sound, name=name, weights=weights, width=WIDTHS.get(name, sound.width))
        for name in names
        if "sound" in name
    ]
    register(*(QuickFaceKind(spec, entry_of(weights.name)) for spec in faces))
    register(*(QuickSoundKind(spec, entry_of(weights.name)) for spec in sounds))
    return replace(place, profile=replace(place.profile, extractors=(*faces, *sounds)))


def long_film(folder: Path, video: Path | None, length: int) -> Path:
    """A small film of a face, with noise for a sound."""
    take = video or write_corpus(folder / "corpus", CorpusSpec(only=("130-25-320x240",)))[0]
    small = [np.ascontiguousarray(picture[::2, ::2]) for picture in frames(take, probe(take))]
    held = cycle(picture for picture in small for _ in range(HELD_FRAMES))
    pictures = Pictures(islice(held, length), small[0].shape[1::-1], FrameClock.uniform(RATE_HZ, length))
    wave = 0.1 * np.random.default_rng(0).standard_normal(length * SOUND_HZ // RATE_HZ, np.float32)
    write_film(folder / "long.mp4", pictures, Recording(wave, SOUND_HZ))
    return folder / "long.mp4"


def put_faces(place: Workplace, source: Record) -> None:
    """A face in every frame, as if it had been found: its box is the picture."""
    said, length = source.attributes, source.attributes["frames"]
    box = np.tile(np.array([0, 0, said["width"], said["height"]], np.float32), (length, 1))
    ones = np.ones(length, np.float32)
    arrays = {"box": box, "landmark": np.zeros((length, 5, 2), np.float32), "score": ones, "present": ones > 0}
    profile = place.profile
    recipe = recipes.face(profile.detector, profile.tracking, source.key, "main")
    address = Address("face", profile.detector.name, source.address.video, "main")
    draft = place.store().draft(place.context.code, place.context.run_id)
    draft.put(Artifact(address, recipe, arrays, {"frames": length, "prominent": True}, (source.as_parent(),)))
    place.store().commit([draft], "benchmark")


def extraction(place: Workplace, names: Sequence[str], find_faces: bool) -> Callable[[], None]:
    """The work of one row, with its networks built and warm."""
    found = add_stand_ins(place)
    specs = tuple(spec for spec in found.profile.extractors if spec.name in names)
    for spec in specs:
        if isinstance(spec, FaceExtractorSpec):
            with face_network(spec, found.context.weights, "cpu").feed() as feed:
                feed.add(np.zeros((spec.size_px, spec.size_px, 3), np.uint8))
                feed.finish()
        else:
            sound_network(spec, found.context.weights, "cpu").embed(np.zeros(2 * spec.rate_hz, np.float32))
    job = replace(found.job("long"), extractors=specs, find_faces=find_faces)

    def work() -> None:
        outcome = found.extract(job)
        if outcome.status != "done":
            raise SystemExit(f"The job is {outcome.status}: {outcome.reason}")
        found.commit(outcome)

    return work


def twelve(place: Workplace, find_faces: bool) -> Callable[[], None]:
    """Extraction by all of the papers' networks, most of their passes left out; they are built on the way."""
    for name in ("openvino", "timm", "torch", "transformers"):
        import_module(name)
    specs = place.profile.extractors
    job = replace(place.job("long"), extractors=specs, find_faces=find_faces)

    def work() -> None:
        for spec in specs:
            if isinstance(spec, FaceExtractorSpec):
                network: Any = face_network(spec, place.context.weights, "cpu")._network
                network._forward = Thinned(network._forward, EVERY)
            else:
                network = sound_network(spec, place.context.weights, "cpu")
                every = EVERY if spec.name.startswith("openl3") else EVERY_SOUND
                network._forward = Thinned(network._forward, every)
        outcome = place.extract(job)
        if outcome.status != "done":
            raise SystemExit(f"The job is {outcome.status}: {outcome.reason}")
        place.commit(outcome)

    return work


def parameters_mib(place: Workplace) -> float:
    """The files of all of a place's networks."""
    digests = {spec.weights.sha256 for spec in place.profile.extractors}
    folder = place.context.weights / "parameters"
    return sum((folder / f"{digest}.safetensors").stat().st_size for digest in digests) / 2**20


def real(place: Workplace, name: str) -> Callable[[], object]:
    """Load a real network and run it."""
    (spec,) = (spec for spec in place.profile.extractors if spec.name == name)
    if isinstance(spec, FaceExtractorSpec):
        crops = np.zeros((64, spec.size_px, spec.size_px, 3), np.uint8)
        return lambda: build_face(spec, WeightsFolder(place.context.weights).load(spec.weights.sha256)).embed(crops)
    wave = np.random.default_rng(0).standard_normal(120 * spec.rate_hz, np.float32)
    return lambda: sound_network(spec, place.context.weights, "cpu").embed(wave)


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """In a process of its own: one row."""
    name = asked.measure
    if name == ALL:
        from sound import FIVE

        place = Workplace.at(asked.folder, [*SEVEN, *FIVE])
        work: Callable[[], object] = twelve(place, asked.find_faces)
    else:
        place = Workplace.at(asked.folder, [name if name in (FACE, SOUND) else FACE])
        work = real(place, name) if name in (FACE, SOUND) else extraction(place, STAND_INS[name], asked.find_faces)
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    took = spent(work)
    parameters = parameters_mib(place) if name == ALL else 0.0
    return {"before": before + parameters, "peak": resident_mib("VmHWM"), "cpu_s": took.cpu_s}


def resident_mib(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise SystemExit("This benchmark reads the peak of its memory from /proc, which Linux has.")
    return int(found[1]) / 1024


def row(name: str, folder: Path, find_faces: bool) -> tuple[str, ...]:
    """Measure a row in a process of its own."""
    words = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
    done = subprocess.run(words + ["--find-faces"] * find_faces, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    above = found["peak"] - found["before"]
    return (name, f"{found['before']:.0f}", f"{found['peak']:.0f}", f"{above:.0f}", f"{found['cpu_s']:.0f} s")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=LONGEST_FRAMES)
    parser.add_argument("--find-faces", action="store_true", help="in every row of stand-ins; takes minutes more")
    parser.add_argument(
        "--row", action="append", choices=(*STAND_INS, FACE, SOUND, ALL), help="all of them if none is named"
    )
    parser.add_argument("--video", type=Path, help="whose pictures are shown; one of the demonstration corpus else")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.measure:
        print(json.dumps(measure(asked)))
        return
    names = asked.row or [*STAND_INS, FACE, SOUND, ALL]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = Workplace.at(folder, [FACE])
        put_faces(place, place.add(long_film(folder, asked.video, asked.frames)))
        rows = [row(name, folder, asked.find_faces) for name in track(names, "processes", transient=True)]
    print(f"{asked.frames} frames; stand-ins embed them, the last rows excepted. The bar is {BAR_MIB} MiB above.")
    print_table(("what runs", "before, MiB", "peak, MiB", "above, MiB", "processor"), rows)


if __name__ == "__main__":
    main()
