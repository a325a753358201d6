"""Units of work as Prefect's tasks; imports Prefect, so it is imported once a Prefect server shows the run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.tasks import TaskRunNameCallbackWithParameters

from affstore.store.contract.printable import printable
from affstore.tasks.groups import Group
from affstore.tasks.outcomes import Outcome, Status
from affstore.tasks.task import Task

_BAD = ("failed", "quarantined")
_STATE_NAMES: dict[Status, str] = {
    "failed": "Not done",
    "quarantined": "Quarantined",
    "postponed": "Postponed",
    "done": "Completed",
    "cached": "Cached",
}
"""The worst first."""


class Shown:
    """Units of work that a task shows: Prefect looks into the collections and dataclasses of parameters, not into it.

    Attributes:
        group: the units.
        began: whether they were begun.
        found: what each gave, or the error that took them all along.
    """

    def __init__(self, do: Callable[[Group], list[Any]], group: Group) -> None:
        self.group, self.began, self.found = group, False, cast("Any", None)
        self._do = do

    def carry_out(self) -> list[Any]:
        """Do them; what they give, or their error, is kept."""
        self.began = True
        try:
            self.found = self._do(self.group)
        except BaseException as error:
            self.found = error
            raise
        return self.found


@functools.cache
def prefect_task(task: Task) -> prefect.Task[[str, Shown], Any]:
    """The task that shows units of work under a title. Prefect caches nothing: the store says what is fresh."""

    def shown(title: str, units: Shown) -> Any:
        found = units.carry_out()
        for error in found:
            for where in getattr(error, "__notes__", ()):
                prefect.get_run_logger().error("%s", "\n".join(map(printable, where.splitlines())))
        return as_state(found)

    name = cast("TaskRunNameCallbackWithParameters", lambda parameters: parameters["title"])
    return prefect.task(name=task.name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(shown)


def as_state(found: Sequence[Any]) -> State[Any]:
    """The Prefect state that shows a person what units of work gave: Failed where one broke, else its worst outcome's.

    That is Not done, Quarantined, Postponed, Completed or Cached, with what of the units it says.
    """
    broken = [one for one in found if isinstance(one, BaseException)]
    if broken:
        return Failed(message=printable(f"{type(broken[0]).__name__}: {broken[0]}{_more(broken)}"))
    outcomes = [outcome for one in found if isinstance(outcome := getattr(one, "outcome", one), Outcome)]
    worst = [[one for one in outcomes if one.status == status] for status in _STATE_NAMES]
    alike = next((ones for ones in worst if ones), None)
    if alike is None:
        return Completed()
    first = alike[0]
    subject = f"{first.subject}: " if len(found) > 1 and first.status in _BAD else ""
    return Completed(
        name=_STATE_NAMES[first.status], message=printable(f"{subject}{first.reason}{_more(alike)}") or None
    )


def _more(ones: Sequence[Any]) -> str:
    return f" (and {len(ones) - 1} more)" if len(ones) > 1 else ""


def titled(task: Task, group: Group) -> str:
    """What Prefect calls units of work: names of files may hold what is not to be shown as it is."""
    first = task.title.format(**inspect.signature(task.do).bind(*group.arguments[0]).arguments)
    return printable(f"{first}{_more(group.about)}")
