"""A stage of a run: a Prefect flow while Prefect's server answers, a plain call when there is none.

What a stage does is the same either way. Prefect is told of it, and where Prefect fails, the work does not. Nothing of
Prefect is imported for a run that no server shows.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import closing, contextmanager
from typing import Any

from affstore.flows.current_run import Run, as_they_end, runs
from affstore.flows.interrupts import Interrupted
from affstore.flows.runners.base import Runner
from affstore.flows.server import Server
from affstore.flows.watch import watching
from affstore.store.contract.printable import printable
from affstore.tasks.cancellation import request_cancellation
from affstore.tasks.groups import Group, groups_of, in_turn
from affstore.tasks.outcomes import Outcome
from affstore.tasks.task import Task


@contextmanager
def run_on(server: Server, runner: Runner) -> Iterator[None]:
    """Let stages run there while this lasts."""
    if server.answers:
        from affstore.flows import prefect_stage

        prefect_stage.begin()
    runs.append(Run(server, runner))
    try:
        yield
    finally:
        runs.pop()
        if server.answers:
            prefect_stage.tell_all()


def stage[**P, T](name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function a stage of that name: a Prefect flow whose parameters and end a person can read."""

    def decorate(body: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(body)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            run, work = runs[-1], functools.partial(body, *args, **kwargs)
            if not run.server.answers:
                return _plainly(run, work)
            from affstore.flows.prefect_stage import attempt

            arguments = inspect.signature(body).bind(*args, **kwargs).arguments
            made = attempt(run, work, name, arguments)
            result: T = made.result if made.done else _plainly(run, work)
            return result

        return call

    return decorate


def _plainly[T](run: Run, work: Callable[[], T]) -> T:
    attempts, run.attempts = run.attempts, []
    try:
        return work()
    finally:
        run.attempts = attempts


def results(task: Task, units: Mapping[str, tuple[Any, ...]], gpu: bool = False) -> Iterator[list[tuple[str, Any]]]:
    """Do units of work side by side, each as a task, or in groups where they are short.

    A group that is lost with its worker is done again unit by unit, so that what ended the worker costs no other.

    Args:
        task: what is done with each.
        units: the task's arguments, by what they are about.
        gpu: whether each unit needs a GPU of its own.

    Yields:
        Whatever ended since the last time: what it is about and what it gave; an error is given like any other result.
        Nothing, every few seconds in which nothing ended.
    """
    groups = list(groups_of(task, units, runs[-1].runner.workers))
    while groups:
        lost: list[Group] = []
        with closing(_side_by_side(task, groups, gpu)) as ended:
            for now in ended:
                lost += [group for group, given in now if _was_lost(group, given)]
                yield [one for group, given in now if not _was_lost(group, given) for one in group.over(given)]
        groups = [unit for group in lost for unit in group.alone()]


def _was_lost(group: Group, given: Any) -> bool:
    """Whether an error took several units along, and there may still be workers that do them."""
    return len(group.about) > 1 and isinstance(given, Exception) and not isinstance(given, CancelledError)


def _side_by_side(task: Task, groups: Sequence[Group], gpu: bool) -> Generator[list[tuple[Group, Any]]]:
    """Hand groups over to workers, and give what ended; the error that took a group along is given like a result."""
    run, left = runs[-1], {group.about[0]: group for group in groups}
    try:
        with run.runner.executor() as pool:
            handed = _Handed(run.runner, pool, task, gpu)
            try:
                if run.in_prefect:
                    from affstore.flows.prefect_stage import shown

                    for now in shown(run, task, left, handed.done):
                        yield [(left.pop(first), given) for first, given in now]
                futures = {first: handed.over(group) for first, group in left.items()}
                for ended in as_they_end(futures):
                    yield [(left[first], _given(future)) for first, future in ended]
            except BaseException:  # within the pool, which would wait for what is at work
                request_cancellation()
                handed.cancel()
                raise
    except BaseException:  # also Ctrl-C: the threads at work must not first finish their videos
        request_cancellation()
        raise


class _Handed:
    """What the workers of a runner are given to do."""

    def __init__(self, runner: Runner, pool: Executor, task: Task, gpu: bool) -> None:
        self._runner, self._pool, self._gpu, self._do = runner, pool, gpu, in_turn(task.carried_out())
        self._futures: list[Future[list[Any]]] = []
        self._cancelled = False

    def over(self, group: Group) -> Future[list[Any]]:
        """Hand units of work over to the workers."""
        with self._runner.asking_for(self._gpu):
            future = self._pool.submit(self._do, *group.arguments)
        self._futures.append(future)
        if self._cancelled:
            future.cancel()
        return future

    def done(self, group: Group) -> list[Any]:
        """What units of work give, once workers have done them."""
        return self.over(group).result()

    def cancel(self) -> None:
        """Let go of what is not begun, and of what was lost with workers that are gone."""
        self._cancelled = True
        for future in self._futures:
            future.cancel()


def _given(future: Future[Any]) -> Any:
    """What units of work gave, or the error that took them along."""
    try:
        return future.exception() or future.result()
    except CancelledError as error:  # a Dask scheduler that goes away cancels what it was to do
        return error


def performed(task: Task, *arguments: Any) -> Any:
    """Do one unit of work here and now, as a task."""
    if not runs[-1].in_prefect:
        return task.do(*arguments)
    from affstore.flows.prefect_stage import shown_here

    return shown_here(task, arguments)


def show(tell: Callable[[], Any]) -> Any:
    """Send Prefect something, if its server answers."""
    run = runs[-1]
    if not (run.in_prefect and run.server.answers):
        return None
    try:
        return tell()
    except Exception as error:
        if interrupted := Interrupted.behind(error):
            raise interrupted from error
        from affstore.flows.prefect_stage import lose

        lose(run, error)
        return None


def workers_answer() -> bool:
    """Whether units of work can still be given to workers; asked after some were lost."""
    return runs[-1].runner.answers()


def note(text: str) -> None:
    """Tell the user, and Prefect's log, what happened to the run."""
    watching().notice(text)
    if runs and runs[-1].in_prefect:
        from affstore.flows import prefect_stage

        prefect_stage.log(logging.WARNING, "%s", printable(text))


def log(outcome: Outcome) -> None:
    """Write a line about a unit of work into the log that Prefect shows."""
    if runs[-1].in_prefect:
        from affstore.flows import prefect_stage

        level = {"quarantined": 30, "failed": 40}.get(outcome.status, 20)
        about, reason = printable(outcome.subject), printable(outcome.reason)
        prefect_stage.log(level, "%s of %s: %s. %s", outcome.stage, about, outcome.status, reason)
