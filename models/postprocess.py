"""What is done to predictions over time: gaps without a face are filled, then neighbours are averaged."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

Values = NDArray[np.float32]

AfterLast = Literal["repeat", "stop"]
"""What follows the last frame that takes part in smoothing."""


def fill_gaps(values: Values, present: NDArray[np.bool_], fallback: Values | None = None) -> Values:
    """Give frames without a face the straight line between their neighbours; the nearer one weighs more.

    Before the first face its row is repeated, after the last face that one's.

    Args:
        values: `(frames, k)`; what stands where no face is present is ignored.
        present: `(frames,)`.
        fallback: `(k,)`, the row of every frame of a video without any face.

    Returns:
        `(frames, k)` float32, equal to `values` where present.

    Raises:
        SpecError: shapes do not fit, a present row is not finite, or no face is present and there is no fallback.
    """
    _check(values, present)
    at = np.flatnonzero(present)
    if not len(at):
        if len(values) and (fallback is None or fallback.shape != values.shape[1:]):
            raise SpecError(f"No frame has a face, so a fallback row of {values.shape[1]} numbers is needed.")
        return np.broadcast_to(fallback, values.shape).astype(np.float32) if fallback is not None else values.copy()
    frames = np.arange(len(values))
    after = np.searchsorted(at, frames).clip(max=len(at) - 1)
    before = (np.searchsorted(at, frames, side="right") - 1).clip(min=0)
    left, right = at[before], at[after]
    weight = ((frames - left) / np.maximum(right - left, 1)).clip(0, 1)[:, None]
    start = values[left].astype(np.float64)
    return (start + weight * (values[right] - start)).astype(np.float32)


def box_smooth(values: Values, delta: int) -> Values:
    """Mean over the frames `[i − delta, i + delta]` that exist: at the ends the window shrinks, nothing is padded.

    `delta` is half a window: the papers' code says 50 for EXPR and VA, a window of 101, and 5 for AU, a window of 11.
    A result depends on its own window alone, to the bit.

    Args:
        values: `(frames, k)`, without gaps.
        delta: frames on either side; 0 changes nothing.

    Raises:
        SpecError: `delta` is negative, or a value is not finite.
    """
    _check(values, np.ones(len(values), bool))
    if delta < 0:
        raise SpecError(f"A window of {delta} frames on either side was asked for; it must be 0 or more.")
    frames = len(values)
    reach = min(delta, frames - 1)
    if reach <= 0:
        return values.astype(np.float32)
    index = np.arange(frames)
    size = np.minimum(index + reach, frames - 1) - np.maximum(index - reach, 0) + 1
    return (_window_sums(values, reach) / size[:, None]).astype(np.float32)


def smooth_gaps(values: Values, present: NDArray[np.bool_], delta: int, after_last: AfterLast) -> Values:
    """Fill what is not kept by its neighbours, then average; see `fill_gaps` and `box_smooth`.

    Args:
        values: `(frames, k)`; what stands where nothing is kept is ignored.
        present: `(frames,)`: the frames that take part. Where there is none, `values` is averaged as it is.
        delta: frames on either side.
        after_last: `repeat` gives the frames after the last one kept its row, and averages over them. `stop` is what
            the papers' code does with validation videos: the video ends with that frame, so that windows shrink there;
            what comes after has its averaged row, and no score should be read there.
    """
    if not present.any():
        return box_smooth(values, delta)
    filled = fill_gaps(values, present)
    if after_last == "repeat":
        return box_smooth(filled, delta)
    end = int(np.flatnonzero(present)[-1]) + 1
    smoothed = box_smooth(filled[:end], delta)
    return np.concatenate([smoothed, np.repeat(smoothed[-1:], len(values) - end, axis=0)])


def _window_sums(values: Values, reach: int) -> NDArray[np.float64]:
    """Sums over `[i − reach, i + reach]`, with zeros outside.

    Cumulative sums run within blocks of one window's length, forwards and backwards, so that every window is the end
    of one block and the beginning of the next. Unlike a difference of two sums over the video, this cancels nothing.
    """
    frames, width = values.shape
    window = 2 * reach + 1
    blocks = -(-(frames + 2 * reach) // window)
    padded = np.zeros((blocks * window, width))
    padded[reach : reach + frames] = values
    blocked = padded.reshape(blocks, window, width)
    heads = blocked.cumsum(axis=1).reshape(padded.shape)
    tails = blocked[:, ::-1].cumsum(axis=1)[:, ::-1].reshape(padded.shape)
    first = np.arange(frames)
    whole_block = (first % window == 0)[:, None]
    return np.where(whole_block, 0, tails[:frames]) + heads[first + window - 1]


def _check(values: Values, present: NDArray[np.bool_]) -> None:
    if values.ndim != 2 or present.shape != values.shape[:1]:
        raise SpecError(f"Expected values (frames, k) and a flag a frame; found {values.shape} and {present.shape}.")
    bad = np.flatnonzero(present & ~np.isfinite(values).all(axis=1))
    if len(bad):
        raise SpecError(f"Frame {bad[0]} holds NaN or infinity. Fill gaps before smoothing; check what predicted it.")
