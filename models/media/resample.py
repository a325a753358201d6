"""Resampling by a windowed sinc with the filters of resampy, for a network whose numbers depend on the filter.

OpenL3 hears magnitudes down to 1e-8 of the loudest one, so what a filter lets through above the old Nyquist rate is
part of what it hears, and no other good resampler will do in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

_OUTPUTS_AT_ONCE = 256
_NUMBERS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class SincFilter:
    """A Kaiser-windowed sinc, tabulated and interpolated linearly.

    Attributes:
        zeros: crossings of zero on each side.
        points: of the table, from one crossing to the next.
        rolloff: cut-off as a fraction of the lower Nyquist rate.
        beta: of the Kaiser window.
    """

    KIND: ClassVar[str] = "sinc filter"

    zeros: int
    points: int
    rolloff: float
    beta: float


FILTERS = {
    "resampy": SincFilter(50, 1 << 13, 0.9173473712608761, 12.984585247040012),
    "resampy_0.2": SincFilter(64, 1 << 9, 0.9475937167399596, 14.769656459379492),
}
"""`kaiser_best` since resampy 0.3 (2022), and of the versions before it, which OpenL3's own requirements ask for."""


def resampled(wave: NDArray[np.float32], from_hz: int, to_hz: int, name: str) -> NDArray[np.float64]:
    """A waveform at another rate, in float64 as resampy gives it.

    Args:
        wave: `(samples,)`.
        from_hz: its rate.
        to_hz: the rate wanted.
        name: of the filter, in `FILTERS`.

    Returns:
        `(samples · to_hz // from_hz,)`; sample `i` plays at `i / to_hz` s, and beyond the ends there is silence.

    Raises:
        SpecError: there is no such filter.
    """
    if name not in FILTERS:
        raise SpecError(f"There is no resampling filter '{name}'; there are {', '.join(FILTERS)}.")
    samples = len(wave) * to_hz // from_hz
    if from_hz == to_hz or not samples:
        return wave[:samples].astype(np.float64)
    filtered = FILTERS[name]
    ratio = Fraction(to_hz, from_hz)
    repeats = -(-_OUTPUTS_AT_ONCE // ratio.numerator)
    outputs, inputs = repeats * ratio.numerator, repeats * ratio.denominator
    periods = -(-samples // outputs)
    reach = _reach(filtered, ratio)
    heard = np.pad(wave, (reach - 1, max(0, periods * inputs - len(wave)) + reach + 1))
    outputs_of_periods = np.empty((periods, outputs))
    for first in range(0, outputs, _OUTPUTS_AT_ONCE):
        phases = np.arange(first, min(first + _OUTPUTS_AT_ONCE, outputs))
        weights, slopes = _weights(filtered, ratio, phases)
        begin = first * ratio.denominator // ratio.numerator
        windows = sliding_window_view(heard, weights.shape[1])[begin::inputs][:periods]
        rows = max(1, _NUMBERS_AT_ONCE // weights.shape[1])
        for row in range(0, periods, rows):
            window = windows[row : row + rows].astype(np.float64)
            late = _late(ratio, outputs * np.arange(row, row + len(window))[:, None] + phases)
            outputs_of_periods[row : row + rows, phases] = window @ weights.T + late * (window @ slopes.T)
    return outputs_of_periods.reshape(-1)[:samples]


def _late(ratio: Fraction, outputs: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how many inputs resampy takes an output too late, as its instants in float64 are rounded: about 1e-11.

    That moves one float32 in ten thousand by a last place, and OpenL3's untrained embeddings by 0.002.
    """
    whole, rest = np.divmod(outputs * ratio.denominator, ratio.numerator)
    return (outputs * (1 / float(ratio)) - whole) - rest / ratio.numerator


def _weights(
    filtered: SincFilter, ratio: Fraction, phases: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each input counts for each of some consecutive outputs, and how that grows with the output's instant.

    Returns:
        Both `(len(phases), inputs)`; the first input is `reach - 1` before the one at or before the first output.
    """
    reach, scale = _reach(filtered, ratio), min(1.0, float(ratio))
    before, rest = np.divmod(phases * ratio.denominator, ratio.numerator)
    past = scale * rest / ratio.numerator
    at = (before - before[0] + reach - 1)[:, None]
    weights, slopes = np.zeros((2, len(phases), int(at[-1, 0]) + reach + 1))
    steps, rows = np.arange(reach), np.arange(len(phases))[:, None]
    weights[rows, at - steps], slopes[rows, at - steps] = _wing(filtered, scale, past)
    weights[rows, at + 1 + steps], falls = _wing(filtered, scale, scale - past)
    slopes[rows, at + 1 + steps] = -falls
    return weights, slopes


def _wing(
    filtered: SincFilter, scale: float, distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The filter and its slope so far from its middle, and at every input further out: both `(len(distance), reach)`.

    The table is read between its points, and the last point of an incomplete step is left out, as resampy does.
    """
    table = scale * _table(filtered)
    step = int(scale * filtered.points)
    offset = (distance * filtered.points).astype(np.int64)
    rest = (distance * filtered.points - offset)[:, None]
    places = np.arange(len(table) // step)
    inside = places < ((len(table) - offset) // step)[:, None]
    index = np.where(inside, offset[:, None] + step * places, 0)
    slope = np.append(np.diff(table), 0.0)[index] * inside
    return table[index] * inside + rest * slope, scale * filtered.points * slope


def _reach(filtered: SincFilter, ratio: Fraction) -> int:
    """Inputs on each side of an output that it may depend on."""
    return (filtered.zeros * filtered.points + 1) // int(min(1.0, float(ratio)) * filtered.points)


@cache
def _table(filtered: SincFilter) -> NDArray[np.float64]:
    """The right half of the filter, from its middle on: `(zeros · points + 1,)`."""
    points = filtered.zeros * filtered.points
    crossings = np.linspace(0, filtered.zeros, points + 1)
    taper = np.kaiser(2 * points + 1, filtered.beta)[points:]
    table: NDArray[np.float64] = taper * filtered.rolloff * np.sinc(filtered.rolloff * crossings)
    return table
