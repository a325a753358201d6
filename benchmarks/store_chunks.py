"""Chunk rows and codec of `(frames, 1280)` float32 embeddings, chosen by measurement (docs/adr/0003).

For every pair of chunk rows and codec a store is made and used as runs and training use it; each use is timed beside
`np.memmap` of the same numbers in the same round:

- write: whole videos, one draft and one commit each;
- windows: every window of 300 frames once, in random order, by `FrameWindows`, 32 at once: an epoch. `first` is one of
  a new reader, `next` its second one, `disk` a first one after the kernel was asked to forget the files;
- all: every video from its first row to its last, as a head's training set is read.

The numbers are embeddings by an untrained EmotiEffNet of the faces of real pictures (the demonstration corpus, or the
videos given), played to and fro with 0.1 % of noise until they are as long as wanted. Ratios are to be compared:
seconds depend on the machine and on what else it does.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.files import files_of, forget
from bench.workplace import Workplace
from numpy.typing import NDArray
from rich.progress import track
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from affstore import FeatureStore, FrameWindows
from affstore.flows.commands.options import print_table
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.store.contract import schema
from affstore.store.contract.records import Address, Artifact
from affstore.store.contract.windows import WindowSpec, window_starts
from affstore.store.engine import draft
from affstore.testing.artifacts import source

EXTRACTOR = "emotieffnet_b0"
WHOLE = 1 << 30
"""More rows than any video has."""
CHUNKS = (128, 256, 512, 1024, 2048, WHOLE)
CHECKSUM = Crc32cCodec()
CODECS: dict[str, tuple[int, list[Any]]] = {
    "none, no checksum": (0, []),
    "none, blocks of 8": (8, []),
    "none, blocks of 16": (16, []),
    "none, blocks of 32": (32, []),
    "none, blocks of 64": (64, []),
    "zstd 3": (0, [ZstdCodec(level=3), CHECKSUM]),
    "blosc zstd 3, bits": (0, [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), CHECKSUM]),
    "blosc lz4, bits": (0, [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), CHECKSUM]),
}
"""Rows of a block with its own checksum (0: whole chunks only), and how a chunk is packed. The first is layout 1."""
NOISE = 1e-3
BATCH = 32

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Round:
    """One candidate in one round.

    Attributes:
        stored_bytes: of the chunks.
        objects: files written for the embeddings and their records.
        store: what each use took.
        memmap: the same uses of memory maps, without the write.
    """

    stored_bytes: int
    objects: int
    store: Mapping[str, Spent]
    memmap: Mapping[str, Spent]


class Maps:
    """The same numbers as plain files: what a window costs when nothing is done but copying it."""

    def __init__(self, paths: Sequence[Path], width: int, spec: WindowSpec) -> None:
        self._rows = [np.memmap(path, np.float32, "r").reshape(-1, width) for path in paths]
        self._length = spec.length
        self._starts = [
            (video, int(start)) for video, rows in enumerate(self._rows) for start in window_starts(spec, len(rows))
        ]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitems__(self, indexes: Sequence[int]) -> list[Rows]:
        """Copies of these windows; see `FrameWindows`."""
        places = [self._starts[index] for index in indexes]
        return [np.array(self._rows[video][start : start + self._length]) for video, start in places]

    def read_all(self) -> None:
        """Copy every video, one after the other."""
        for rows in self._rows:
            np.array(rows)


@contextmanager
def schema_with(chunk: int, codec: str) -> Iterator[None]:
    """The store as it is, but for the chunks and the codec of visual embeddings."""
    whole, (block, packed) = schema._schema(), CODECS[codec]
    visual = whole.families["visual"]
    embedding = replace(visual.arrays["embedding"], chunk=chunk, block=block, codec=codec)
    families = {**whole.families, "visual": replace(visual, arrays={**visual.arrays, "embedding": embedding})}
    changed = whole._replace(families=families)
    with patch.object(schema, "_schema", lambda: changed), patch.dict(draft._CODECS, {codec: packed}):
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


def measured(folder: Path, films: Sequence[Rows], maps: Sequence[Path]) -> Round:
    """Write the films into a new store at `folder`, and read them back in every way."""
    url = FeatureStore.create(str(folder)).url
    put(url, [source(f"v{place}", len(film)) for place, film in enumerate(films)])
    before = len(files_of(folder))
    write = spent(lambda: [put(url, [artifact(f"v{place}", film)]) for place, film in enumerate(films)])
    written = [path.stat().st_size for path in files_of(folder / "chunks")]
    objects = len(files_of(folder)) - before
    store = FeatureStore(url)
    records = store.records("visual")
    spec = WindowSpec()

    def windows() -> FrameWindows:
        return FrameWindows(FeatureStore(url), records, spec)

    def mapped() -> Maps:
        return Maps(maps, films[0].shape[1], spec)

    forget(files_of(folder))
    disk = epoch(windows())
    reader = windows()
    everything = spent(lambda: [len(store.read(record.address, ["embedding"])) for record in records])
    of_store = {"write": write, "disk": disk, "first": epoch(reader), "next": epoch(reader), "all": everything}
    forget(maps)
    disk, plain = epoch(mapped()), mapped()
    of_maps = {"disk": disk, "first": epoch(plain), "next": epoch(plain), "all": spent(plain.read_all)}
    return Round(sum(written), objects, of_store, of_maps)


def epoch(windows: FrameWindows | Maps) -> Spent:
    """Read every window once, in one random order."""
    return spent(lambda: read_windows(windows, np.random.default_rng(0).permutation(len(windows)).tolist(), BATCH))


def read_windows(windows: FrameWindows | Maps, order: Sequence[int], batch: int) -> None:
    """Read these windows, so many at once, and keep none longer than training does."""
    for begin in range(0, len(order), batch):
        windows.__getitems__(order[begin : begin + batch])


def put(url: str, artifacts: Sequence[Artifact]) -> None:
    store = FeatureStore(url)
    written = store.draft({}, "benchmark")
    for each in artifacts:
        written.put(each)
    store.commit([written], "benchmark")


def experiment_from_file(chunk: int, codec: str, rounds: Sequence[Round], films: Sequence[Rows]) -> tuple[str, ...]:
    megabytes = sum(film.nbytes for film in films) / 1e6
    stored_mb = rounds[0].stored_bytes / 1e6
    chunks = sum(-(-len(film) // chunk) for film in films)
    windows = sum(len(window_starts(WindowSpec(), len(film))) for film in films)

    def window_ms(use: str) -> str:
        took = typical(one.store[use] for one in rounds)
        ratio = median(one.memmap[use].wall_s / one.store[use].wall_s for one in rounds)
        return f"{1000 * took.wall_s / windows:.1f} ({1000 * took.cpu_s / windows:.1f}) {ratio:.2f}"

    def rate(use: str) -> str:
        took = typical(one.store[use] for one in rounds)
        return f"{megabytes / took.wall_s:.0f} ({megabytes / took.cpu_s:.0f})"

    return (
        "whole" if chunk == WHOLE else str(chunk),
        codec,
        f"{stored_mb / megabytes:.3f}",
        f"{stored_mb / chunks:.1f}",
        f"{rounds[0].objects / len(films):.0f}",
        rate("write"),
        window_ms("disk"),
        window_ms("first"),
        window_ms("next"),
        rate("all"),
        f"{median(one.memmap['all'].wall_s / one.store['all'].wall_s for one in rounds):.2f}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--video", type=Path, action="append", default=[], help="a real video with a face")
    parser.add_argument("--videos", type=int, default=4, help="how many videos a store gets")
    parser.add_argument("--frames", type=int, default=5200, help="of each; the mean of Aff-Wild2")
    parser.add_argument("--chunk", type=int, action="append", help="rows; several may be given")
    parser.add_argument("--codec", choices=CODECS, action="append", help="several may be given")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = embeddings(folder, asked.video)
        films = [film_of(rows, asked.frames, seed) for seed in range(asked.videos)]
        maps = [folder / f"{place}.f32" for place in range(asked.videos)]
        for path, film in zip(maps, films, strict=True):
            film.tofile(path)
        found: dict[tuple[int, str], list[Round]] = defaultdict(list)
        todo = product(range(asked.rounds), asked.chunk or CHUNKS, asked.codec or CODECS)
        for _, chunk, codec in track(list(todo), "stores", transient=True):
            with schema_with(chunk, codec), tempfile.TemporaryDirectory(dir=folder) as store:
                found[chunk, codec].append(measured(Path(store) / "store", films, maps))
    print(
        f"{len(rows)} real rows played on as {asked.videos} videos of {asked.frames} frames; medians of {asked.rounds}."
    )
    print("Rates and windows: wall (processor); the third figure of a window is memmap's wall time / the store's.")
    head = ("chunk", "codec", "size/raw", "chunk MB", "objects/video", "write MB/s")
    head += ("disk: ms", "first: ms", "next: ms", "all MB/s", "all: memmap/store")
    print_table(head, [experiment_from_file(chunk, codec, rounds, films) for (chunk, codec), rounds in found.items()])


if __name__ == "__main__":
    main()
