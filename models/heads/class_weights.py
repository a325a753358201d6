"""How much a frame's loss weighs, from how often its label occurs in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """`w_c = (1 / n_c) / min(1 / n_c)`: the most frequent class weighs 1.

    A class without frames weighs 0: no frame uses it, and its output stays in the head.

    Args:
        counts: `(classes,)` training frames of each class, at least one of them positive.
    """
    return np.where(counts > 0, counts.max() / np.maximum(counts, 1), 0.0)


def unit_weights(value: NDArray[np.int8]) -> NDArray[np.float64]:
    """`w0 = N / (2 · negatives)` and `w1 = N / (2 · positives)` of each action unit, `(2, units)`.

    A side without frames weighs 0, as no frame uses it.

    Args:
        value: `(frames, units)`, 0 or 1.
    """
    positive = value.sum(axis=0, dtype=np.int64)
    sides = np.stack([len(value) - positive, positive])
    return np.where(sides > 0, len(value) / (2.0 * np.maximum(sides, 1)), 0.0)
