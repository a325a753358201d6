"""Units of work as Prefect's tasks; imports Prefect, so it is imported once a Prefect server shows the run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
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


class Unit:
    """A unit of work that a task shows: Prefect looks into the collections and dataclasses of parameters, not into it.

    Attributes:
        arguments: of the task.
        began: whether it was begun.
        found: what it gave, or the error that it ended with.
    """

    def __init__(self, do: Callable[[tuple[Any, ...]], Any], arguments: tuple[Any, ...]) -> None:
        self.arguments, self.began, self.found = arguments, False, cast("Any", None)
        self._do = do

    def carry_out(self) -> Any:
        """Do it; what it gives, or its error, is kept."""
        self.began = True
        try:
            self.found = self._do(self.arguments)
        except BaseException as error:
            self.found = error
            raise
        return self.found


@functools.cache
def prefect_task(task: Task) -> prefect.Task[[str, Unit], Any]:
    """The task that shows a unit of work under a title. Prefect caches nothing: the store says what is fresh."""

    def shown(title: str, unit: Unit) -> Any:
        found = unit.carry_out()
        return as_state(found) if isinstance(found, Outcome) else None

    name = cast("TaskRunNameCallbackWithParameters", lambda parameters: parameters["title"])
    return prefect.task(name=task.name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(shown)


def as_state(outcome: Outcome) -> State[Any]:
    """The Prefect state that shows the outcome to a person: Completed, Cached, Quarantined or Not done."""
    return Completed(name=_STATE_NAMES[outcome.status], message=printable(outcome.reason) or None)


def titled(task: Task, arguments: tuple[Any, ...]) -> str:
    """What Prefect calls a unit of work: names of files may hold what is not to be shown as it is."""
    return printable(task.title.format(**inspect.signature(task.do).bind(*arguments).arguments))
