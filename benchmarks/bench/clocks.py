"""Wall and processor time of pieces of work, and what is typical of several rounds."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took.

    Attributes:
        wall_s: seconds that passed.
        cpu_s: seconds of processor, of all threads and of processes that ended; what another load disturbs less.
    """

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s ({self.cpu_s:.2f} s of processor)"


def spent(work: Callable[[], object]) -> Spent:
    """Do a piece of work once and say what it took."""
    wall_s, cpu_s = time.perf_counter(), _processor_s()
    work()
    return Spent(time.perf_counter() - wall_s, _processor_s() - cpu_s)


def typical(rounds: Iterable[Spent]) -> Spent:
    """The median round, wall and processor each by itself."""
    found = list(rounds)
    return Spent(median(one.wall_s for one in found), median(one.cpu_s for one in found))


def _processor_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
