"""Stages as Prefect's flows; imports Prefect, so it is imported once a Prefect server shows the run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import State, flow, get_client, get_run_logger
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from affstore.flows.current_run import Attempt, Run, as_they_end, runs
from affstore.flows.interrupts import Interrupted
from affstore.store.contract.printable import printable
from affstore.tasks.groups import Group
from affstore.tasks.outcomes import Outcome
from affstore.tasks.prefect_task import Shown, prefect_task, titled
from affstore.tasks.task import Task

_BAD = ("failed", "postponed", "quarantined")
_NAMED = 3
"""Complaints that a state's message holds; the report has them all."""
_TELL_S = 10
_ASK_S = 0.2
_FEW = 50
"""Tasks of which a server that is stopped writes down all ends that it was told of."""
_ended: Counter[str] = Counter()
"""How many tasks of this run ended, by the ids of their stages."""
_LISTED = 20
"""Things that a parameter shows by name; more are counted."""


def begin() -> None:
    """Let Prefect's threads tell a server of what happens from now on."""
    _ended.clear()  # a server that was lost never wrote down what ended before
    EventsWorker.set_client_override(None)


def tell_all() -> None:
    """Send what Prefect's threads still hold, before its server may be stopped, and see that it has written it down."""
    EventsWorker.drain_all(timeout=_TELL_S)
    APILogHandler().flush()
    tasks, stages = _ended.total(), [*_ended]
    _ended.clear()
    if tasks > _FEW:
        with suppress(HTTPError):  # what was told of a server that is gone is lost
            _wait_until_written(stages, tasks)


def _wait_until_written(stages: Sequence[str], tasks: int) -> None:
    """Wait for the server, which writes the ends of tasks after it was told of them, as long as it goes on."""
    written_down = {
        "flow_runs": {"id": {"any_": [*stages]}},
        "task_runs": {"state": {"type": {"any_": [state.value for state in TERMINAL_STATES]}}},
    }
    with get_client(sync_client=True) as client:
        written, deadline = 0, time.monotonic() + _TELL_S
        while written < tasks and time.monotonic() < deadline:
            found = client.request("POST", "/task_runs/count", json=written_down).json()
            if found > written:
                written, deadline = found, time.monotonic() + _TELL_S
            time.sleep(_ASK_S if written < tasks else 0)


def _attempted(**arguments: Any) -> State[Any]:
    return _run(runs[-1].attempts[-1])


def _run(attempt: Attempt) -> State[Any]:
    """Do the work, and tell Prefect how it ended."""
    try:
        attempt.result = attempt.body()
    except BaseException as error:
        attempt.error = Interrupted.behind(error) or error
        if isinstance(attempt.error, Interrupted):
            return Cancelled(name="Interrupted", message="It was interrupted. What was finished is kept.")
        raise
    attempt.done = True
    return state_of(attempt.result)


# Prefect sends a flow along with every task: this one holds nothing of the run, and its function is sent by name.
_STAGE = flow(name="stage", validate_parameters=False, persist_result=False)(_attempted)


def attempt(run: Run, work: Callable[[], Any], name: str, arguments: Mapping[str, Any]) -> Attempt:
    """Let Prefect call a stage; it is not done where Prefect itself failed."""
    made = Attempt(work)
    run.attempts.append(made)
    parameters = {key: readable(value) for key, value in arguments.items()}
    called = _STAGE.with_options(name=name, flow_run_name=_titled(name, arguments), task_runner=_waiting(run))
    try:
        called(**parameters, return_state=True)
    except BaseException as error:
        if interrupted := Interrupted.behind(error):
            raise made.error or interrupted from None
        if not isinstance(error, Exception):
            raise
        if made.error is None:  # whatever Prefect raises must not cost the work
            lose(run, error)
    finally:
        run.attempts.pop()
    if made.error is not None:
        raise made.error
    return made


def _waiting(run: Run) -> Any:
    """Threads of this process, each of which waits for a unit of work that workers do.

    So Prefect's own part costs some 20 ms of processor a unit; on Dask's workers it took 250 ms, and they had to reach
    its server.
    """
    return ThreadPoolTaskRunner(max_workers=run.runner.at_once)


def shown(
    run: Run, task: Task, groups: Mapping[str, Group], do: Callable[[Group], list[Any]]
) -> Iterator[list[tuple[str, Any]]]:
    """Show groups of units of work as Prefect's tasks while they are done; see `affstore.flows.stage.results`.

    A group that Prefect did not let begin, because its server went away, is not among what is given.

    Args:
        run: that shows it.
        task: what is done with each unit.
        groups: by the first that each is about.
        do: has workers do a group.

    Yields:
        What ended since the last time: its first, and what its units gave or the error that took them along.
    """
    as_task, work = prefect_task(task), {first: Shown(do, group) for first, group in groups.items()}
    futures = {first: as_task.submit(titled(task, shown.group), shown) for first, shown in work.items()}
    for now in as_they_end(futures):
        _ended[str(flow_run.id)] += len(now)
        given = []
        for first, future in now:
            try:
                found = future.result(raise_on_failure=False)
            except Exception as error:
                if interrupted := Interrupted.behind(error):
                    raise interrupted from error
                found = error
            if work[first].began:  # whatever Prefect made of its end must not cost the work
                given.append((first, work[first].found))
            elif run.server.ping():
                given.append((first, found))
        yield given


def shown_here(task: Task, arguments: tuple[Any, ...]) -> Any:
    """Do one unit of work in this thread, and show it as a task."""
    group = Group.of_one(("", arguments))
    shown = Shown(lambda _: [task.do(*arguments)], group)
    prefect_task(task)(titled(task, group), shown, return_state=True)
    if isinstance(shown.found, BaseException):
        raise shown.found
    return shown.found[0] if shown.began else task.do(*arguments)


def lose(run: Run, why: object) -> None:
    """Go on without the server; what Prefect's threads would tell it from now on is dropped."""
    run.server.lose(why)
    EventsWorker.set_client_override(NullEventsClient)


def log(level: int, message: str, *words: str) -> None:
    """Write a line into the log that Prefect shows."""
    get_run_logger().log(level, message, *words)


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


def _titled(name: str, arguments: Mapping[str, Any]) -> str:
    """What a flow's run is called: for which store, and which run it is."""
    first = next(iter(arguments.values()))
    context = getattr(first, "context", first)
    inputs = getattr(first, "inputs", None)
    files = len(inputs.videos) + len(inputs.annotations) + len(inputs.crops) if inputs is not None else 0
    into = f"{files} files into " if files else ""
    run_name = f"{name}: {into}{context.store_url.rstrip('/').rpartition('/')[2]} ({context.run_id})"
    return printable(run_name).replace("{", "{{").replace("}", "}}")


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
