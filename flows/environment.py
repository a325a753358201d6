"""Offline first: what must be set before Prefect, Hugging Face or TensorFlow are imported."""

from __future__ import annotations

import gc
import os

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect's pages show what each run says; the terminal shows only what affstore says.
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # A server that is gone is not waited for: the run goes on without it.
    "PREFECT_CLIENT_MAX_RETRIES": "1",
    "PREFECT_API_REQUEST_TIMEOUT": "30",
    "PREFECT_CLI_PROMPT": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # Of a task that fails, or that a lost server keeps from starting, affstore tells; Dask would show a traceback.
    "DASK_LOGGING__DISTRIBUTED": "critical",
    # The order of summation must not depend on how many cores a machine or a worker has.
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "MKL_DYNAMIC": "FALSE",
}


USUAL_GARBAGE_THRESHOLD = gc.get_threshold()
"""How often Python looks for garbage by default. Commands look less often until a run begins, whose objects are large:
imports and records make much that lasts, and looking every 700 objects is a tenth of a short command's time."""
RARE_GARBAGE_THRESHOLD = (50_000, 10, 10)


def prepare() -> None:
    """Set what the user has not set: no telemetry, no downloads by other libraries, quiet logs."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
