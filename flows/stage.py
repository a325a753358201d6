"""A stage of a run: a Prefect flow while Prefect's server answers, a plain call when there is none.

What a stage does is the same either way. Prefect is told of it, and where Prefect fails, the work does not.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from prefect import State, Task, flow, get_run_logger
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import APILogHandler
from prefect.states import Cancelled, Completed, Failed

from affstore.flows.interrupts import Interrupted
from affstore.flows.runners.base import Runner
from affstore.flows.server import Server
from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.printable import printable
from affstore.tasks.cancellation import request_cancellation
from affstore.tasks.outcomes import Outcome

_BAD = ("failed", "postponed", "quarantined")
_NAMED = 3
"""Complaints that a state's message holds; the report has them all."""
_TELL_S = 10
_WAIT_S = 5
"""How long a stage waits for the next unit of work before its committer may look at the clock."""
_LISTED = 20
"""Things that a parameter shows by name; more are counted."""


@dataclass(slots=True)
class _Attempt:
    """One call of a stage and its result; Prefect calls it, or it is not called at all."""

    body: Callable[[], Any]
    done: bool = False
    result: Any = None
    error: BaseException | None = None

    def run(self) -> State[Any]:
        """Do the work, and tell Prefect how it ended."""
        try:
            self.result = self.body()
        except (KeyboardInterrupt, TerminationSignal) as error:
            self.error = Interrupted.of(error)
            return Cancelled(name="Interrupted", message="It was interrupted. What was finished is kept.")
        except BaseException as error:
            self.error = error
            raise
        self.done = True
        return state_of(self.result)


@dataclass(slots=True)
class _Run:
    """The run of this process: where its tasks go and who shows it."""

    server: Server
    runner: Runner
    attempts: list[_Attempt] = field(default_factory=list)

    @property
    def in_prefect(self) -> bool:
        """Whether Prefect calls what is being done now."""
        return bool(self.attempts)


_runs: list[_Run] = []


@contextmanager
def run_on(server: Server, runner: Runner) -> Iterator[None]:
    """Let stages run there while this lasts.

    It is no parameter of the stages: Prefect sends those along with every task.
    """
    EventsWorker.set_client_override(None)
    _runs.append(_Run(server, runner))
    try:
        yield
    finally:
        _runs.pop()
        if server.answers:
            _tell_all()


def _tell_all() -> None:
    """Send what Prefect's threads still hold, before its server may be stopped."""
    EventsWorker.drain_all(timeout=_TELL_S)
    APILogHandler().flush()


def _attempted(**arguments: Any) -> State[Any]:
    return _runs[-1].attempts[-1].run()


# Prefect sends a flow along with every task: this one holds nothing of the run, and its function is sent by name.
_STAGE = flow(name="stage", validate_parameters=False, persist_result=False)(_attempted)


def stage[**P, T](name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function a stage of that name: a Prefect flow whose parameters and end a person can read."""

    def decorate(body: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(body)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            run, work = _runs[-1], functools.partial(body, *args, **kwargs)
            if not run.server.answers:
                return _plainly(run, work)
            arguments = inspect.signature(body).bind(*args, **kwargs).arguments
            return _under_prefect(
                run, work, _titled(name, arguments), {key: readable(it) for key, it in arguments.items()}
            )

        return call

    return decorate


def _under_prefect(run: _Run, work: Callable[[], Any], title: tuple[str, str], parameters: Mapping[str, Any]) -> Any:
    attempt = _Attempt(work)
    run.attempts.append(attempt)
    name, run_name = title
    called = _STAGE.with_options(name=name, flow_run_name=run_name, task_runner=run.runner.prefect)
    try:
        called(**parameters, return_state=True)
    except (KeyboardInterrupt, TerminationSignal) as error:
        raise attempt.error or Interrupted.of(error) from None
    except Exception as error:  # noqa: BLE001 - whatever Prefect raises must not cost the work
        if attempt.error is None:
            _lose(run, error)
    finally:
        run.attempts.pop()
    if attempt.error is not None:
        raise attempt.error
    return attempt.result if attempt.done else _plainly(run, work)


def _plainly(run: _Run, work: Callable[[], Any]) -> Any:
    attempts, run.attempts = run.attempts, []
    try:
        return work()
    finally:
        run.attempts = attempts


def results(
    task: Task[Any, Any], units: Mapping[str, tuple[Any, ...]], gpu: bool = False
) -> Iterator[list[tuple[str, Any]]]:
    """Do units of work side by side, each as a task.

    Args:
        task: what is done with each.
        units: the task's arguments, by what they are about.
        gpu: whether each unit needs a GPU of its own.

    Yields:
        Whatever ended since the last time: what it is about and what it gave; an error is given like any other result.
        Nothing, every few seconds in which nothing ended.
    """
    run = _runs[-1]
    try:
        yield from _by_prefect(run, task, units, gpu) if run.in_prefect else _by_hand(run.runner, task, units, gpu)
    except BaseException:  # also Ctrl-C: the threads at work must not first finish their videos
        request_cancellation()
        raise


def _by_prefect(
    run: _Run, task: Task[Any, Any], units: Mapping[str, tuple[Any, ...]], gpu: bool
) -> Iterator[list[tuple[str, Any]]]:
    lost = {}
    with run.runner.asking_for(gpu):
        futures = {about: task.submit(*arguments) for about, arguments in units.items()}
    for ended in _as_they_end(futures):
        given = []
        for about, future in ended:
            try:
                found = future.result(raise_on_failure=False)
            except Exception as error:  # noqa: BLE001 - a worker that died (KilledWorker …) stops no other video
                found = error
            if isinstance(found, Exception) and not isinstance(found, AffstoreError) and not run.server.ping():
                lost[about] = units[about]  # a worker elsewhere begins no task without the server
            else:
                given.append((about, found))
        yield given
    if lost:
        yield from _by_hand(run.runner, task, lost, gpu)


def _by_hand(
    runner: Runner, task: Task[Any, Any], units: Mapping[str, tuple[Any, ...]], gpu: bool
) -> Iterator[list[tuple[str, Any]]]:
    with runner.executor() as pool:
        with runner.asking_for(gpu):
            futures = {about: pool.submit(_bare, task, arguments) for about, arguments in units.items()}
        try:
            for ended in _as_they_end(futures):
                yield [(about, future.exception() or future.result()) for about, future in ended]
        except BaseException:
            request_cancellation()
            for future in futures.values():
                future.cancel()
            raise


def _as_they_end(futures: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
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


def _bare(task: Task[Any, Any], arguments: tuple[Any, ...]) -> Any:
    """What a task does, without Prefect."""
    found = task.fn(*arguments)
    return found.data if isinstance(found, State) else found


def performed(task: Task[Any, Any], *arguments: Any) -> Any:
    """Do one unit of work here and now, as a task."""
    return task(*arguments) if _runs[-1].in_prefect else _bare(task, arguments)


def show(tell: Callable[[], Any]) -> Any:
    """Send Prefect something, if its server answers."""
    run = _runs[-1]
    if not (run.in_prefect and run.server.answers):
        return None
    try:
        return tell()
    except Exception as error:  # noqa: BLE001 - whatever Prefect raises must not cost the work
        _lose(run, error)
        return None


def _lose(run: _Run, why: object) -> None:
    """Go on without the server; what Prefect's threads would tell it from now on is dropped."""
    run.server.lose(why)
    EventsWorker.set_client_override(NullEventsClient)


def log(outcome: Outcome) -> None:
    """Write a line about a unit of work into the log that Prefect shows."""
    if _runs[-1].in_prefect:
        level = {"quarantined": 30, "failed": 40}.get(outcome.status, 20)
        about, reason = printable(outcome.subject), printable(outcome.reason)
        get_run_logger().log(level, "%s of %s: %s. %s", outcome.stage, about, outcome.status, reason)


def state_of(result: Any) -> State[Any]:
    """How Prefect shows what a stage or a run did.

    Returns:
        Failed where something may work later, so that an automation can tell somebody; Completed, but under the name
        Quarantined, where inputs cannot be used as they are, or Partial, where its time was over; else Completed.
    """
    outcomes = [one for one in _outcomes(result) if isinstance(one, Outcome)]
    counts = {status: sum(one.status == status for one in outcomes) for status in ("done", "cached")}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items()) + "."
    report = getattr(result, "report", None)
    summary += f" Report: {report}" if report is not None else ""
    bad = {status: [one for one in outcomes if one.status == status] for status in _BAD}
    complaints = " ".join(_complaints(found) for found in bad.values() if found)
    if bad["failed"]:
        return Failed(message=f"{complaints} {summary}")
    if bad["postponed"]:
        return Completed(name="Partial", message=f"{complaints} {summary}")
    if bad["quarantined"]:
        return Completed(name="Quarantined", message=f"{complaints} {summary}")
    return Completed(message=summary)


def _outcomes(result: Any) -> Sequence[Any]:
    """The outcomes in what a stage gives: they are all of it, an attribute, or its first part."""
    result = getattr(result, "outcomes", result)
    if isinstance(result, tuple) and result and isinstance(result[0], list):
        result = result[0]
    return result if isinstance(result, Sequence) else ()


def _complaints(outcomes: Sequence[Outcome]) -> str:
    """The first few in words, and how many there are."""
    named = " ".join(f"{outcome.stage} of '{outcome.subject}': {outcome.reason}" for outcome in outcomes[:_NAMED])
    return f"{len(outcomes)} {outcomes[0].status}. {printable(named)}"


def _titled(name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """A flow's name, and what its run is called: for which store, and which run it is."""
    first = next(iter(arguments.values()))
    request = getattr(first, "run", first)
    context = getattr(request, "context", request)
    inputs = getattr(request, "inputs", None)
    files = len(inputs.videos) + len(inputs.annotations) + len(inputs.crops) if inputs is not None else 0
    into = f"{files} files into " if files else ""
    run_name = f"{name}: {into}{context.store_url.rstrip('/').rpartition('/')[2]} ({context.run_id})"
    return name, printable(run_name).replace("{", "{{").replace("}", "}}")


def readable(value: Any) -> Any:
    """A parameter as Prefect can show it: plain values, things that have a name by their names, many as their count."""
    if value is None or isinstance(value, int | float | bool):
        return value
    if isinstance(value, str | Path):
        return printable(str(value))
    if isinstance(value, Mapping):
        return {printable(str(key)): readable(one) for key, one in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [readable(one) for one in value] if len(value) <= _LISTED else f"{len(value)} of them"
    if isinstance(getattr(value, "name", None), str):
        return printable(value.name)
    if is_dataclass(value):
        return {one.name: readable(getattr(value, one.name)) for one in fields(value)}
    return printable(str(value))
