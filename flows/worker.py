"""Preloaded by every Dask worker: what must be set before anything else is imported there."""

from flows.environment import prepare

prepare()
