"""Units of work that failed by a fault that may pass are done again: `affstore.tasks.retries` says which, how often."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from affstore.flows.stage import note, workers_answer
from affstore.store.contract.errors import AffstoreError
from affstore.tasks.outcomes import Outcome
from affstore.tasks.retries import LOST_WORK, ended_its_workers, passing_fault, pause_before_retry
from affstore.tasks.specs import WorkerContext

_FEW = 16
"""Units that are done again one after the other at most."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A unit of work that is over.

    Attributes:
        about: what it was about.
        found: what it gave at its last try, or the error that it ended with.
        outcome: what became of it.
    """

    about: str
    found: Any
    outcome: Outcome


class Tries:
    """How often each unit of work of a stage was tried, and which are done again.

    Args:
        context: how often that may be, and until when.
        stage: the stage's name.
    """

    def __init__(self, context: WorkerContext, stage: str) -> None:
        self._context, self._stage = context, stage
        self._tried: Counter[str] = Counter()
        self._first_fault: dict[str, str] = {}
        self._again: dict[str, Ended] = {}
        self._not_before = 0.0

    def over(self, ended: Iterable[tuple[str, Any]]) -> list[Ended]:
        """Of units that ended, those that are over; what the others wrote is dropped, and they are done again."""
        return [one for about, found in ended if (one := self._over(about, found)) is not None]

    def _over(self, about: str, found: Any) -> Ended | None:
        self._tried[about] += 1
        ended = Ended(about, found, _outcome(self._stage, about, found))
        fault, context = ended.outcome.fault, self._context
        pause_s = pause_before_retry(fault, self._tried[about], context.retries, context.ends_at)
        if pause_s is None:
            return self._with_tries(ended)
        if ended.outcome.draft is not None:
            ended.outcome.draft.release()
        self._first_fault.setdefault(about, ended.outcome.reason)
        self._again[about] = ended
        self._not_before = max(self._not_before, time.monotonic() + pause_s)
        return None

    def due_again(self) -> tuple[list[list[str]], list[Ended]]:
        """The units that are done again, once their pause is over; and those that no worker is left to do again.

        Side by side are those of one list. What is said to have ended its workers is done by itself, unless it is much,
        which is another fault than that of one video: Dask blames what waits beside it as well.
        """
        again, self._again = self._again, {}
        if not again:
            return [], []
        about, first = next(iter(again.items()))
        more = f" and of {len(again) - 1} more" if len(again) > 1 else ""
        note(f"{self._stage} of '{about}'{more} is tried again: {first.outcome.reason}")
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        if any(one.outcome.fault == "worker" for one in again.values()) and not workers_answer():
            return [], [self._with_tries(one) for one in again.values()]
        blamed = {about for about, one in again.items() if ended_its_workers(one.found)}
        if len(blamed) > _FEW:
            return [list(again)], []
        others = [about for about in again if about not in blamed]
        return [*([others] if others else []), *([about] for about in again if about in blamed)], []

    def _with_tries(self, ended: Ended) -> Ended:
        tried = self._tried[ended.about]
        if tried == 1:
            return ended
        outcome = ended.outcome
        text = f"{outcome.reason.rstrip('.')}; it was tried {tried} times"
        if outcome.status != "failed":
            text += f", at first: {self._first_fault[ended.about]}"
        return replace(ended, outcome=replace(outcome, reason=text))


def persistently[T](context: WorkerContext, what: str, act: Callable[[], T]) -> T:
    """Do something with the store, again after a fault that may pass.

    Args:
        context: how often that may be.
        what: is done, for a notice.
        act: does it.
    """
    tried = 0
    while True:
        try:
            return act()
        except AffstoreError as error:
            tried += 1
            pause_s = pause_before_retry(passing_fault(error), tried, context.retries, None)
            if pause_s is None:
                raise
            note(f"{what} is tried again: {error}")
        time.sleep(pause_s)


def _outcome(stage: str, about: str, found: Any) -> Outcome:
    outcome = getattr(found, "outcome", found)
    if isinstance(outcome, Outcome):
        return outcome
    return Outcome(stage, about, "failed", _sentence(found), fault=passing_fault(found))


def _sentence(found: Any) -> str:
    if isinstance(found, AffstoreError):
        return str(found)
    if not isinstance(found, BaseException):
        return "it did not finish"
    if lost := LOST_WORK.get(type(found).__name__):
        return lost
    text = f"{type(found).__name__}: {' '.join(str(found).split())[:300]}"
    return f"files did not answer ({text})" if passing_fault(found) == "files" else f"it broke unexpectedly ({text})"
