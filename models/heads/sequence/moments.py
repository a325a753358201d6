"""Mean and standard deviation of features that are read piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.sequence.labelled_videos import LabelledVideos, Window


@dataclass(slots=True, eq=False)
class Moments:
    """Of the frames that were added so far.

    Attributes:
        mean: `(width,)`.
        squares: `(width,)`: sum of squared distances from the mean.
        count: frames.
    """

    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    count: int = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in some frames, `(frames, width)` (Chan, Golub, LeVeque 1979)."""
        if not len(rows):
            return
        exact = rows.astype(np.float64)
        self.count += len(rows)
        share, shift = len(rows) / self.count, exact.mean(axis=0) - self.mean
        self.squares += exact.var(axis=0) * len(rows) + shift**2 * (len(rows) * (1 - share))
        self.mean += shift * share

    @property
    def deviation(self) -> NDArray[np.float64]:
        """`(width,)`; 1 for what never changes, or never was."""
        deviation = np.sqrt(self.squares / max(self.count, 1))
        return np.where(deviation > 0, deviation, 1.0)


def moments_of(videos: LabelledVideos, piece_frames: int) -> list[Moments]:
    """The moments of each stream over the frames where it is present, labelled or not.

    Everything is read once, in pieces, so that a feature that is no number is found before training.

    Raises:
        SpecError: a feature is no number.
    """
    moments = [Moments(np.zeros(width), np.zeros(width)) for width in videos.source.widths]
    for video, labels in enumerate(videos.labels):
        for start in range(0, len(labels.known), piece_frames):
            [streams] = videos.read([Window(video, start)], piece_frames)
            for i, array in enumerate(streams.values):
                moments[i].add(array[streams.present[:, i]])
    return moments
