"""The faces found in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces of one picture, best score first.

    Attributes:
        box: `(faces, 4)` float32 x0, y0, x1, y1 in px, clipped to the picture.
        landmark: `(faces, 5, 2)` float32 x, y in px: left eye, right eye, nose, left and right corner of the mouth;
            left and right as the picture shows them.
        score: `(faces,)` float32 in [0, 1].
    """

    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Detections:
        """Some of the faces, in that order."""
        index = np.asarray(rows, np.intp)
        return Detections(self.box[index], self.landmark[index], self.score[index])
