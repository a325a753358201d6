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

OF_OWN_SERVERS = {
    # Only what shows runs: nothing is scheduled here, there are no blocks (whose kinds take 2 s of each start to be
    # registered), and events beside those of runs are not kept.
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    # A task's states are written many at once: one at a time they take four times the processor, fall behind where
    # tasks are short, and what is not written when the command ends is lost.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
}
"""What Prefect's server of a run has beside that; one that the user named has its own settings."""

USUAL_GARBAGE_THRESHOLD = gc.get_threshold()
"""How often Python looks for garbage by default. Commands look less often until a run begins, whose objects are large:
imports and records make much that lasts, and looking every 700 objects is a tenth of a short command's time."""
RARE_GARBAGE_THRESHOLD = (50_000, 10, 10)


def prepare() -> None:
    """Set what the user has not set: no telemetry, no downloads by other libraries, quiet logs."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
