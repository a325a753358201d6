"""Which vector of a sound each video frame is given."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import SoundExtractorSpec
from affstore.models.media.sound import Sound
from affstore.store.contract.clock import SILENT, FrameClock, on_one_base


def heard_by_time(spec: SoundExtractorSpec, sound: Sound, vectors: int, frames: FrameClock) -> NDArray[np.int64]:
    """The vector that plays when each frame begins.

    A network may give no vector for the ends of a sound, as one does that hears only whole windows. Frames there are
    given the vector nearest to them, the first or the last.

    Args:
        spec: the sound network.
        sound: what it heard, on the video's clock.
        vectors: how many vectors the network gave.
        frames: of the video.

    Returns:
        `(frames,)` int64; `SILENT` (-1) where no sound plays.
    """
    if not vectors:
        return np.full(len(frames), SILENT, np.int64)
    starts, instants = on_one_base(vectors_clock(spec, sound.start_s, vectors), frames)
    nearest = np.maximum(np.searchsorted(starts, instants, side="right") - 1, 0)
    return np.where(sound.plays_at(frames), nearest, SILENT).astype(np.int64)


def heard_in_notebook(vectors: int, frames: int, declared_frames: int | None) -> NDArray[np.int64]:
    """The vectors stretched over the frames: frame `f` of `F` is given vector `int(f · vectors / F)`.

    That is how the papers' notebooks do it, whenever the sound begins. Their `F` is one more than OpenCV's frame count,
    which is what the container claims.

    Args:
        vectors: how many vectors the network gave.
        frames: how many frames the video has.
        declared_frames: how many its container claims; None where it claims nothing, and `frames` is taken.

    Returns:
        `(frames,)` int64; `SILENT` (-1) without vectors, and from frame `F` on where a container claims too few.
    """
    claimed = (frames if declared_frames is None else declared_frames) + 1
    numbers = np.arange(frames, dtype=np.int64)
    return np.where((numbers < claimed) & (vectors > 0), numbers * vectors // claimed, SILENT)


def vectors_clock(spec: SoundExtractorSpec, start_s: Fraction, vectors: int) -> FrameClock:
    """When each vector of a sound plays: vector `i` in `start_s + first_s + [i, i + 1) / vectors_hz`."""
    return FrameClock.uniform(spec.vectors_hz, vectors, start_s + spec.first_s)


def to_frames(values: NDArray[np.float32], heard: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of `values` `(vectors, n)` for each frame, `(frames, n)`; zeros where a frame is given none."""
    rows = np.zeros((len(heard), values.shape[1]), np.float32)
    given = heard != SILENT
    rows[given] = values[heard[given]]
    return rows
