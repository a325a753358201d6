"""The run of this process: where its tasks go, and who shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from affstore.flows.runners.base import Runner
from affstore.flows.server import Server

_WAIT_S = 5
"""How long a stage waits for the next unit of work before its committer may look at the clock."""


@dataclass(slots=True)
class Attempt:
    """One call of a stage and its result; Prefect calls it, or it is not called at all."""

    body: Callable[[], Any]
    done: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Run:
    """A run.

    Attributes:
        server: that shows it, if there is one.
        runner: where its tasks go.
        attempts: stages that Prefect calls just now, the innermost last.
    """

    server: Server
    runner: Runner
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def in_prefect(self) -> bool:
        """Whether Prefect calls what is being done now."""
        return bool(self.attempts)


runs: list[Run] = []
"""The run of this process is the last one. No stage has it as a parameter: Prefect sends those with every task."""


def as_they_end(futures: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    """Futures as they end: all that ended since the last time; none where nothing did for a while."""
    ended: SimpleQueue[str] = SimpleQueue()
    for about, future in futures.items():
        future.add_done_callback(lambda _, about=about: ended.put(about))
    left = len(futures)
    while left:
        now: list[str] = []
        with suppress(Empty):
            now.append(ended.get(timeout=_WAIT_S))
            while True:
                now.append(ended.get_nowait())
        left -= len(now)
        yield [(about, futures[about]) for about in now]
