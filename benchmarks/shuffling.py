"""What it costs a head that rows are mixed in bounded memory and not permuted as a whole (docs/adr/0009).

The corpus is synthetic and like video: a subject's frames share an offset of their own that is larger than what tells
classes apart, neighbours are nearly equal, an expression lasts, and a video shows few of them. It is Aff-Wild2's EXPR
training set on a smaller scale: as many videos, a tenth of the frames, and memory and blocks in the same proportion.
Heads are judged on other videos. Every row of the table has the same corpora and initial parameters, seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from affstore.flows.commands.options import print_table
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.keras_mlp import fit
from affstore.models.heads.mlp.spec import EXPR_MLP

VIDEOS, VIDEO_FRAMES, WIDTH, CLASSES = 248, 236, 64, 8
"""Aff-Wild2: 248 videos, 2,360 labelled frames each."""
LASTS_FRAMES = 60
"""An expression, on average; neighbours resemble each other as long."""
MEMORY = 131_072 / 585_317
BLOCKS = {"1,024 frames": 0.1 * 1024, "4,096 frames": 0.1 * 4096}


@dataclass(frozen=True)
class Cut:
    """Rows in blocks of a video each; a long video has several."""

    examples: Examples
    lengths: Sequence[int]
    most: int

    @property
    def blocks(self) -> list[int]:
        """See `Rows.blocks`."""
        return [min(self.most, length - at) for length in self.lengths for at in range(0, length, self.most)]

    @property
    def width(self) -> int:
        """See `Rows.width`."""
        return self.examples.width

    @property
    def y(self) -> NDArray[np.int8]:
        """See `Rows.y`."""
        return self.examples.y

    def __len__(self) -> int:
        return len(self.examples)

    def read(self, block: int) -> NDArray[np.float32]:
        """See `Rows.read`."""
        first = sum(self.blocks[:block])
        return self.examples.x[first : first + self.blocks[block]]

    def name_of(self, row: int) -> str:
        """See `Rows.name_of`."""
        return f"row {row}"


def corpus(videos: int, seed: int) -> tuple[Examples, list[int]]:
    """Videos one after the other, and how long each is."""
    centres = np.random.default_rng(1).standard_normal((CLASSES, WIDTH))
    random = np.random.default_rng(seed)
    lengths = np.maximum(20, random.gamma(2, VIDEO_FRAMES / 2, videos)).astype(int).tolist()
    x, y = [], []
    for length in lengths:
        shows = random.dirichlet(np.full(CLASSES, 0.3))
        changes = np.cumsum(random.random(length) < 1 / LASTS_FRAMES)
        label = random.choice(CLASSES, changes[-1] + 1, p=shows)[changes]
        drift = wandering(random.standard_normal((length, WIDTH)))
        x.append(0.35 * centres[label] + 1.5 * random.standard_normal(WIDTH) + drift)
        y.append(label)
    return Examples(np.concatenate(x).astype(np.float32), np.concatenate(y)[:, None].astype(np.int8)), lengths


def wandering(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise of variance 1 whose neighbours resemble each other."""
    keep = np.exp(-1 / LASTS_FRAMES)
    for i in range(1, len(steps)):
        steps[i] = keep * steps[i - 1] + np.sqrt(1 - keep**2) * steps[i]
    return steps


def judged(block: float, memory: float, epochs: int, seed: int, videos: int) -> tuple[float, ...]:
    """Best accuracy and its loss, last accuracy, and by how much the last epochs' accuracies differ."""
    train, lengths = corpus(videos, 100 + seed)
    held_out, _ = corpus(max(videos // 4, 2), 200 + seed)
    most = max(1, round(memory * len(train)))
    spec = replace(EXPR_MLP, epochs=epochs, seed=seed, shuffle_rows=most)
    curve = fit(spec, Cut(train, lengths, max(1, round(block))), held_out).curve
    accuracy, loss = curve["val_accuracy"], curve["val_loss"]
    steps = np.abs(np.diff(accuracy[len(accuracy) // 2 :]))
    return float(accuracy.max()), float(loss.min()), float(accuracy[-1]), float(steps.mean() if len(steps) else 0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--epochs", type=int, default=EXPR_MLP.epochs)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args(arguments)
    small, large = BLOCKS.values()
    todo = {
        "one permutation of all rows": (small, 1.0),
        "131,072 rows held, blocks of 1,024 frames": (small, MEMORY),
        "131,072 rows held, blocks of 4,096 frames": (large, MEMORY),
        "32,768 rows held, blocks of 1,024 frames": (small, MEMORY / 4),
        "8,192 rows held, blocks of 1,024 frames": (small, MEMORY / 16),
        "a batch held, blocks of 4,096 frames": (large, 1e-9),
    }
    rows = []
    for name, (block, memory) in track(todo.items(), "heads", transient=True):
        found = np.array([judged(block, memory, asked.epochs, seed, asked.videos) for seed in range(asked.seeds)])
        if not rows:
            first = found
        apart = found[:, 0] - first[:, 0]
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else 0.0
        means = [f"{mean:.3f}" for mean in found.mean(axis=0)]
        rows.append((name, *means, f"{apart.mean():+.4f} ± {error:.4f}"))
    print(f"{asked.videos} videos, {asked.epochs} epochs, means of {asked.seeds} corpora; errors are standard errors.")
    print_table(("order of rows", "best accuracy", "lowest loss", "last accuracy", "wavers by", "best, beside"), rows)


if __name__ == "__main__":
    main()
