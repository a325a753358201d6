"""What extraction costs beside its network: faces a second of all that a run does, over those of the bare network.

- crops: a film of face crops whose faces are in the store. One side decodes, cuts, embeds, writes and commits it, as a
  run does for an extractor that is new; the other calls `network.embed` on the same crops, which are in memory. With
  one worker, and with two that have a film each; a forward pass has one thread on both sides, as in a run.
- raw: the same for a video whose faces have to be found first.

The films are made from the demonstration corpus, or from the videos given. Both sides are timed in turn, several times;
a ratio is the median of the rounds' ratios. The shares say what each step takes by itself, on one thread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
from bench.clocks import Spent, spent, typical
from bench.workplace import Workplace
from numpy.typing import NDArray
from rich.progress import track

from flows.commands.options import print_table
from models.demo.corpus import CorpusSpec, write_corpus
from models.demo.film import Pictures, write_film
from models.extraction import TrackedFaces
from models.extractors.base import FaceExtractor
from models.faces.crops import crop
from models.media.video import frames, probe
from store.contract.clock import FrameClock
from store.contract.keys import digest_file
from store.contract.records import Artifact, Record
from tasks.networks import detector, face_network
from tasks.planning import VideoJob

EXTRACTOR = "emotieffnet_b0"
TAKES = ("4-30-384x288", "130-25-320x240")
SIDE_PX = 224
MARGIN = 0.3
"""Of a face's side, kept around it: MTCNN knows a face by its surroundings too."""
CROPS_A_CALL = 64
"""As many as a run gathers before it embeds them."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared.

    Attributes:
        name: in the table.
        jobs: of the whole, a worker each.
        crops: for the bare network, a worker each.
    """

    name: str
    jobs: tuple[VideoJob, ...]
    crops: tuple[Pixels, ...]

    @property
    def faces(self) -> int:
        """How many are embedded, by either side."""
        return sum(len(crops) for crops in self.crops)


@dataclass(frozen=True, slots=True)
class Shop:
    """A workplace and the one network that works there."""

    place: Workplace
    network: FaceExtractor

    @classmethod
    def at(cls, folder: Path) -> Shop:
        """An empty store, and the network as tasks build it."""
        place = Workplace.at(folder, [EXTRACTOR])
        return cls(place, face_network(place.profile.faces[0], place.bench.weights, place.bench.device))

    def whole(self, case: Case) -> None:
        """Do the case's jobs, and commit what they wrote."""
        with ThreadPoolExecutor(len(case.jobs)) as workers:
            for outcome in workers.map(self.place.extract, case.jobs):
                if outcome.status != "done":
                    raise SystemExit(f"'{outcome.subject}' is {outcome.status}: {outcome.reason}")
                self.place.commit(outcome)

    def bare(self, case: Case) -> None:
        """Embed the case's crops."""
        with ThreadPoolExecutor(len(case.crops)) as workers:
            list(workers.map(self._embed, case.crops))

    def _embed(self, crops: Pixels) -> None:
        for start in range(0, len(crops), CROPS_A_CALL):
            self.network.embed(crops[start : start + CROPS_A_CALL])

    def take_in(self, path: Path) -> Record:
        """Add a video and find its faces."""
        source = self.place.add(path)
        self.place.commit(self.place.extract(self.place.job(path.stem)))
        return source

    def crops_of(self, path: Path, margin: float = 0.0) -> Pixels:
        """`(faces, 224, 224, 3)`: every face of a video that was taken in, as its network sees it."""
        store = self.place.store()
        faces = [record for record in store.records("face") if record.address.video == path.stem]
        tracks = [store.read(record.address) for record in faces]
        pictures = enumerate(frames(path, probe(path)))
        found = [
            crop(picture, widened(track["box"][index], margin), SIDE_PX)
            for index, picture in pictures
            for track in tracks
            if track["present"][index]
        ]
        if not found:
            raise SystemExit(f"No face is found in '{path}'. Give a video that shows one.")
        return np.stack(found)


def widened(box: NDArray[np.float32], margin: float) -> NDArray[np.float32]:
    by = margin * (box[2:] - box[:2])
    return np.concatenate([box[:2] - by, box[2:] + by])


def crop_film(shop: Shop, folder: Path, path: Path, length: int) -> Path:
    """A film of a video's faces, played to and fro until it is long enough."""
    shown = shop.crops_of(path, MARGIN)
    reel = islice(cycle([*shown, *shown[-2:0:-1]]), length)
    film = folder / f"crops-{path.stem}.mp4"
    write_film(film, Pictures(reel, (SIDE_PX, SIDE_PX), FrameClock.uniform(25, length)), None)
    return film


def cases(shop: Shop, folder: Path, videos: Sequence[Path], length: int) -> list[Case]:
    for path in videos:
        shop.take_in(path)
    films = [crop_film(shop, folder, path, length) for path in videos]
    for path in films:
        shop.take_in(path)
    crops = [shop.crops_of(path) for path in films]
    again = [shop.place.again(path.stem) for path in films]
    found = [Case("crops, one worker", (again[0],), (crops[0],))]
    if len(again) > 1:
        found.append(Case(f"crops, {len(again)} workers", tuple(again), tuple(crops)))
    for path in videos:
        job = replace(shop.place.again(path.stem), find_faces=True)
        found.append(Case(f"raw, {path.stem}", (job,), (shop.crops_of(path),)))
    return found


def steps(shop: Shop, path: Path, job: VideoJob) -> dict[str, Spent]:
    """What each step of a job takes by itself."""
    facts, place = probe(path), shop.place
    pictures = list(frames(path, facts))
    store = place.store()
    face = next(record for record in store.records("face") if record.address.video == job.video)
    boxes, present = (store.read(face.address)[name] for name in ("box", "present"))
    at = np.flatnonzero(present)
    took = {"digest of the file": spent(lambda: digest_file(path))}
    took["decode"] = spent(lambda: [None for _ in frames(path, facts)])
    if job.find_faces:
        finding = TrackedFaces(detector(place.profile.detector, place.bench.device), place.profile.tracking)
        took["find faces"] = spent(lambda: [finding.faces(*each) for each in enumerate(pictures)])
    crops = np.stack([crop(pictures[index], boxes[index], SIDE_PX) for index in at])
    took["cut crops"] = spent(lambda: [crop(pictures[index], boxes[index], SIDE_PX) for index in at])
    took["embed"] = spent(lambda: shop._embed(crops))
    return took | {"write and commit": spent(lambda: rewrite(place, job.video))}


def rewrite(place: Workplace, video: str) -> None:
    """Write a video's embedding once more."""
    store = place.store()
    record = next(record for record in store.records("visual") if record.address.video == video)
    draft = store.draft(place.bench.code, place.bench.run_id)
    arrays = store.read(record.address)
    draft.put(Artifact(record.address, record.recipe, arrays, record.attributes, record.parents, record.made))
    store.commit([draft], "benchmark")


def compare(shop: Shop, found: Sequence[Case], rounds: int) -> list[tuple[str, ...]]:
    """Both sides in turn; one row a case."""
    rows = []
    for case in track(found, "cases", transient=True):
        pairs = [(spent(lambda: shop.whole(case)), spent(lambda: shop.bare(case))) for _ in range(rounds)]  # noqa: B023
        whole, bare = typical(pair[0] for pair in pairs), typical(pair[1] for pair in pairs)
        ratios = [(bare.wall_s / whole.wall_s, bare.cpu_s / whole.cpu_s) for whole, bare in pairs]
        rates = [f"{case.faces / each:.1f}" for each in (whole.wall_s, bare.wall_s, whole.cpu_s, bare.cpu_s)]
        rows.append(
            (case.name, str(case.faces), *rates, *(f"{median(each):.2f}" for each in zip(*ratios, strict=True)))
        )
    return rows


def shares(took: Mapping[str, Spent], faces: int) -> list[tuple[str, ...]]:
    """One row a step."""
    everything = sum(one.cpu_s for one in took.values())
    return [
        (name, f"{1000 * one.wall_s / faces:.2f}", f"{1000 * one.cpu_s / faces:.2f}", f"{one.cpu_s / everything:.1%}")
        for name, one in took.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, action="append", help="two of the demonstration corpus if none is named")
    parser.add_argument("--frames", type=int, default=640, help="of each film of crops")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shop = Shop.at(folder)
        videos = asked.video or write_corpus(folder / "corpus", CorpusSpec(only=TAKES))
        found = cases(shop, folder, videos, asked.frames)
        rows = compare(shop, found, asked.rounds)
        head = ("case", "faces", "whole /s", "bare /s", "whole /s of cpu", "bare /s of cpu", "ratio", "ratio of cpu")
        print_table(head, rows, f"faces a second; {asked.rounds} rounds")
        for case in (found[0], found[-1]):
            took = steps(shop, Path(case.jobs[0].location), case.jobs[0])
            head = ("step", "ms a face", "ms of cpu", "share of cpu")
            print_table(head, shares(took, case.faces), f"\nsteps of '{case.name}', each by itself")


if __name__ == "__main__":
    main()
