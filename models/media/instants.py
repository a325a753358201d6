"""From the timestamps that decoded frames carry to instants that increase strictly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = int(np.iinfo(np.int64).min)
"""The timestamp of a frame that has none."""

_MOST_ODD_FRAMES = 8
"""In a row, between others whose timestamps go on as if nothing had been."""


@dataclass(frozen=True, slots=True)
class Instants:
    """When the frames of a video play.

    Attributes:
        pts: `(frames,)` int64, strictly increasing; fewer than the timestamps where the film was cut.
        repaired: how many had to be changed.
        cut: whether the clock jumps back for good, as in films glued together; only the first of them is kept.
    """

    pts: NDArray[np.int64]
    repaired: int
    cut: bool


def repair_stamps(stamps: NDArray[np.int64], step: int, jump: int) -> Instants:
    """Repair the timestamps of a whole video.

    A missing one, and up to eight in a row that leap away by more than `jump` while those after them go on, are put
    evenly in the place they have in the order. After a leap forward, those go on that lie before it, so that timestamps
    that increase all the time stay as they are. One that does not increase becomes the one before plus one unit, so
    that a single duplicate moves no other frame. A leap forward that lasts is a pause and is kept; a leap back that
    lasts ends the video.

    Args:
        stamps: `(frames,)` int64 in the order the frames play; `UNKNOWN` where there is none.
        step: the usual distance between two frames.
        jump: the longest distance that is no leap.
    """
    repair = _Repair(stamps.tolist(), step, jump)
    while repair.at < len(stamps) and not repair.cut:
        repair.take()
    return Instants(np.array(repair.pts, np.int64), repair.repaired, repair.cut)


class _Repair:
    """A repair under way: `pts` are settled, `at` is the next timestamp to look at."""

    def __init__(self, stamps: list[int], step: int, jump: int) -> None:
        self._stamps, self._step, self._jump = stamps, step, jump
        self.pts: list[int] = []
        self.at = self.repaired = 0
        self.cut = False

    def take(self) -> None:
        """Settle the next timestamp, or the next few together."""
        stamp = self._stamps[self.at]
        if not self.pts:
            self._place(self._begin())
        elif stamp != UNKNOWN and abs(stamp - self.pts[-1]) <= self._jump:
            self._keep(stamp)
        elif (after := self._return()) is not None:
            self._place(after)
        elif stamp == UNKNOWN:
            self._place(self._next_known())
        elif stamp > self.pts[-1]:
            self._keep(stamp)
        else:
            self.cut = True

    def _keep(self, stamp: int) -> None:
        least = self.pts[-1] + 1 if self.pts else stamp
        self.repaired += stamp < least
        self.pts.append(max(stamp, least))
        self.at += 1

    def _place(self, after: int) -> None:
        """Put the frames before index `after` evenly between the last instant and the timestamp there."""
        odd = after - self.at
        if not odd:
            self._keep(self._stamps[after])
            return
        known = self._stamps[after] if after < len(self._stamps) else None
        if self.pts:
            last = self.pts[-1]
            end = last + self._step * (odd + 1) if known is None else known
            places = [last + (end - last) * i // (odd + 1) for i in range(1, odd + 1)]
        else:
            first = 0 if known is None else known - self._step * odd
            places = [first + self._step * i for i in range(odd)]
        for place in places:
            self.pts.append(max(place, self.pts[-1] + 1) if self.pts else place)
        self.repaired += odd
        self.at = after

    def _next_known(self) -> int:
        for index in range(self.at, len(self._stamps)):
            if self._stamps[index] != UNKNOWN:
                return index
        return len(self._stamps)

    def _begin(self) -> int:
        """Where the video's clock begins: at its first frame, unless one soon after it plays long before it."""
        first = self._stamps[0]
        if first == UNKNOWN:
            return self._next_known()
        for index in range(1, min(len(self._stamps), _MOST_ODD_FRAMES + 1)):
            if self._stamps[index] != UNKNOWN and self._stamps[index] < first - self._jump:
                return index
        return self.at

    def _return(self) -> int | None:
        """The first of the following frames whose timestamp goes on from the last instant; None without any."""
        last, stamp = self.pts[-1], self._stamps[self.at]
        if self.at == len(self._stamps) - 1 and stamp < last:
            return len(self._stamps)
        following = self._stamps[self.at + 1 : self.at + 1 + _MOST_ODD_FRAMES]
        for ahead, after in enumerate(following, 1):
            latest = last + self._jump + self._step * ahead
            if last < after <= latest and (stamp < last or after < stamp):
                return self.at + ahead
        return None
