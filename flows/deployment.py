"""The entry of a Prefect deployment: the same run as `affstore run CONFIG`, on the server that scheduled it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import State, flow

from affstore.flows.config.run_config import read_config
from affstore.flows.execution import run_pipeline
from affstore.flows.request import request_of
from affstore.flows.stage import state_of
from affstore.flows.watch import Watcher


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
    result = run_pipeline(request_of(found), found.runner, Watcher())
    return state_of(result)
