"""Embeddings stored in float16 beside float32: room, an epoch of training, and what heads make of either.

- the bytes of a store's files, for so many random rows of 1,280 numbers, and an epoch of the papers' EXPR perceptron
  from them (`StoreFrames`); each epoch is in a process of its own, after one to warm up, and both types take turns;
- the heads of the demonstration corpus, and one on sequences, trained from either, each with its score on the
  validation videos. They are trained with several seeds: what float16 changes is to be looked at beside what a seed
  does.

Ratios are to be compared: seconds depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.files import folder_bytes
from heads import INPUTS, VIDEO_FRAMES, WIDTH, beside, seen_in
from rich.progress import track
from store_chunks import artifact, put

from affstore import FeatureStore
from affstore.flows.commands.demo import CONFIGURATION
from affstore.flows.commands.options import print_table
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.half_floats import to_float16
from affstore.store.contract.labels import EXPR
from affstore.tasks.training.frame_dataset import StoreFrames
from affstore.testing.artifacts import label, source

ROWS = 150_000
"""More than a perceptron keeps in memory to mix them, so that each epoch reads them."""
TYPES = ("float32", "float16")
SEQUENCE = {
    "name": "expr-sequence",
    "task": "expr",
    "head": "sequence",
    "inputs": ["emotieffnet_b0"],
    "epochs": 8,
    "changes": {"window": {"length": 100, "stride": 50}, "encoder": {"layers": 1}, "batch": 8},
}
BARS = {"disk": 0.52, "epoch": 1.0, "score": 0.002}


def write(folder: Path, rows: int) -> None:
    """A store of labelled videos for each type, of the same numbers."""
    urls = {stored: FeatureStore.create(str(folder / stored)).url for stored in TYPES}
    for number, begin in enumerate(track(range(0, rows, VIDEO_FRAMES), "videos", transient=True)):
        name, frames, random = f"v{number}", min(VIDEO_FRAMES, rows - begin), np.random.default_rng(number)
        x = random.standard_normal((frames, WIDTH), np.float32)
        labels = label(name, EXPR, random.integers(0, 8, (frames, 1)).astype(np.int8))
        features = artifact(name, x)
        half = replace(features, arrays={**features.arrays, "embedding": to_float16(x, name)})
        for stored, one in zip(TYPES, (features, half), strict=True):
            put(urls[stored], [source(name, frames), one, labels])


def measure(folder: Path) -> tuple[float, float]:
    """In a process of its own: an epoch of the perceptron from the store in `folder`."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    from affstore.models.heads.mlp.keras_network import on_device
    from affstore.models.heads.mlp.training import MlpTraining

    spec = replace(EXPR_MLP, selection="last_epoch", epochs=2)
    store = FeatureStore(str(folder))
    with on_device("cpu") as device:
        rows = StoreFrames(store, seen_in(store), INPUTS)
        epoch = MlpTraining(spec, (rows, None), TrainerOptions(), device)._epoch
        _, took = spent(epoch), spent(epoch)
    return took.wall_s, took.cpu_s


def room_and_time(folder: Path, rows: int, rounds: int) -> None:
    write(folder, rows)
    size = {stored: folder_bytes(folder / stored) for stored in TYPES}
    took: dict[str, list[Spent]] = {stored: [] for stored in TYPES}
    for number in track(range(rounds), "epochs", transient=True):
        for stored in TYPES[:: 1 if number % 2 else -1]:
            words = [sys.executable, __file__, "--measure", str(folder / stored)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
            took[stored].append(Spent(*json.loads(done)))
    ratios = ("", "", ""), (f"{size['float16'] / size['float32']:.3f}", *beside(took["float16"], took["float32"]))
    print(f"{rows} rows of {WIDTH}; bars: {BARS['disk']} of the disk, {BARS['epoch']} of an epoch's wall time.")
    print_table(
        ("stored", "MiB", "an epoch of the EXPR perceptron", "of float32: disk", "wall", "processor"),
        [
            (stored, f"{size[stored] / 2**20:.0f}", str(typical(took[stored])), *ratio)
            for stored, ratio in zip(TYPES, ratios, strict=True)
        ],
    )


def demo(folder: Path, corpus: CorpusSpec, seeds: int, only: Sequence[str]) -> Mapping[str, list[dict[str, float]]]:
    """The scores of the demonstration's heads from either type, by experiment; one after the other for each seed."""
    write_corpus(folder / "corpus", corpus)
    os.environ.setdefault("AFFSTORE_WEIGHTS", str(folder / "weights"))
    found: dict[str, list[dict[str, float]]] = {stored: [] for stored in TYPES}
    for stored in TYPES:
        for seed in range(seeds):
            document = yaml.safe_load(CONFIGURATION) | {"stored": stored, "store": str(folder / stored)}
            del document["publish"]
            document["sources"] = [str(folder / "corpus")]
            whole = [*document["experiments"], SEQUENCE]
            asked = [one for one in whole if not only or one["name"] in only]
            document["experiments"] = list(_with_seed(asked, seed))
            found[stored].append(_scores(document))
    return found


def _with_seed(experiments: Sequence[Mapping[str, Any]], seed: int) -> Iterator[dict[str, Any]]:
    for one in experiments:
        yield {**one, "changes": {**one.get("changes", {}), "seed": seed}}


def _scores(document: Mapping[str, Any]) -> dict[str, float]:
    from affstore.flows.config.run_config import checked
    from affstore.flows.execution import run_without_server
    from affstore.flows.request import request_of
    from affstore.flows.watch import Watcher

    run = run_without_server(request_of(checked(document, "benchmark")), Watcher())
    return {one.experiment.name: result.scores.value for one in run.experiments for result in one.results}


def heads(folder: Path, corpus: CorpusSpec, seeds: int, only: Sequence[str]) -> None:
    found = demo(folder, corpus, seeds, only)
    print(f"\nHeads of the demonstration corpus, {seeds} seeds; bar: a mean within {BARS['score']}.")
    rows = []
    for name in found["float32"][0]:
        full, half = (np.array([scores[name] for scores in found[stored]]) for stored in TYPES)
        apart = half - full
        rows.append(
            (
                name,
                f"{full.mean():.4f}",
                f"{half.mean():.4f}",
                f"{apart.mean():+.4f}",
                f"{apart.std(ddof=1) / len(apart) ** 0.5:.4f}" if len(apart) > 1 else "",
                f"{np.abs(apart).max():.4f}",
                f"{full.max() - full.min():.4f}",
            )
        )
    print_table(("head", *TYPES, "apart", "its standard error", "most apart", "between seeds"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="a video of the demonstration corpus; else all")
    parser.add_argument("--head", action="append", default=[], help="of the heads' table; else all of them")
    parser.add_argument("--table", action="append", choices=("store", "heads"), help="all else")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        if "store" in (asked.table or ["store"]):
            room_and_time(Path(name) / "rows", asked.rows, asked.rounds)
        if "heads" in (asked.table or ["heads"]):
            heads(Path(name) / "demo", CorpusSpec(only=tuple(asked.only)), asked.seeds, asked.head)


if __name__ == "__main__":
    main()
