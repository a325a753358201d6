"""Training from the store beside training from memory: the same work with and without what reads.

- an epoch of the papers' EXPR perceptron on so many rows of 1,280 numbers: from the store (`StoreFrames`), by the same
  loop on an array in memory, and by Keras' own `fit` on that array. Each is a process of its own, which trains an epoch
  to warm up; `peak` is its largest resident size, with all that it has imported.
- windows/s of the TCN and transformer in training from the store (`StoreSequences`), beside the bare training step on
  batches that lie in memory;
- windows of 300 frames in random order and one after the other by `FrameWindows`, a batch at once or each alone, beside
  copies from `np.memmap`. `disk`: after the kernel was asked to forget the files; `memory`: they are in its cache.

The numbers are random, of Aff-Wild2's amount: 585,317 rows need 7 GB of disk and, for the array, 4 GB of memory.
Ratios are to be compared: seconds depend on the machine and on what else it does. Linux only: peaks come from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.files import files_of, forget
from memory import resident_mib
from rich.progress import track
from store_chunks import BATCH, Maps, artifact, put, read_windows

from affstore import FeatureStore, FrameWindows
from affstore.flows.commands.options import print_table
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.heads.sequence.labelled_videos import LabelledVideos
from affstore.models.heads.sequence.spec import EXPR_SEQUENCE
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.labels import EXPR
from affstore.store.contract.windows import WindowSpec
from affstore.tasks.specs import Input
from affstore.tasks.training.examples import LabelledSubject
from affstore.tasks.training.frame_dataset import StoreFrames
from affstore.tasks.training.sequence_dataset import StoreSequences
from affstore.testing.artifacts import label, source

ROWS, WIDTH, VIDEO_FRAMES = 585_317, 1280, 5200
WAYS = ("store", "array", "keras")
INPUTS = (Input("emotieffnet_b0"),)
MOST_WINDOWS = 1000


def write(folder: Path, rows: int) -> list[Path]:
    """A store of labelled videos, and a plain file of each video's numbers."""
    url, maps = FeatureStore.create(str(folder / "store")).url, []
    for number, begin in enumerate(track(range(0, rows, VIDEO_FRAMES), "videos", transient=True)):
        name, frames, random = f"v{number}", min(VIDEO_FRAMES, rows - begin), np.random.default_rng(number)
        x = random.standard_normal((frames, WIDTH), np.float32)
        y = random.integers(0, 8, (frames, 1)).astype(np.int8)
        put(url, [source(name, frames), artifact(name, x), label(name, EXPR, y)])
        maps.append(folder / f"{number:05}.f32")
        x.tofile(maps[-1])
        y.tofile(maps[-1].with_suffix(".y"))
    return maps


def seen_in(store: FeatureStore) -> list[LabelledSubject]:
    features = {record.address.video: record for record in store.records("visual")}
    return [LabelledSubject(record, (features[record.address.video],)) for record in store.records("label")]


def in_memory(folder: Path) -> Examples:
    files = sorted(folder.glob("*.f32"))
    y = np.concatenate([np.fromfile(file.with_suffix(".y"), np.int8) for file in files])[:, None]
    x = np.empty((len(y), WIDTH), np.float32)
    begin = 0
    for file in files:
        part = np.fromfile(file, np.float32).reshape(-1, WIDTH)
        x[begin : begin + len(part)] = part
        begin += len(part)
    return Examples(x, y)


def measure(way: str, folder: Path, rounds: int) -> dict[str, object]:
    """In a process of its own: epochs of the perceptron."""
    os.environ |= {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }  # as `keras_mlp.fit` has it
    from affstore.models.heads.mlp.keras_network import build, on_device, row_weights
    from affstore.models.heads.mlp.training import MlpTraining

    spec = replace(EXPR_MLP, selection="last_epoch", epochs=1 + rounds)
    store = FeatureStore(str(folder / "store"))
    rows = StoreFrames(store, seen_in(store), INPUTS) if way == "store" else in_memory(folder)
    with on_device("cpu") as device:
        if isinstance(rows, StoreFrames) or way == "array":
            epoch: Callable[[], object] = MlpTraining(spec, (rows, None), TrainerOptions(), device)._epoch
        else:
            model, weights = build(spec, rows), row_weights(spec, rows.y)
            y = rows.y.astype(np.float32)

            def epoch() -> object:
                return model.fit(rows.x, y, spec.batch, sample_weight=weights, shuffle=True, verbose=0)

        took = [spent(epoch) for _ in range(1 + rounds)][1:]
    return {"took": [(one.wall_s, one.cpu_s) for one in took], "peak": resident_mib("VmHWM")}


def perceptrons(folder: Path, rows: int, rounds: int) -> None:
    took: dict[str, list[Spent]] = {way: [] for way in WAYS}
    peaks: dict[str, float] = {}
    for way in track(WAYS * rounds, "epochs", transient=True):
        words = [sys.executable, __file__, "--measure", way, "--folder", str(folder)]
        done = json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
        took[way] += [Spent(*one) for one in done["took"]]
        peaks[way] = max(done["peak"], peaks.get(way, 0))
    print(f"An epoch of the EXPR perceptron on {rows} x {WIDTH}; bars: 1.3 beside an array, a peak of 4096 MiB.")
    named = {"store": "from the store", "array": "the same loop on an array", "keras": "Keras' fit on an array"}
    table = [
        (
            named[way],
            str(typical(took[way])),
            *(beside(took["store"], took[way]) if way != "store" else ("", "")),
            f"{peaks[way]:.0f}",
        )
        for way in WAYS
    ]
    print_table(("perceptron", "an epoch", "store / this, wall", "processor", "peak, MiB"), table)


def beside(ours: Sequence[Spent], theirs: Sequence[Spent]) -> tuple[str, str]:
    """Ratios of wall and processor time, round by round."""
    pairs = list(zip(ours, theirs, strict=True))
    wall = median(our.wall_s / their.wall_s for our, their in pairs)
    processor = median(our.cpu_s / max(their.cpu_s, 1e-9) for our, their in pairs)
    return f"{wall:.2f}", f"{processor:.2f}"


def sequences(folder: Path, steps: int, rounds: int, layers: int) -> None:
    """Whole epochs of `steps` batches, and the same batches from memory."""
    from affstore.models.heads.sequence.training import Training
    from affstore.models.heads.sequence.windows import one_thread

    spec = replace(EXPR_SEQUENCE, selection="last_epoch", epochs=2 + rounds, evaluations=1, standardise=False)
    spec = replace(spec, encoder=replace(spec.encoder, layers=layers))
    store = FeatureStore(str(folder / "store"))
    a_video = (VIDEO_FRAMES - spec.window.length) // spec.window.stride + 2
    seen = seen_in(store)[: max(1, -(-steps * spec.batch // a_video))]
    with one_thread():
        training = Training(
            spec, LabelledVideos.of("expr", StoreSequences(store, seen, INPUTS), "training"), None, TrainerOptions()
        )
        training.windows = training.windows[: steps * spec.batch]
        order = np.arange(len(training.windows))
        batches = list(training._read([order[i : i + spec.batch] for i in range(0, len(order), spec.batch)]))
        read, bare = [], []
        training._epoch()  # the first steps of a process are slower
        for _ in track(range(rounds), "steps", transient=True):
            read.append(spent(training._epoch))
            bare.append(spent(lambda: [training._step(*batch) for batch in batches]))
            training.progress.loss, training.progress.frames = 0.0, 0
    rate = [len(order) / typical(one).wall_s for one in (read, bare)]
    ratio = median(plain.wall_s / ours.wall_s for ours, plain in zip(read, bare, strict=True))
    print(f"\nTCN and transformer, {layers} layers, on the CPU: {len(batches)} steps; bar: 0.9 of the bare step.")
    row = (f"{rate[0]:.2f}", f"{rate[1]:.2f}", f"{ratio:.3f}")
    print_table(("from the store, windows/s", "bare step, windows/s", "store / bare"), [row])


def windows(folder: Path, maps: Sequence[Path], rounds: int) -> None:
    store = FeatureStore(str(folder / "store"))
    records = sorted(store.records("visual"), key=lambda record: int(record.address.video[1:]))
    took: dict[tuple[str, int, str], tuple[list[Spent], list[Spent]]] = {}
    readers: list[Callable[[], FrameWindows | Maps]] = [
        lambda: FrameWindows(FeatureStore(store.url), records),
        lambda: Maps(maps, WIDTH, WindowSpec()),
    ]
    for make in readers:  # what the first window imports is not counted
        read_windows(make(), [0], 1)
    ways = list(product(("random", "in order"), (BATCH, 1), ("disk", "memory")))
    for order, batch, place in track(ways * rounds, "windows", transient=True):
        both = took.setdefault((order, batch, place), ([], []))
        for found, make in zip(both, readers, strict=True):
            if place == "disk":
                forget([*files_of(folder / "store"), *maps])  # nothing has them mapped
            reader = make()
            indexes = ordered(order, len(reader))
            if place == "memory":
                read_windows(reader, indexes, batch)
            found.append(spent(lambda one=reader, them=indexes, most=batch: read_windows(one, them, most)))
            del reader
    count = min(MOST_WINDOWS, len(readers[1]()))
    print(f"\n{count} windows of {WindowSpec().length} frames; bar: 0.5 of np.memmap.")
    rows = []
    for (order, batch, place), (ours, theirs) in took.items():
        ms = [f"{1000 * typical(one).wall_s / count:.2f}" for one in (ours, theirs)]
        rows.append((order, str(batch), place, *ms, *beside(theirs, ours)))
    head = ("windows", "at once", "from", "store, ms", "memmap, ms", "memmap / store, wall", "processor")
    print_table(head, rows)


def ordered(order: str, windows: int) -> list[int]:
    """The windows that are read."""
    count = min(MOST_WINDOWS, windows)
    return np.random.default_rng(0).permutation(windows)[:count].tolist() if order == "random" else list(range(count))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--steps", type=int, default=2, help="of the TCN and transformer, a round")
    parser.add_argument("--layers", type=int, default=EXPR_SEQUENCE.encoder.layers, help="of the transformer")
    parser.add_argument("--table", action="append", choices=("perceptron", "sequence", "windows"), help="all else")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args(arguments)
    if words.measure:
        print(json.dumps(measure(words.measure, words.folder, 1)))
        return
    tables = words.table or ["windows", "perceptron", "sequence"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        maps = write(folder, words.rows)
        print(f"{words.rows} rows of {len(maps)} videos were written in {time.perf_counter() - started:.0f} s.\n")
        if "windows" in tables:
            windows(folder, maps, words.rounds)
        if "perceptron" in tables:
            perceptrons(folder, words.rows, words.rounds)
        if "sequence" in tables:
            sequences(folder, words.steps, words.rounds, words.layers)


if __name__ == "__main__":
    main()
