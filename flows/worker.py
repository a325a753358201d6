"""Preloaded by every Dask worker: what must be set before anything else is imported there."""

import os

from affstore.flows.environment import prepare

prepare()
os.environ.setdefault("AFFSTORE_THREADS", "1")  # a cluster has a worker process for every core
