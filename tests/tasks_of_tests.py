"""Small tasks for tests of what runs tasks; Dask's workers import them by name."""

from __future__ import annotations

import _thread
import time

from affstore import FeatureStore
from affstore.tasks.outcomes import Outcome
from affstore.tasks.task import task
from affstore.testing.artifacts import CODE, source


@task("double")
def double(number):
    return 2 * number


@task("note")
def note(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(value))


@task("put")
def put(store_url, name):
    """Write a source; one whose name ends in `!` is preceded by Ctrl-C, when the others have ended."""
    if name.endswith("!"):
        time.sleep(1)
        _thread.interrupt_main()  # no signal: see `in_own_process` of tests/test_server.py, which sends real ones
    draft = FeatureStore(store_url).draft(CODE, "run")
    draft.put(source(name))
    return Outcome("put", name, "done", draft=draft)


@task("has gpu")
def has_gpu():
    """Whether the Dask worker that this runs on declares a GPU."""
    from distributed import get_worker

    time.sleep(0.3)  # so that the next one goes to another worker
    return "GPU" in get_worker().state.total_resources
