"""From the clock of a sound network to the clock of a video: by time, never by stretching."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.extractors.specs import SoundExtractorSpec
from store.contract.clock import SILENT, FrameClock, align
from store.contract.errors import SpecError


def vectors_clock(spec: SoundExtractorSpec, start_s: Fraction, vectors: int) -> FrameClock:
    """When each vector of a sound plays: vector `i` in `start_s + [i, i + 1) / vectors_hz`.

    Args:
        spec: the sound network.
        start_s: when the first sample of the sound plays, on the video's clock.
        vectors: how many vectors the network gave.
    """
    return FrameClock.uniform(spec.vectors_hz, vectors, start_s)


def to_frames(
    vectors: NDArray[np.float32], clock: FrameClock, frames: FrameClock
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give each video frame the vector that plays when the frame begins.

    Args:
        vectors: `(vectors, width)`.
        clock: of the vectors; empty for a video without sound.
        frames: of the video.

    Returns:
        `embedding (frames, width)` float32 and `present (frames,)`: zeros and False before the sound begins, after it
        ends, and everywhere in a video without sound.

    Raises:
        SpecError: there is not one instant a vector.
    """
    if len(vectors) != len(clock):
        raise SpecError(f"{len(vectors)} vectors cannot play at the {len(clock)} instants of a clock; give one each.")
    playing = align(clock, frames)
    present = playing != SILENT
    embedding = np.zeros((len(frames), vectors.shape[1]), np.float32)
    embedding[present] = vectors[playing[present]]
    return embedding, present
