"""Small tasks for tests of what runs tasks; Dask's workers import them by name."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import time

from affstore import FeatureStore
from affstore.store.contract.errors import MediaError
from affstore.tasks.extract import networks
from affstore.tasks.outcomes import Outcome
from affstore.tasks.task import task
from affstore.testing.artifacts import CODE, source

_KEPT = []


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


def fill(limit_bytes, share):
    """Let this process keep so much of a limit in memory for as long as it lasts."""
    import psutil

    _KEPT.append(b"\1" * (int(limit_bytes * share) - psutil.Process().memory_info().rss))


@task("flaky")
def flaky(store_url, name, folder, times, fault):
    """Write a source; each of the first so many tries fails by a fault, after it has written."""
    tried = folder / f"{name}.tries"
    with tried.open("a") as file:
        file.write("x")
    draft = FeatureStore(store_url).draft(CODE, "run")
    draft.put(source(name, 400))
    if tried.stat().st_size <= times:
        fail_by(fault)
    return Outcome("flaky", name, "done", f"{name} is there", draft=draft)


def fail_by(fault):
    """Fail as the system, a library or a killed process does."""
    if fault == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "waits":
        time.sleep(600)
    if fault == "unreadable":
        with open("/proc/self/mem", "rb") as memory:
            memory.read()  # EIO, of Linux itself
    if fault == "gpu":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    if fault == "media":
        raise MediaError("It is not what it claims to be.")
    raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))


def note_loading(loading, folder):
    """Begin to load networks; of each, a file that is called as this process is left instead of building it."""
    networks.detector = lambda spec, *_: None
    networks.face_network = lambda spec, *_: (folder / f"{os.getpid()} {spec.name}").touch()
    loading.begin()
