"""Labelled crops, as fine-tuning reads them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LabelledCrops(Protocol):
    """Labelled frames as a face network sees them; no more crops are in memory than are asked for."""

    @property
    def y(self) -> NDArray[np.int8]:
        """The class of each, `(rows, 1)`."""

    @property
    def frame(self) -> NDArray[np.int64]:
        """The number of each in its video, from 0, `(rows,)`."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The crops of some rows, RGB `(n, size_px, size_px, 3)`, in that order."""


def looked_at(crops: LabelledCrops, stride: int) -> NDArray[np.int64]:
    """The rows of the frames that choose the epoch; see `FineTuneSpec.validation_stride`."""
    return np.flatnonzero((crops.frame + 1) % stride == stride - 1)
