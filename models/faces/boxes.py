"""Areas and overlaps of boxes x0, y0, x1, y1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 128


def area(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area in px² of boxes `(…, 4)`."""
    return np.maximum(box[..., 2] - box[..., 0], 0) * np.maximum(box[..., 3] - box[..., 1], 0)


def shared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area in px² that each of `(n, 4)` shares with each of `(m, 4)`, as `(n, m)`."""
    a = a[:, None]
    wide = np.minimum(a[..., 2], b[:, 2]) - np.maximum(a[..., 0], b[:, 0])
    high = np.minimum(a[..., 3], b[:, 3]) - np.maximum(a[..., 1], b[:, 1])
    return np.maximum(wide, 0) * np.maximum(high, 0)


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each of `(n, 4)` with each of `(m, 4)`, as `(n, m)`; 0 between empty boxes."""
    both = shared(a, b)
    either = area(a)[:, None] + area(b)[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def best(box: NDArray[np.float32], score: NDArray[np.float32], most_shared: float) -> NDArray[np.int64]:
    """Which of `(n, 4)` share at most so much of their union with each better one that is kept; the best come first."""
    rest, kept = np.argsort(-score, kind="stable"), [np.zeros(0, np.int64)]
    while len(rest):
        next_best, rest = rest[:_AT_ONCE], rest[_AT_ONCE:]
        alike = iou(box[next_best], box[next_best]) > most_shared
        gone = np.zeros(len(next_best), bool)
        for index in range(len(next_best)):
            if not gone[index]:
                gone[index + 1 :] |= alike[index, index + 1 :]
        kept.append(next_best[~gone])
        rest = rest[~(iou(box[kept[-1]], box[rest]) > most_shared).any(axis=0)]
    return np.concatenate(kept)
