"""The entry of a Prefect deployment: the same run as `affstore run CONFIG`, on the server that scheduled it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.states import Completed, Failed

from affstore.flows.config import read_config
from affstore.flows.run import RunResult, execute, request_of
from affstore.flows.runners import RunnerSpec
from affstore.flows.watch import Watcher
from affstore.tasks.outcomes import Outcome

_NAMED = 3
"""Complaints that a state's message holds; the report has them all."""


@flow(name="scheduled", timeout_seconds=14 * 24 * 3600, persist_result=False)
def scheduled(config: str) -> State[Any]:
    """Run a configuration.

    Args:
        config: path of a YAML file.

    Returns:
        Failed where something may work later, so that an automation can tell somebody; Completed, but under the name
        Quarantined, where inputs cannot be used as they are; else Completed. Each names the run's report.
    """
    found = read_config(Path(config))
    result = execute(request_of(found), RunnerSpec(**found.runner.model_dump()), Watcher())
    return state_of(result)


def state_of(result: RunResult) -> State[Any]:
    """How Prefect shows what a run did."""
    said = f"{result.count('done')} done, {result.count('cached')} cached. Report: {result.report}"
    failed, quarantined = (
        [outcome for outcome in result.outcomes if outcome.status == status] for status in ("failed", "quarantined")
    )
    complaints = " ".join(_complaints(outcomes) for outcomes in (failed, quarantined) if outcomes)
    if failed:
        return Failed(message=f"{complaints} {said}")
    if quarantined:
        return Completed(name="Quarantined", message=f"{complaints} {said}")
    return Completed(message=said)


def _complaints(outcomes: Sequence[Outcome]) -> str:
    """The first few in words, and how many there are."""
    named = " ".join(f"{outcome.stage} of '{outcome.subject}': {outcome.reason}" for outcome in outcomes[:_NAMED])
    return f"{len(outcomes)} {outcomes[0].status}. {named}"
