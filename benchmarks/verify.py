"""How fast `verify` reads a store, beside plain reading and SHA-256 of the same files in the same run.

Videos have the frame counts of Aff-Wild2 (../shared/corpus_shape, or its mean without) and eleven families: a source, a
face, four face networks, two of sound, three labels. Files are dropped from the page cache before each pass. What a
commit costs beside its bytes is told by a second store of many small artifacts.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.files import files_of, folder_bytes, forget, frame_counts
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import StorePath

from affstore import FeatureStore
from affstore.flows.commands.options import print_table
from affstore.store.contract.labels import TASKS, task_space
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.lineage.verify import verify
from affstore.testing.artifacts import CODE, source, visual

SHAPE = Path(__file__).resolve().parents[2] / "shared" / "corpus_shape" / "videos.csv"
_MEAN_FRAMES = 4_500
_WIDTHS = {"visual": (1280, 1280, 1408, 512), "audio": (768, 768)}
_BLOCK = 8 << 20
_AT_ONCE = 16


def spread(videos: int) -> list[int]:
    """As many videos' frames, spread over the corpus."""
    if not SHAPE.is_file():
        return [_MEAN_FRAMES] * videos
    frames = sorted(frame_counts(SHAPE).values())
    return [frames[(2 * number + 1) * len(frames) // (2 * videos)] for number in range(videos)]


def put_video(store: FeatureStore, video: str, frames: int) -> None:
    """Commit a video with all its families, as one commit."""
    rng, parent = np.random.default_rng(frames), source(video, frames)
    present = np.ones(frames, bool)
    draft = store.draft(CODE, "run")
    parents = (draft.put(parent).as_parent(),)

    def put(address: Address, arrays: dict[str, np.ndarray], **attributes: object) -> None:
        draft.put(Artifact(address, {"of": address.path}, arrays, {"frames": frames, **attributes}, parents))

    box = rng.random((frames, 4), np.float32)
    points = rng.random((frames, 5, 2), np.float32)
    score = rng.random(frames, np.float32)
    face = {"box": box, "landmark": points, "score": score, "present": present}
    put(Address("face", "mtcnn", video, "main"), face, prominent=True)
    for family, widths in _WIDTHS.items():
        for number, width in enumerate(widths):
            arrays = {"embedding": rng.standard_normal((frames, width), np.float32), "present": present}
            at = Address(family, f"network{number}", video, "main" if family == "visual" else "")
            put(at, arrays, **({"classes": None} if family == "visual" else {"vectors": frames, "complaint": None}))
    for task in TASKS:
        space = task_space(task)
        value = np.zeros((frames, space.columns), space.dtype)
        known = {"task": task, "labels": list(space.names), "split": "train", "location": "", "complaint": None}
        put(Address("label", task, video, "main"), {"value": value, "known": np.ones(value.shape, bool)}, **known)
    store.commit([draft], "extract: 1", {"run_id": "run"})


def passed(files: Sequence[Path], each: Callable[[bytes], object]) -> None:
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                each(block)


def through_the_engine(store: FeatureStore) -> int:
    """Take every chunk as the engine hands it out, and do nothing with it but count its bytes."""
    arrays = [array for address in store.addresses() for _, array in store.group(address).arrays()]
    chunks = [
        array.store_path / array.metadata.encode_chunk_key((number, *(0 for _ in array.shape[1:])))
        for array in arrays
        for number in range(-(-array.shape[0] // (array.shards or array.chunks)[0]))
    ]

    async def fetch() -> int:
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(chunk: StorePath) -> int:
            async with free:
                found = await chunk.get(default_buffer_prototype())
            return 0 if found is None else len(found)

        return sum(await asyncio.gather(*map(one, chunks)))

    return sync(fetch())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--videos", type=int, default=6, help="with arrays of real size")
    parser.add_argument("--frames", type=int, help="of every video, instead of the corpus's")
    parser.add_argument("--small", type=int, default=200, help="commits of a store of small artifacts")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        store = FeatureStore.create(str(folder))
        for number, frames in enumerate([asked.frames] * asked.videos if asked.frames else spread(asked.videos)):
            put_video(store.newest(), f"video{number}", frames)
        files, size = files_of(folder), folder_bytes(folder)
        ways: dict[str, Callable[[], object]] = {
            "plain reading": lambda: passed(files, len),
            "reading and SHA-256": lambda: passed(files, hashlib.sha256().update),
            "reading through the engine": lambda: through_the_engine(FeatureStore(str(folder))),
            "verify": lambda: verify(FeatureStore(str(folder))),
        }

        def cold(work: Callable[[], object]) -> Spent:
            forget(files)
            return spent(work)

        took = {name: typical(cold(work) for _ in range(asked.rounds)) for name, work in ways.items()}
        plain_s = took["plain reading"].wall_s
        rows = [
            (
                name,
                f"{one.wall_s:.2f} s",
                f"{one.cpu_s:.2f} s",
                f"{size / one.wall_s / 1e6:,.0f} MB/s",
                f"{plain_s / one.wall_s:.2f}",
            )
            for name, one in took.items()
        ]
        title = f"{asked.videos} videos × 11 families, {size / 1e6:,.0f} MB, median of {asked.rounds} rounds"
        print_table(("what", "wall", "processor", "rate", "of plain reading"), rows, title)
        small = FeatureStore.create(f"{temporary}/small")
        for number in range(asked.small):
            draft = small.newest().draft(CODE, "run")
            draft.put(source(f"v{number}", 8))
            for extractor in range(10):
                draft.put(visual(f"v{number}", 8, 4, extractor=f"e{extractor}"))
            small.commit([draft], "extract: 1")
        of_small = spent(lambda: verify(small.newest()))
        each = (
            f"{asked.small}",
            f"{11 * asked.small}",
            f"{of_small.wall_s:.2f} s",
            f"{of_small.cpu_s:.2f} s",
            f"{1e3 * of_small.wall_s / asked.small:.0f} ms",
        )
        print_table(("commits", "small artifacts", "wall", "processor", "a commit of eleven"), [each])


if __name__ == "__main__":
    main()
