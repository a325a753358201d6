"""The entry of a Prefect deployment: the same run as `affstore run CONFIG`, on the server that scheduled it."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.config import read_config
from flows.run import execute, request_of
from flows.runners import RunnerSpec
from flows.watch import Watcher


@flow(name="scheduled", timeout_seconds=14 * 24 * 3600, persist_result=False)
def scheduled(config: str) -> str:
    """Run a configuration.

    Args:
        config: path of a YAML file.

    Returns:
        Where the run's report is.
    """
    found = read_config(Path(config))
    result = execute(request_of(found), RunnerSpec(**found.runner.model_dump()), Watcher())
    return str(result.report)
