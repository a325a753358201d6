"""Threads of the command's own process, with every network loaded once: the default."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions, workers_of

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism


class ThreadsRunner(RunnerKind[RunnerOptions]):
    """Tasks in threads of this process."""

    name = "threads"
    description = "threads of this process, which share the networks"
    Options = RunnerOptions
    in_process = True

    def parallelism(self, options: RunnerOptions) -> Parallelism:
        """Several videos in one process."""
        from affstore.tasks.extract.memory_estimate import Parallelism

        return Parallelism(workers_of(options))

    @contextmanager
    def start(self, options: RunnerOptions) -> Iterator[Runner]:
        """A pool of threads for each stage."""
        workers = workers_of(options)
        yield Runner(lambda: _threads(workers), workers, workers=workers)


@contextmanager
def _threads(workers: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="work")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


RUNNERS.register(ThreadsRunner.name, ThreadsRunner())
