"""What many short videos cost beside their networks: `affstore add` of hundreds, on Dask and in threads.

- dask: 598 films of two seconds on two worker processes; how much longer the command takes than the extraction of all
  films, by their records, spread over the workers. The bar is 1.10.
- threads: 300 films of one second; how many seconds a film passes beside that. The bar is 0.15.

Each film is a piece of a real clip with one face. The faces are found, followed and embedded by B0, untrained, on
OpenVINO in float32. Whatever a command does beside is counted: its start, digests, ingest, records, commits, report.
Not counted is what a machine does once: a film was taken in before, so that the networks are converted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
from bench.arguments import parser_of
from bench.clocks import spent
from bench.command import affstore
from bench.real_clips import Pixels

from affstore import FeatureStore
from affstore.flows.commands.options import print_table
from affstore.models.demo.film import Pictures, write_film
from affstore.models.media.video import frames, probe
from affstore.store.contract.clock import FrameClock

NETWORK = ("-e", "emotieffnet_b0", "--weights", "untrained", "--engine", "openvino", "--precision", "float32")
CLIP = "face_video/WolfgangLanger_Pexels.mp4"
RATE_HZ, SIZE_PX = 25, (320, 180)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Films to be taken in by one command.

    Attributes:
        runner: that the command is given.
        videos: how many films.
        frames: of each.
    """

    runner: str
    videos: int
    frames: int


CORPORA = {"dask": Corpus("dask", 598, 50), "threads": Corpus("threads", 300, 25)}


def write(folder: Path, clip: Path, corpus: Corpus) -> None:
    """The films, each another piece of the clip, played to and fro."""
    shown = [cv2.resize(one, SIZE_PX, interpolation=cv2.INTER_AREA) for one in islice(frames(clip, probe(clip)), 75)]
    clock = FrameClock.uniform(RATE_HZ, corpus.frames)
    folder.mkdir(parents=True)
    for number in range(corpus.videos):
        first = number % (2 * len(shown) - 2)
        pictures = (one.copy() for one in islice(cycle([*shown, *shown[-2:0:-1]]), first, first + corpus.frames))
        film = folder / f"film{number:03d}.mp4"
        write_film(film, Pictures(numbered(pictures, number), SIZE_PX, clock), None)


def numbered(pictures: Iterator[Pixels], number: int) -> Iterator[Pixels]:
    """Pictures with a number as dark and bright squares in their corner, so that no two films are the same."""
    for picture in pictures:
        for bit in range(10):
            picture[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
        yield picture


def add(films: Path, store: Path, *runner: str) -> None:
    """Take films in.

    Raises:
        SystemExit: the command failed.
    """
    affstore("add", films, "--store", store, *NETWORK, *runner)


def row(folder: Path, name: str, corpus: Corpus, workers: int) -> tuple[str, ...]:
    """One command, and what its films' extraction took by their records.

    Raises:
        SystemExit: it failed, or a film has no face.
    """
    store = folder / f"{name}.store"
    runner = ("--runner", corpus.runner, "--workers", str(workers))
    add(next((folder / name).iterdir()), folder / f"{name}.first.store", *runner)
    took = spent(lambda: add(folder / name, store, *runner))
    faces = FeatureStore(str(store)).records("face")
    if len(faces) != corpus.videos:
        raise SystemExit(f"{len(faces)} of {corpus.videos} films have a face.")
    own_s = sum(float(one.made["elapsed_s"]) for one in faces) / workers
    return (
        corpus.runner,
        f"{corpus.videos} x {corpus.frames / RATE_HZ:g} s",
        f"{took.wall_s:.1f} s",
        f"{own_s:.1f} s",
        f"{took.wall_s / own_s:.2f}",
        f"{(took.wall_s - own_s) / corpus.videos:.3f} s",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media")
    parser.add_argument("--table", choices=tuple(CORPORA), help="all else")
    parser.add_argument("--videos", type=int, help="so many films instead")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.setdefault("AFFSTORE_WEIGHTS", str(folder / "weights"))
        for name, whole in CORPORA.items():
            if asked.table in (None, name):
                corpus = Corpus(whole.runner, asked.videos or whole.videos, whole.frames)
                write(folder / name, asked.media / CLIP, corpus)
                rows.append(row(folder, name, corpus, asked.workers))
    print_table(
        ("runner", "films", "command", "extraction, a worker", "ratio", "beside it, a film"),
        rows,
        f"Short videos, {asked.workers} workers; bars: 1.10 on Dask, 0.15 s in threads",
    )


if __name__ == "__main__":
    main()
