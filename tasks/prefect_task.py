"""Units of work as Prefect's tasks; imports Prefect, so it is imported once a Prefect server shows the run."""

from __future__ import annotations

import functools
from typing import Any, cast

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.tasks import TaskRunNameCallbackWithParameters

from affstore.store.contract.printable import printable
from affstore.tasks.outcomes import Outcome, Status
from affstore.tasks.task import Task

_STATE_NAMES: dict[Status, str] = {
    "done": "Completed",
    "cached": "Cached",
    "quarantined": "Quarantined",
    "failed": "Not done",
    "postponed": "Postponed",
}


@functools.cache
def prefect_task(task: Task) -> prefect.Task[Any, Any]:
    """The task that shows a unit of work. Prefect caches nothing: the store says what is fresh."""
    carried_out = task.carried_out()

    @functools.wraps(task.do)
    def do(*args: Any, **kwargs: Any) -> Any:
        found = carried_out(*args, **kwargs)
        return as_state(found) if isinstance(found, Outcome) else found

    made: prefect.Task[Any, Any] = prefect.task(
        name=task.name, task_run_name=run_name(task.title), cache_policy=NO_CACHE, persist_result=False
    )(do)
    return made


def as_state(outcome: Outcome) -> State[Any]:
    """The Prefect state that shows the outcome to a person: Completed, Cached, Quarantined or Not done."""
    return Completed(name=_STATE_NAMES[outcome.status], message=printable(outcome.reason) or None, data=outcome)


def run_name(template: str) -> TaskRunNameCallbackWithParameters:
    """How Prefect calls the runs of a task: names of files may hold what is not to be shown as it is.

    Args:
        template: with the task's parameters, as `ingest {incoming.name}`.
    """

    def name(parameters: dict[str, Any]) -> str:
        return printable(template.format(**parameters))

    return cast("TaskRunNameCallbackWithParameters", name)
