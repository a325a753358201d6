"""Preloaded by every Dask worker: what must be set before anything else is imported there, and how it ends."""

import atexit
import multiprocessing
import os
import sys

from affstore.flows.environment import prepare

prepare()
os.environ.setdefault("AFFSTORE_THREADS", "1")  # a cluster has a worker process for every core

if "distributed" in sys.modules:  # a plugin's jobs may do without Dask
    import dask

    # What fills a worker are libraries and networks, which stay: at 80 % Dask would never give it a task again. One
    # that needs too much is still ended, at 95 %, which a run notices.
    dask.config.set({f"distributed.worker.memory.{limit}": False for limit in ("target", "spill", "pause")})


def _end() -> None:
    """End at once: taking Python down piece by piece takes a second with torch, and threads of the engine may crash."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


if multiprocessing.parent_process() is not None:  # the process of a nanny, which does not ask for an exit code
    atexit.register(_end)
