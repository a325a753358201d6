"""A corpus of Aff-Wild2's shape through `affstore run` on Dask: 598 videos, 3,091,063 frames, 29 hours of sound.

`--shape` names a CSV with the columns `video` and `frames`. For each row a film of that many frames at 30 a second is
made, 64 px wide, with sound of the same length; and annotations of expressions, a line a frame. The films are cut from
one long one without being encoded anew, each at another place. The extractor is a real one that is cheap: Silero's
speech detection, untrained unless its weights are at hand. Then, each as a command that a user types:

- the whole run, on Dask with two worker processes;
- the same command again, with nothing to do;
- the same command with one video more, beside a process that does that video's extraction and nothing else: Python,
  torch, the network, the sound.

The store is then read whole: every video has its three artifacts, and as many rows as frames. `--keep FOLDER` keeps the
corpus and the store; `--videos` takes the first so many, `--share` a part of each one's frames.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from bench.arguments import parser_of
from bench.clocks import Spent, spent
from bench.command import affstore
from bench.files import folder_bytes, frame_counts

from affstore import FeatureStore
from affstore.flows.commands.options import print_table
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.store.contract.clock import FrameClock

RATE_HZ, SOUND_HZ, SIZE_PX = 30, 16_000, (64, 48)
EXTRACTOR = "silero_vad"
FAMILIES = ("source", "audio", "label")
KEYFRAMES = 12
MORE = 300
"""Frames of the one video more: ten seconds."""
_ONLY_EXTRACTION = f"""
import sys
from pathlib import Path

from affstore.flows.environment import prepare

prepare()
from affstore.models.extractors.registry import EXTRACTORS, build_sound, spec_of
from affstore.models.media.sound import read_sound

spec = spec_of("{EXTRACTOR}")
network = build_sound(spec, EXTRACTORS.get("{EXTRACTOR}").untrained(spec, 0), "cpu")
network.embed(read_sound(Path(sys.argv[1]), spec.rate_hz).samples)
"""
_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Films, their annotations, and the configuration that takes them in.

    Attributes:
        folder: of all of it.
        frames: by the videos' names.
    """

    folder: Path
    frames: dict[str, int]

    @property
    def store(self) -> str:
        """Where the store is."""
        return str(self.folder / "store")

    def write(self) -> None:
        """Make what is not there yet."""
        longest = max(MORE, *self.frames.values()) + KEYFRAMES * (len(self.frames) + 2)
        reel = self.folder / f"reel{longest}.avi"
        if not reel.is_file():
            write_film(reel, Pictures(pictures(longest), SIZE_PX, FrameClock.uniform(RATE_HZ, longest)), sound(longest))
        for number, (name, count) in enumerate(self.frames.items()):
            self.add(reel, name, count, number)
        config = {
            "store": "store",
            "sources": ["films", "annotations"],
            "weights": "untrained",
            "engine": "torch",
            "precision": "float32",
            "extractors": [EXTRACTOR],
            "runner": {"kind": "dask", "workers": 2},
        }
        (self.folder / "rehearsal.yaml").write_text(json.dumps(config), encoding="utf-8")

    def add(self, reel: Path, name: str, count: int, number: int) -> None:
        """One film and its annotation, unless they are there."""
        film = self.folder / "films" / f"{name}.mkv"
        if film.is_file():
            return
        film.parent.mkdir(exist_ok=True)
        piece(reel, film, number * KEYFRAMES, count)
        labels = self.folder / "annotations" / "EXPR_Recognition_Challenge" / "Train_Set" / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        codes = (np.arange(count) // 90 + number) % 8
        labels.write_text("\n".join([_HEADER, *map(str, codes)]) + "\n", encoding="ascii")

    def run(self) -> Spent:
        """`affstore run`, as a process of its own."""

        def command() -> None:
            said = affstore("run", self.folder / "rehearsal.yaml", "--json")
            (self.folder / "last_run.txt").write_text(said, encoding="utf-8")

        return spent(command)


def pictures(count: int) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A pattern that moves: no two pieces of it are the same."""
    width, height = SIZE_PX
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, 7 * width // 8, 3), np.uint8)
    wide = cv2.resize(coarse, (7 * width, height), interpolation=cv2.INTER_CUBIC)
    for index in range(count):
        left = (index * 5) % (6 * width)
        yield np.ascontiguousarray(wide[:, left : left + width])


def sound(count: int) -> Recording:
    """Noise that swells and falls."""
    samples = count * SOUND_HZ // RATE_HZ
    noise = np.random.default_rng(1).standard_normal(samples, np.float32)
    return Recording(0.1 * noise * np.abs(np.sin(np.arange(samples, dtype=np.float32) / 20_000)), SOUND_HZ)


def piece(reel: Path, film: Path, first: int, count: int) -> None:
    """A part of a film that begins at a key frame, with its sound; nothing is encoded anew."""
    part = film.with_suffix(".part")
    with av.open(str(reel)) as source, av.open(str(part), "w", format="matroska") as made:
        streams = {one.index: made.add_stream_from_template(one) for one in source.streams}
        begins_s, ends_s = first / RATE_HZ, (first + count) / RATE_HZ
        kept = 0
        for packet in source.demux():
            if packet.dts is None or packet.pts is None:
                continue
            at_s = float(packet.pts * packet.time_base) + 1e-6
            if at_s < begins_s:
                continue
            if at_s >= ends_s:
                if packet.stream.type == "video":
                    break
                continue
            offset = round(begins_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            kept += packet.stream.type == "video"
            packet.stream = streams[packet.stream.index]
            made.mux(packet)
    if kept != count:
        raise SystemExit(f"'{film.name}' has {kept} frames instead of {count}.")
    part.rename(film)


def extraction_s(store: FeatureStore) -> float:
    """What the networks took, by the records."""
    return sum(float(one.made["elapsed_s"]) for one in store.records("audio"))


def only_extraction(film: Path) -> Spent:
    """The extraction of a film in a process of its own, without a store."""
    command = [sys.executable, "-c", _ONLY_EXTRACTION, str(film)]
    return spent(lambda: subprocess.run(command, check=True))


def checked(store: FeatureStore, frames: dict[str, int]) -> tuple[int, int]:
    """Read every array of the store's embeddings and labels; how many rows and numbers the embeddings have.

    Raises:
        SystemExit: a video lacks an artifact, or has another number of rows than frames.
    """
    rows = numbers = 0
    for family in FAMILIES:
        found = {address.video: address for address in store.addresses(family)}
        if found.keys() != frames.keys():
            raise SystemExit(f"{len(found)} videos have a {family}, of {len(frames)}.")
        for video, address in found.items():
            for name, array in store.read(address).items():
                if family != "source" and len(array) != frames[video]:
                    raise SystemExit(f"'{address.path}' has {len(array)} rows of {name}; the film {frames[video]}.")
                if name == "embedding":
                    rows, numbers = rows + len(array), numbers + array.size
    return rows, numbers


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "shape")
    parser.add_argument("--videos", type=int, help="the first so many")
    parser.add_argument("--share", type=float, default=1.0, help="of each video's frames")
    parser.add_argument("--keep", type=Path, help="a folder for the corpus and the store")
    asked = parser.parse_args(arguments)
    shape = {name: max(30, round(count * asked.share)) for name, count in frame_counts(asked.shape).items()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["AFFSTORE_WEIGHTS"] = str(folder / "weights")
        corpus = Corpus(folder, dict(islice(shape.items(), asked.videos)))
        making = spent(corpus.write)
        whole = corpus.run()
        store = FeatureStore(corpus.store)
        networks_s, (rows, numbers) = extraction_s(store), checked(store, corpus.frames)
        again = corpus.run()
        (reel,) = folder.glob("reel*.avi")
        more = Corpus(folder, {**corpus.frames, "one-more": MORE})
        more.add(reel, "one-more", MORE, len(corpus.frames))
        one = more.run()
        own = only_extraction(folder / "films" / "one-more.mkv")
        store = store.newest()
        checked(store, more.frames)
        stored = folder_bytes(Path(corpus.store))
        table = [
            ("videos, frames", f"{len(corpus.frames)}, {rows:,}", ""),
            ("corpus made in", f"{making.wall_s:.0f} s", ""),
            ("whole run", f"{whole.wall_s:.0f} s", f"{rows / whole.wall_s:,.0f} frames/s"),
            ("  processor of it", f"{whole.cpu_s:.0f} s", f"networks by the records {networks_s:.0f} s"),
            ("nothing to do", f"{again.wall_s:.1f} s", "bar 10 s"),
            ("one video more", f"{one.wall_s:.1f} s", f"bar 5 s over its extraction alone, {own.wall_s:.1f} s"),
            ("commits", f"{len(store.history())}", ""),
            (
                "store",
                f"{stored / 1e6:.1f} MB",
                f"its embeddings as raw float32 {numbers * 4 / 1e6:.1f} MB, float16 {numbers * 2 / 1e6:.1f} MB",
            ),
        ]
        print_table(("what", "measured", "beside"), table, "A corpus of Aff-Wild2's shape, Dask with 2 processes")


if __name__ == "__main__":
    main()
