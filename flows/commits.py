"""The one committer: drafts come back from the workers as they finish and are committed in small groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any, Protocol

from prefect import Task

from affstore import FeatureStore
from affstore.flows.stage import log, results
from affstore.flows.watch import watching
from affstore.store.contract.errors import AffstoreError, ConflictError
from affstore.tasks.cancellation import request_cancellation
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import WorkerContext

_DRAFTS_A_COMMIT = 32


class HasOutcome(Protocol):
    """What a task returns that found something beside its outcome."""

    @property
    def outcome(self) -> Outcome:
        """The outcome of the unit of work."""


def commit_finished(
    context: WorkerContext, task: Task[Any, Any], units: Mapping[str, tuple[Any, ...]]
) -> list[Outcome]:
    """Do units of work side by side, and commit what they wrote as they end.

    What ended while one commit was made is the next. So a slow unit is committed at once, and many quick ones do not
    run ahead of the committer: drafts that are far behind the store's tip cost a thread a snapshot.

    A task that ends in an error of ours is an outcome like any other; one that breaks unexpectedly becomes an outcome
    that failed. Either way the other videos go on.

    Args:
        context: where the run works.
        task: what is done with each unit; its name is the stage's, and names the commits.
        units: the task's arguments, by what they are about, usually a video's name.
    """
    outcomes: list[Outcome] = []
    try:
        for ended in results(task, units):
            for batch in batched((_outcome(task, *one) for one in ended), _DRAFTS_A_COMMIT):
                outcomes += [show_outcome(outcome) for outcome in committed(context, task.name, batch)]
    except BaseException:  # also Ctrl-C: the threads at work must not first finish their videos
        request_cancellation()
        raise
    return outcomes


def commit_results[Result: HasOutcome](
    context: WorkerContext, task: Task[Any, Any], units: Mapping[str, tuple[Any, ...]], found: dict[str, Result]
) -> list[Outcome]:
    """The same for tasks that return more than an outcome; `found` gets what each returned, once it is committed."""
    outcomes: list[Outcome] = []
    for ended in results(task, units):
        done = {about: one for about, one in ended if not isinstance(one, BaseException)}
        batch = [done[about].outcome if about in done else _outcome(task, about, one) for about, one in ended]
        for part in batched(batch, _DRAFTS_A_COMMIT):
            outcomes += [show_outcome(outcome) for outcome in committed(context, task.name, part)]
        found |= done
    return outcomes


def show_outcome(outcome: Outcome) -> Outcome:
    """Show the outcome of a unit of work on the screen and in Prefect's log."""
    watching().outcome(outcome)
    log(outcome)
    return outcome


def _outcome(task: Task[Any, Any], about: str, found: Any) -> Outcome:
    return found if isinstance(found, Outcome) else Outcome(task.name, about, "failed", _sentence(found))


def committed(context: WorkerContext, stage: str, batch: Sequence[Outcome]) -> list[Outcome]:
    """Commit what some units of work wrote, as one snapshot; one that conflicts fails alone."""
    if not any(outcome.waits for outcome in batch):
        return list(batch)
    store = FeatureStore(context.store_url)
    drafts = [outcome.draft for outcome in batch if outcome.draft is not None]
    refused = [outcome.refused for outcome in batch if outcome.refused is not None]
    if refused:
        drafts.append(store.draft(context.code, context.run_id))
        for artifact in refused:
            drafts[-1].put(artifact)
    try:
        # No video's name: the engine never forgets a message, also of a video that was to be erased.
        store.commit(drafts, f"{stage}: {len(batch)}", {"run_id": context.run_id})
    except ConflictError as error:
        if len(batch) > 1:  # one of them; the others are none the worse
            return [one for outcome in batch for one in committed(context, stage, [outcome])]
        return [Outcome(stage, batch[0].subject, "failed", str(error))]
    for draft in drafts:
        draft.release()
    return [outcome.without_draft() for outcome in batch]


def _sentence(found: Any) -> str:
    if isinstance(found, AffstoreError):
        return str(found)
    if isinstance(found, BaseException):
        return f"it broke unexpectedly ({type(found).__name__}: {' '.join(str(found).split())[:300]})"
    return "it did not finish"
