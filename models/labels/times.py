"""Times in files of labels: as programs write them, and which of a video's frames they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from affstore.store.contract.clock import FrameClock
from affstore.store.contract.printable import counted

_ROUNDED = Fraction(1, 2000)
"""Times are often written to the millisecond: at 29.97 Hz, every third frame's is rounded up."""
SECONDS = re.compile(r"[+-]?(\d{1,12}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?")
"""A time as a program may write it: 1/300 has 19 decimals. What is longer could take a computer's time or memory."""
_LATE_S = 0.1
"""A clock that begins so late is worth a word: players and annotation programs count from the first picture."""


def first_frame(clock: FrameClock, instant: Fraction | None) -> int:
    """The first frame that begins at an instant or later; at an instant as it may have been rounded."""
    if instant is None:
        return len(clock)
    return int(np.searchsorted(clock.pts, math.ceil((instant - _ROUNDED) / clock.time_base)))


def is_before(start: Fraction, end: Fraction | None, clock: FrameClock) -> bool:
    """Whether a label begins before 0 (or the clock, if that begins earlier), or is over before the first frame."""
    first = _begin_of(clock)
    return start < min(Fraction(0), first) or (end is not None and end <= first)


def _begin_of(clock: FrameClock) -> Fraction:
    """When the first frame begins, in seconds; 0 of a video without frames."""
    return int(clock.pts[0]) * clock.time_base if len(clock) else Fraction(0)


def said_of_outside[T](
    what: str, before: Sequence[T], after: Sequence[T], where: Callable[[Sequence[T]], str], clock: FrameClock
) -> list[str]:
    """What is to be said of labels that begin before or after the video, whose places in their file `where` names."""
    first, found = _begin_of(clock), []
    if before:
        begin = counted(len(before), f"{what} begins", f"{what}s begin")
        when = f" at {float(first):.3g} s" if first > 0 else ""
        found.append(f"{begin} before the video does{when}, {where(before)}.")
    if after:
        begin = counted(len(after), f"{what} begins", f"{what}s begin")
        found.append(f"{begin} after the video's last frame, {where(after)}.")
    return found


def said_of_late_begin(clock: FrameClock) -> str:
    """What is to be said of times where the video's clock begins late, as of MPEG streams; an empty text elsewhere."""
    first = _begin_of(clock)
    return f"times on the video's own clock, which begins at {float(first):.3g} s" if first > _LATE_S else ""
