"""Raw video on one core: from the file to a committed store, beside the sum of its parts, each measured alone.

The parts are decoding to RGB, finding and following the faces, and B0's bare forward pass on as many crops as the film
has frames with a face, times the faces in each. Films are made of real clips, enlarged and played to and fro: one face
at 1280x720 and at 1920x1080, and two faces side by side at 1280x720. The last column is what the bar for raw video is
stated for: frames a second beside B0's own faces a second.

The weights are the reference files' where there are some, else untrained; the engine is the one a run would choose,
unless it is named.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from bench.arguments import parser_of
from bench.clocks import spent
from bench.real_clips import Pixels
from bench.workplace import Workplace

from affstore.flows.commands.options import print_table
from affstore.models.demo.film import Pictures, write_film
from affstore.models.extractors.base import FaceExtractor
from affstore.models.extractors.registry import build_face
from affstore.models.face_pass import TrackedFaces
from affstore.models.faces.crops import cut, resized
from affstore.models.faces.specs import TrackingSpec
from affstore.models.media.video import frames, probe
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AffstoreError
from affstore.tasks.extract import networks

NETWORK = "emotieffnet_b0"
FILMS = {
    "1280x720, one face": ((1280, 720), ("WolfgangLanger_Pexels.mp4",)),
    "1920x1080, one face": ((1920, 1080), ("WolfgangLanger_Pexels.mp4",)),
    "1280x720, two faces": ((1280, 720), ("1.mp4", "2.mp4")),
}
RATE_HZ = 25


def film_of(path: Path, clips: Sequence[Path], size_px: tuple[int, int], length: int) -> Path:
    """Clips side by side, each cut to its part of the picture, played to and fro until they are long enough."""
    width, height = size_px[0] // len(clips), size_px[1]
    sides = [to_and_fro(clip) for clip in clips]
    pictures = (np.concatenate([filled(side, width, height) for side in both], axis=1) for both in zip(*sides))  # noqa: B905
    write_film(path, Pictures(islice(pictures, length), size_px, FrameClock.uniform(RATE_HZ, length)), None)
    return path


def to_and_fro(clip: Path) -> Iterator[Pixels]:
    """The pictures of a clip, without end."""
    shown = [picture.copy() for picture in frames(clip, probe(clip))]
    return cycle([*shown, *shown[-2:0:-1]])


def filled(picture: Pixels, width: int, height: int) -> Pixels:
    """The middle of a picture, as large as it fills a rectangle."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size_px = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    large = cv2.resize(picture, size_px, interpolation=cv2.INTER_CUBIC)
    left, top = (size_px[0] - width) // 2, (size_px[1] - height) // 2
    return np.asarray(large[top : top + height, left : left + width], np.uint8)


def typical_s(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of the median round."""
    return median(spent(work).cpu_s for _ in range(rounds))


def row(place: Workplace, film: Path, rounds: int) -> tuple[str, ...]:
    """A film's parts, their sum, and the whole; milliseconds of processor a frame."""
    place.add(film)
    job, facts = place.job(film.stem), probe(film)
    detector = networks.detector(place.profile.detector, "cpu")
    weights = WeightsFolder(place.context.weights)
    network = build_face(place.profile.faces[0], weights.load(place.profile.faces[0].weights.sha256))
    pictures = [picture.copy() for picture in frames(film, facts)]

    def found() -> list[Pixels]:
        tracked = TrackedFaces(detector, TrackingSpec())
        return [
            resized(cut(pictures[face.frame], face.box), network.spec.size_px)
            for index, picture in enumerate(pictures)
            for face in tracked.faces(index, picture)
            if face.box is not None
        ]

    crops, count = found(), len(pictures)
    embed(network, crops[: network.batch])
    parts_s = [
        typical_s(lambda: sum(1 for _ in frames(film, facts)), rounds),
        typical_s(found, rounds),
        typical_s(lambda: embed(network, crops), rounds),
    ]

    def whole() -> None:
        outcome = place.extract(job)
        if outcome.status != "done" or outcome.draft is None:
            raise AffstoreError(f"'{outcome.subject}' is {outcome.status}: {outcome.reason}")

    whole()
    whole_s = typical_s(whole, rounds)
    place.commit(place.extract(job))
    bare = len(crops) / parts_s[2]
    return (
        *(f"{1000 * part / count:.1f}" for part in (*parts_s, sum(parts_s), whole_s)),
        f"{sum(parts_s) / whole_s:.2f}",
        f"{count / whole_s:.1f}",
        f"{bare:.0f}",
        f"{count / whole_s / bare:.2f}",
    )


def embed(network: FaceExtractor, crops: Sequence[Pixels]) -> None:
    """A bare forward pass, batch by batch."""
    for first in range(0, len(crops), network.batch):
        network.embed(np.stack(crops[first : first + network.batch]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", "reference", "engine", "precision", rounds=3)
    parser.add_argument("--frames", type=int, default=300)
    asked = parser.parse_args(arguments)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # before any engine asks how many there are
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            place = Workplace.at(folder, [NETWORK], asked.reference, asked.engine, asked.precision)
            rows = []
            for number, (name, (size_px, clips)) in enumerate(FILMS.items()):
                paths = [asked.media / "face_video" / clip for clip in clips]
                film = film_of(folder / f"film{number}.mp4", paths, size_px, asked.frames)
                rows.append((name, *row(place, film, asked.rounds)))
    finally:
        os.sched_setaffinity(0, cores)
    spec, detector = place.profile.faces[0], place.profile.detector
    print_table(
        (
            "film",
            "decode ms",
            "faces ms",
            "B0 ms",
            "sum ms",
            "whole ms",
            "sum/whole",
            "frames/s",
            "B0 faces/s",
            "ratio",
        ),
        rows,
        f"Raw video, one core; B0 on {spec.engine} {spec.precision}, faces on {detector.engine}; {asked.rounds} rounds",
    )


if __name__ == "__main__":
    main()
