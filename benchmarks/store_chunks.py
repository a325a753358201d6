"""Chunk rows and codec of `(frames, 1280)` float32 embeddings, chosen by measurement (docs/adr/0003).

For every pair of chunk rows and codec a store is made, and three uses of it are timed, each beside `np.memmap` of the
same numbers in the same round:

- write: whole videos, one draft and one commit each, as a run does;
- windows: 300 frames at random places, by `FrameWindows`, as training does; `cold` asks the kernel first to forget the
  files, so that both sides read the disk;
- all: every video from its first row to its last, as a head's training set is read.

The numbers are embeddings by an untrained EmotiEffNet of the faces of real pictures (the demonstration corpus, or the
videos given), played to and fro with 0.1 % of noise until they are as long as wanted. Ratios compare; seconds depend on
the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from bench.clocks import Spent, spent
from bench.workplace import Workplace
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec

from flows.commands.options import print_table
from models.demo.corpus import CorpusSpec, write_corpus
from store import FeatureStore, FrameWindows
from store.contract import schema
from store.contract.records import Address, Artifact
from store.contract.windows import WindowSpec
from store.engine import draft

EXTRACTOR = "emotieffnet_b0"
WHOLE = 1 << 30
CHUNKS = (128, 256, 512, 1024, 2048, WHOLE)
CODECS: dict[str, Any] = {
    "none": None,
    "zstd 3": ZstdCodec(level=3),
    "blosc zstd 3, bits": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
    "blosc lz4, bits": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
}
NOISE = 1e-3

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Round:
    """One candidate in one round: what each use took, in the store and in a memory map."""

    stored_bytes: int
    objects: int
    write: Spent
    windows: tuple[Spent, Spent]
    cold: tuple[Spent, Spent]
    everything: tuple[Spent, Spent]


@contextmanager
def schema_with(chunk: int, codec: str) -> Iterator[None]:
    """The store as it is, but for the chunks and the codec of visual embeddings."""
    layout, families = schema.layout_version(), dict(schema.families())
    visual = families["visual"]
    arrays = {**visual.arrays, "embedding": replace(visual.arrays["embedding"], chunk=chunk, codec=codec)}
    families["visual"] = replace(visual, arrays=arrays)
    with patch.object(schema, "_schema", lambda: (layout, families)), patch.dict(draft._CODECS, CODECS):
        yield


def embeddings(folder: Path, videos: Sequence[Path]) -> Rows:
    """Embeddings of every frame of the videos that shows a face."""
    place = Workplace.at(folder / "real", [EXTRACTOR])
    for path in videos or write_corpus(folder / "corpus", CorpusSpec(only=("4-30-384x288", "video58"))):
        place.add(path)
        place.commit(place.extract(place.job(path.stem)))
    read = (place.store().read(record.address) for record in place.store().records("visual"))
    return np.concatenate([arrays["embedding"][arrays["present"]] for arrays in read])


def film_of(rows: Rows, frames: int, seed: int) -> Rows:
    """A video's worth of rows: played to and fro, so that there is no cut, and never twice the same bits."""
    there_and_back = np.concatenate([rows, rows[-2:0:-1]])
    film = there_and_back[np.arange(seed * 37, seed * 37 + frames) % len(there_and_back)]
    return film * (1 + NOISE * np.random.default_rng(seed).standard_normal(film.shape, np.float32))


def artifact(name: str, rows: Rows) -> Artifact:
    arrays = {"embedding": rows, "present": np.ones(len(rows), bool)}
    return Artifact(
        Address("visual", EXTRACTOR, name, "main"), {"of": name}, arrays, {"frames": len(rows), "classes": None}
    )


def source(name: str, frames: int) -> Artifact:
    pts = np.arange(frames, dtype=np.int64)
    attributes = dict.fromkeys(schema.family("source").attributes) | {"frames": frames}
    return Artifact(Address("source", video=name), {"of": name}, {"pts": pts, "time_s": pts / 25}, attributes)


def measured(folder: Path, films: Sequence[Rows], maps: Sequence[Path], windows: int) -> Round:
    """Write the films into a new store at `folder`, and read them back in every way."""
    url = FeatureStore.create(str(folder)).url
    put(url, [source(f"v{place}", len(film)) for place, film in enumerate(films)])
    before = sum(1 for _ in files_of(folder))
    write = spent(lambda: [put(url, [artifact(f"v{place}", film)]) for place, film in enumerate(films)])
    chunks = [path.stat().st_size for path in files_of(folder / "chunks")]
    store = FeatureStore(url)
    records = store.records("visual")
    reader = FrameWindows(store, records, WindowSpec())
    mapped = [np.memmap(path, np.float32, "r").reshape(-1, films[0].shape[1]) for path in maps]
    drawn = np.random.default_rng(0).integers(0, len(reader), windows)
    # What `reader` would give, from the maps: as many starts a video, in the same order.
    starts = [(video, int(start)) for video, found in enumerate(reader._starts) for start in found]

    def from_store() -> None:
        for index in drawn:
            reader[int(index)]

    def from_maps() -> None:
        for index in drawn:
            video, start = starts[index]
            np.array(mapped[video][start : start + reader.spec.length])

    from_store(), from_maps()
    warm = spent(from_store), spent(from_maps)
    cold = []
    for read, places in ((from_store, files_of(folder)), (from_maps, maps)):
        forget(places)
        cold.append(spent(read))
    everything = (
        spent(lambda: [store.read(record.address, ["embedding"]) for record in records]),
        spent(lambda: [np.array(rows) for rows in mapped]),
    )
    objects = sum(1 for _ in files_of(folder)) - before
    return Round(sum(chunks), objects, write, warm, (cold[0], cold[1]), everything)


def put(url: str, artifacts: Sequence[Artifact]) -> None:
    store = FeatureStore(url)
    written = store.draft({}, "benchmark")
    for each in artifacts:
        written.put(each)
    store.commit([written], "benchmark")


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def forget(paths: Iterator[Path] | Sequence[Path]) -> None:
    """Ask the kernel to drop these files from its cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def row_of(chunk: int, codec: str, rounds: Sequence[Round], films: Sequence[Rows], windows: int) -> tuple[str, ...]:
    megabytes = sum(film.nbytes for film in films) / 1e6
    chunks_of_a_film = -(-len(films[0]) // min(chunk, len(films[0])))
    stored_mb = rounds[0].stored_bytes / 1e6

    def ratio(name: str) -> str:
        return f"{median(getattr(one, name)[1].wall_s / getattr(one, name)[0].wall_s for one in rounds):.2f}"

    return (
        "whole" if chunk == WHOLE else str(chunk),
        codec,
        f"{stored_mb / megabytes:.2f}",
        f"{stored_mb / len(films) / chunks_of_a_film:.1f}",
        f"{rounds[0].objects / len(films):.0f}",
        f"{megabytes / median(one.write.wall_s for one in rounds):.0f}",
        f"{1000 * median(one.windows[0].wall_s for one in rounds) / windows:.1f}",
        ratio("windows"),
        ratio("cold"),
        f"{megabytes / median(one.everything[0].wall_s for one in rounds):.0f}",
        ratio("everything"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, action="append", default=[], help="a real video with a face")
    parser.add_argument("--videos", type=int, default=4, help="how many videos a store gets")
    parser.add_argument("--frames", type=int, default=5200, help="of each; the mean of Aff-Wild2")
    parser.add_argument("--windows", type=int, default=200, help="how many are read at random")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk", type=int, action="append", help="rows; several may be given")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = embeddings(folder, asked.video)
        films = [film_of(rows, asked.frames, seed) for seed in range(asked.videos)]
        maps = [folder / f"{place}.f32" for place in range(asked.videos)]
        for path, film in zip(maps, films, strict=True):
            film.tofile(path)
        candidates = [(chunk, codec) for chunk in asked.chunk or CHUNKS for codec in CODECS]
        found: dict[tuple[int, str], list[Round]] = {candidate: [] for candidate in candidates}
        for each in range(asked.rounds):
            for place, (chunk, codec) in enumerate(candidates):
                with schema_with(chunk, codec), tempfile.TemporaryDirectory(dir=folder) as store:
                    found[chunk, codec].append(measured(Path(store) / "s", films, maps, asked.windows))
                print(f"round {each + 1} of {asked.rounds}, {place + 1} of {len(candidates)}", end="\r", flush=True)
    print(f"{len(rows)} real rows played on as {asked.videos} videos of {asked.frames} frames; medians of {asked.rounds}")
    head = ("chunk", "codec", "size / raw", "chunk MB", "objects a video", "write MB/s", "window ms")
    head += ("windows / memmap", "cold / memmap", "all MB/s", "all / memmap")
    print_table(head, [row_of(chunk, codec, rounds, films, asked.windows) for (chunk, codec), rounds in found.items()])


if __name__ == "__main__":
    main()
