"""The one committer: drafts come back from the workers as they finish and are committed in small groups."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from affstore.flows.stage import log, results
from affstore.flows.tries import Ended, Tries, persistently
from affstore.flows.watch import watching
from affstore.store.contract.errors import AffstoreError, ConflictError
from affstore.tasks.cancellation import request_cancellation
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import Task

_SHARE = 0.02
"""What committing may cost of a run's time. A commit writes the list of all that the store holds, so it costs the more
the larger the store is."""
_MOST_LOST_S = 300
"""Work of at most so many seconds waits for its commit, and is lost if the run is killed."""
_DRAFTS_A_COMMIT = 256


@dataclass(slots=True)
class CommitPace:
    """When the next commit is due: when the last one's cost has become a small share of the time since.

    Attributes:
        clock: seconds of a clock that does not jump.
        cost_s: what the last commit took.
        ended_s: when it ended.
    """

    clock: Callable[[], float] = time.monotonic
    cost_s: float = 0.0
    ended_s: float = -math.inf

    def is_due(self) -> bool:
        """Whether finished work should be committed now."""
        return self.clock() - self.ended_s >= min(self.cost_s * (1 / _SHARE - 1), _MOST_LOST_S)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure a commit."""
        begun = self.clock()
        yield
        self.ended_s = self.clock()
        self.cost_s = self.ended_s - begun


class HasOutcome(Protocol):
    """What a task returns that found something beside its outcome."""

    @property
    def outcome(self) -> Outcome:
        """The outcome of the unit of work."""


def commit_finished(
    context: WorkerContext, task: Task, units: Mapping[str, tuple[Any, ...]], gpu: bool = False
) -> list[Outcome]:
    """Do units of work side by side, and commit what they wrote as they end.

    A commit is made when it costs little of the time since the last one. So a slow unit is committed at once, and many
    quick ones do not make the store's history as long as the list of them.

    A task that ends in an error of ours is an outcome like any other; one that breaks unexpectedly becomes an outcome
    that failed. Either way the other videos go on. After a fault that may pass, a unit is done again when the others
    have ended; see `affstore.tasks.retries`.

    Args:
        context: where the run works.
        task: what is done with each unit; its name is the stage's, and names the commits.
        units: the task's arguments, by what they are about, usually a video's name.
        gpu: whether each unit needs a GPU of its own.
    """
    return [outcome for _, outcome in _finished(context, task, units, gpu)]


def commit_results[Result: HasOutcome](
    context: WorkerContext, task: Task, units: Mapping[str, tuple[Any, ...]], found: dict[str, Result]
) -> list[Outcome]:
    """The same for tasks that return more than an outcome; `found` gets what each returned, once it is committed."""
    outcomes: list[Outcome] = []
    for ended, outcome in _finished(context, task, units):
        outcomes.append(outcome)
        if not isinstance(ended.found, BaseException):
            found[ended.about] = ended.found
    return outcomes


def _finished(
    context: WorkerContext, task: Task, units: Mapping[str, tuple[Any, ...]], gpu: bool = False
) -> Iterator[tuple[Ended, Outcome]]:
    """What each unit gave, and what became of it, once that is committed."""
    waiting: list[Ended] = []
    pace, tries = CommitPace(), Tries(context, task.name)

    def commit_waiting() -> Iterator[tuple[Ended, Outcome]]:
        while waiting:
            batch = waiting[:_DRAFTS_A_COMMIT]
            with pace.measured():
                outcomes = committed(context, task.name, [one.outcome for one in batch])
            del waiting[: len(batch)]  # only now: if this was interrupted, it is committed again, which changes nothing
            yield from zip(batch, map(show_outcome, outcomes), strict=True)

    rounds = [list(units)]
    try:
        while rounds:
            due = {about: units[about] for about in rounds.pop(0)}
            left = len(due)
            for ended in results(task, due, gpu):
                waiting += tries.over(ended)
                left -= len(ended)
                if not left or pace.is_due():
                    yield from commit_waiting()
            if not rounds:
                rounds, given_up = tries.due_again()
                waiting += given_up
                yield from commit_waiting()
    except BaseException:  # also Ctrl-C: the threads at work must not first finish their videos
        request_cancellation()
        with suppress(AffstoreError):
            list(commit_waiting())  # what was finished is kept
        raise


def show_outcome(outcome: Outcome) -> Outcome:
    """Show the outcome of a unit of work on the screen and in Prefect's log."""
    watching().outcome(outcome)
    log(outcome)
    return outcome


def committed(context: WorkerContext, stage: str, batch: Sequence[Outcome]) -> list[Outcome]:
    """Commit what some units of work wrote, as one snapshot; one that conflicts fails alone."""
    if not any(outcome.waits for outcome in batch):
        return list(batch)
    try:
        persistently(context, f"a commit of {stage}", lambda: _commit(context, stage, batch))
    except ConflictError as error:
        if len(batch) > 1:  # one of them; the others are none the worse
            half = len(batch) // 2
            return committed(context, stage, batch[:half]) + committed(context, stage, batch[half:])
        became = [Outcome(stage, batch[0].subject, "failed", str(error))]
    else:
        became = [outcome.without_draft() for outcome in batch]
    for outcome in batch:
        if outcome.draft is not None:
            outcome.draft.release()
    return became


def _commit(context: WorkerContext, stage: str, batch: Sequence[Outcome]) -> None:
    store = context.store()
    drafts = [outcome.draft for outcome in batch if outcome.draft is not None]
    refused = [outcome.refused for outcome in batch if outcome.refused is not None]
    if refused:
        drafts.append(store.draft(context.code, context.run_id))
        for artifact in refused:
            drafts[-1].put(artifact)
    # No video's name: the engine never forgets a message, also of a video that was to be erased.
    store.commit(drafts, f"{stage}: {len(batch)}", {"run_id": context.run_id})
    if refused:
        drafts[-1].release()
