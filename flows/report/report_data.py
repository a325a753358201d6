"""What an experiment's figures and tables are drawn from: scored frames, counts, and runs of frames a pixel wide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.evaluation.metrics import confusion_matrix
from affstore.tasks.experiments import ExperimentResult, Protocol

PROTOCOLS: dict[Protocol, str] = {"papers": "papers' protocol", "honest": "honest protocol"}
"""What each protocol is called, in the order in which they are shown."""


def confusion_counts(result: ExperimentResult) -> NDArray[np.int64]:
    """How often each class is annotated (row) and predicted (column), of the classes that are not left out."""
    classes = result.experiment.evaluation.classes
    return confusion_matrix(*result.decisions_and_labels, len(result.experiment.space))[np.ix_(classes, classes)]


def class_names(result: ExperimentResult) -> list[str]:
    """The classes, units or axes of a row that are scored."""
    names = result.experiment.space.names
    return [names[index] for index in result.experiment.evaluation.classes]


def block_starts(frames: int, blocks: int) -> NDArray[np.int64]:
    """Where each of at most `blocks` runs of neighbouring frames begins; none is empty."""
    count = min(frames, blocks)
    return np.arange(count, dtype=np.int64) * frames // max(count, 1)


def block_modes(values: NDArray[np.int64], classes: int, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The commonest class of each block, `(blocks,)`.

    Args:
        values: `(frames,)`, −1 where there is none, which counts as a class of its own.
        classes: how many there are.
        starts: of the blocks.
    """
    lengths = np.diff(starts, append=len(values))
    cells = np.repeat(np.arange(len(starts)), lengths) * (classes + 1) + np.where(values < 0, classes, values)
    modes = np.bincount(cells, minlength=len(starts) * (classes + 1)).reshape(-1, classes + 1).argmax(axis=1)
    return np.where(modes == classes, -1, modes)


def block_means(values: NDArray[Any], known: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of the known cells of each block, `(blocks, k)`, NaN where none is.

    Args:
        values: `(frames, k)`.
        known: the same shape.
        starts: of the blocks.
    """
    sums = np.add.reduceat(np.where(known, values, 0).astype(np.float64), starts, axis=0)
    counts = np.add.reduceat(known.astype(np.int64), starts, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
