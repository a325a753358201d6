"""Small tasks for tests of what runs tasks; Dask's workers import them by name."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE


@task(name="double", cache_policy=NO_CACHE, persist_result=False)
def double(number):
    return 2 * number


@task(name="note", cache_policy=NO_CACHE, persist_result=False)
def note(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(value))
