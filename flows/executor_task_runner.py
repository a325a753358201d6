"""A task runner of Prefect on any executor of `concurrent.futures`; imports Prefect."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Any, Self
from uuid import uuid4

from prefect import State, Task
from prefect.client.schemas.objects import RunInput
from prefect.context import hydrated_context, serialize_context
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.settings.context import get_current_settings
from prefect.task_engine import run_task_sync
from prefect.task_runners import TaskRunner


class ExecutorTaskRunner(TaskRunner[PrefectConcurrentFuture[Any]]):
    """Submits each task, with what Prefect must know of its flow, as one call of `run_task`."""

    def __init__(self, executor: Executor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._executor = executor

    def __getstate__(self) -> dict[str, Any]:
        # A flow travels with every task, and its runner with it; where a task runs, nothing is submitted.
        return {**self.__dict__, "_executor": None}

    def duplicate(self) -> Self:
        """The same executor: who started it stops it."""
        return type(self)(self._executor)

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Hand a task to the executor; tasks of affstore wait for no other."""
        environment = get_current_settings().to_environment_variables(exclude_unset=True)
        run_id = uuid4()
        call = {"task": task, "task_run_id": run_id, "parameters": parameters, "dependencies": dependencies}
        future = self._executor.submit(run_task, call, serialize_context(), environment)
        return PrefectConcurrentFuture(run_id, future)


def run_task(call: dict[str, Any], context: dict[str, Any], environment: dict[str, str]) -> State[Any] | None:
    """Run a task as Prefect does, in whichever process this is called."""
    os.environ.update(environment)
    with hydrated_context(context):
        return run_task_sync(**call, return_type="state")
