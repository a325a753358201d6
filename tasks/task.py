"""Units of work: plain functions, which become Prefect's tasks where a Prefect server shows the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from affstore.tasks.retries import freeing_gpu


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work.

    Attributes:
        name: what it is called; the commits of what it wrote are named by it.
        title: what one run of it is called, with its parameters, as `ingest {incoming.name}`.
        do: does it, and returns its outcome, or something with an outcome.
        share: how much of a group a unit is, of its arguments: short ones, of which a run may have thousands, are
            handed over in groups, see `affstore.tasks.groups`. 1 and more is a group by itself.
    """

    name: str
    title: str
    do: Callable[..., Any]
    share: Callable[..., float] = lambda *_: 1.0

    def carried_out(self) -> Callable[..., Any]:
        """What a worker calls: `do`, which leaves a GPU's memory free for the next try where it failed by that."""
        return freeing_gpu(self.do)


def task(
    name: str, title: str = "", share: Callable[..., float] = lambda *_: 1.0
) -> Callable[[Callable[..., Any]], Task]:
    """Make a function a unit of work of that name; see `Task`."""
    return lambda do: Task(name, title or name, do, share)
