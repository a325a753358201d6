"""Instants at which the frames of a video, or the vectors of a sound, begin to play.

Times are kept as integers on a rational time base, as containers keep them, so that 25 frames/s meets
50 vectors/s with no tolerance and no rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

SILENT = -1
"""Stands for the sample that plays where none does."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FrameClock:
    """Sample `i` plays in `[pts[i], pts[i + 1])`, the last one until `end_pts`; 0-based.

    Attributes:
        pts: `(frames,)` int64, strictly increasing, in units of `time_base`.
        time_base: seconds a unit, as the container states it.
        end_pts: when the last sample stops playing, in units of `time_base`.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    end_pts: int

    def __post_init__(self) -> None:
        if self.time_base <= 0:
            raise SpecError(f"A clock needs a positive time base; found {self.time_base}.")
        if len(self.pts) and (np.any(np.diff(self.pts) <= 0) or self.end_pts <= int(self.pts[-1])):
            raise SpecError("A clock's instants must increase strictly, and end after the last one begins.")

    def __repr__(self) -> str:
        begin = float(self.pts[0] * self.time_base) if len(self) else 0.0
        return f"<FrameClock: {len(self)} samples, {self.rate_hz:.6g} a second, {begin:g} s to {self.end_s:g} s>"

    def __len__(self) -> int:
        return len(self.pts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameClock):
            return NotImplemented
        ends_alike = self.end_pts * self.time_base == other.end_pts * other.time_base
        return len(self) == len(other) and ends_alike and bool(np.array_equal(*on_one_base(self, other)))

    @classmethod
    def uniform(cls, rate_hz: Fraction | int, samples: int, start_s: Fraction | int = 0) -> FrameClock:
        """A clock of `samples` samples at an exact rate.

        Args:
            rate_hz: samples a second.
            samples: how many.
            start_s: when the first one begins.
        """
        rate, start = Fraction(rate_hz), Fraction(start_s)
        base = Fraction(1, lcm(rate.numerator, start.denominator))
        step, first = int(1 / rate / base), int(start / base)
        return cls(first + step * np.arange(samples, dtype=np.int64), base, first + step * samples)

    @property
    def starts_s(self) -> NDArray[np.float64]:
        """`(frames,)` float64: when each sample begins, in seconds."""
        return self.pts * self.time_base.numerator / self.time_base.denominator

    @property
    def end_s(self) -> float:
        """When the last sample stops playing, in seconds."""
        return float(self.end_pts * self.time_base)

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample's begin to the last one's end."""
        return float((self.end_pts - int(self.pts[0])) * self.time_base) if len(self) else 0.0

    @property
    def rate_hz(self) -> float:
        """Mean samples a second; 0 for an empty clock."""
        return len(self) / self.duration_s if len(self) else 0.0


def on_one_base(a: FrameClock, b: FrameClock) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The starts of both clocks as integers on a common time base, which count from the earliest of them.

    Counted from the clocks' own zero they might not fit, as where a camera counts nanoseconds since 1970.
    """
    common = _common_base(a, b)
    first = [int(clock.pts[0] if len(clock) else 0) * int(clock.time_base / common) for clock in (a, b)]
    farthest = 2**62  # of clocks that are this far apart, neither plays while the other does
    starts_of_a, starts_of_b = (
        (clock.pts - clock.pts[:1]) * int(clock.time_base / common) + min(begins - min(first), farthest)
        for clock, begins in zip((a, b), first, strict=True)
    )
    return starts_of_a, starts_of_b


def _common_base(a: FrameClock, b: FrameClock) -> Fraction:
    """The coarsest time base on which both clocks fall on integers."""
    first, second = a.time_base, b.time_base
    denominator = lcm(first.denominator, second.denominator)
    numerators = (int(first * denominator), int(second * denominator))
    return Fraction(int(np.gcd(*numerators)), denominator)
