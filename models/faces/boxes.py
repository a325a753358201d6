"""Areas and overlaps of boxes x0, y0, x1, y1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area in px² of boxes `(…, 4)`."""
    return np.prod(np.maximum(box[..., 2:] - box[..., :2], 0), axis=-1)


def shared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area in px² that each of `(n, 4)` shares with each of `(m, 4)`, as `(n, m)`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2)


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each of `(n, 4)` with each of `(m, 4)`, as `(n, m)`; 0 between empty boxes."""
    both = shared(a, b)
    either = area(a)[:, None] + area(b)[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)
