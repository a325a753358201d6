"""Units of work that are short are done in groups: to hand one over, and to show it, costs some 40 ms of processor."""

from __future__ import annotations

import functools
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from affstore.store.contract.errors import AffstoreError
from affstore.tasks.cancellation import stop_if_asked
from affstore.tasks.retries import noting_fault, passing_fault
from affstore.tasks.task import Task

_MOST = 16
"""Units of a group at most, however short they are."""
_GROUPS_LEFT = 8
"""Groups for each worker that what is left makes at least. They get smaller, so that none works alone at the end."""

Arguments = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Units of work that a worker does one after the other.

    Attributes:
        about: what each of them is about.
        arguments: of each.
    """

    about: tuple[str, ...]
    arguments: tuple[Arguments, ...]

    @classmethod
    def of_one(cls, unit: tuple[str, Arguments]) -> Group:
        """A unit by itself."""
        about, arguments = unit
        return cls((about,), (arguments,))

    def over(self, given: Any) -> list[tuple[str, Any]]:
        """What each unit is about and what it gave, or the error that it ended with.

        Args:
            given: by what `in_turn` makes; or the error that took all of them along.
        """
        each = given if isinstance(given, list) else [given] * len(self.about)
        return list(zip(self.about, each, strict=True))

    def alone(self) -> Iterator[Group]:
        """Its units as groups of one."""
        return map(Group.of_one, zip(self.about, self.arguments, strict=True))


def groups_of(task: Task, units: Mapping[str, Arguments], workers: int) -> Iterator[Group]:
    """Units in their order, in groups; a unit that is not short is a group by itself.

    Args:
        task: says how much of a group each unit is.
        units: the task's arguments, by what they are about.
        workers: how many work side by side.
    """
    shares = {about: max(task.share(*arguments), 1 / _MOST) for about, arguments in units.items()}
    left = sum(shares.values())
    group, held = dict[str, Arguments](), 0.0
    for about, arguments in units.items():
        if group and held + shares[about] > min(1.0, left / (_GROUPS_LEFT * workers)):
            yield Group(tuple(group), tuple(group.values()))
            left -= held
            group, held = {}, 0.0
        group[about] = arguments
        held += shares[about]
    if group:
        yield Group(tuple(group), tuple(group.values()))


def in_turn(do: Callable[..., Any]) -> Callable[..., list[Any]]:
    """What a worker calls for a group: it gives what each unit does, or the error that one ends with.

    The others are done all the same. An error knows whether it may pass, and one that nobody expected holds a note of
    where it was raised.
    """

    @functools.wraps(do)
    def each(*units: Arguments) -> list[Any]:
        return [_given(do, arguments) for arguments in units]

    return each


def _given(do: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        stop_if_asked()  # since the unit before
        return do(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever the unit raised is handed back
        return _as_it_travels(error)


def _as_it_travels(error: Exception) -> Exception:
    """The error without its causes and frames, which hold what the unit had in memory and do not reach all processes.

    One that cannot be sent to another process becomes one in its words.
    """
    fault = passing_fault(error)
    where = "" if isinstance(error, AffstoreError) else "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    given = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(given))
    except Exception:  # noqa: BLE001 - errors of libraries fail in many ways here
        given = RuntimeError(f"{type(error).__name__}: {error}")
    if where:
        given.add_note(where)
    return noting_fault(given, fault)
