"""Worker processes of a cluster of this machine: those that hang before they are up, and the port of a dashboard."""

from __future__ import annotations

import signal
import socket
import threading
import time
import warnings
from contextlib import contextmanager, suppress

import psutil
import pytest

from affstore.flows.runners.dask import _of_this_machine, on_scheduler
from affstore.store.contract.errors import SpecError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
UP_S = 12


def workers_of_this_process():
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


@contextmanager
def stopping(most):
    """Stop so many of the worker processes that this process starts from now on, each as soon as it is there."""
    known, ended, stopped = {child.pid for child in workers_of_this_process()}, threading.Event(), []

    def watch():
        while not ended.wait(0.01) and len(stopped) < most:
            for child in workers_of_this_process():
                if child.pid not in {*known, *stopped} and len(stopped) < most:
                    child.send_signal(signal.SIGSTOP)
                    stopped.append(child.pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield stopped
    finally:
        ended.set()
        watcher.join()


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("affstore.flows.starting_workers.START_S", UP_S)
    known = {child.pid for child in workers_of_this_process()}
    yield
    deadline = time.monotonic() + 20
    while (left := {child.pid for child in workers_of_this_process()} - known) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def test_a_worker_that_hangs_before_it_is_up_is_started_once_more():
    with stopping(1) as stopped, _of_this_machine(2) as address:
        with on_scheduler(address) as runner, runner.executor() as pool:
            assert list(pool.map(abs, range(-9, 0))) == list(range(9, 0, -1))
        assert len(stopped) == 1


def test_a_worker_that_hangs_each_time_is_an_error_in_one_sentence():
    with pytest.raises(SpecError, match="did not start"), stopping(9) as stopped, _of_this_machine(1):
        pass
    assert len(stopped) == 2


def test_a_cluster_does_not_mind_who_has_the_port_of_dask_s_dashboard():
    with socket.socket() as taken, warnings.catch_warnings(action="error"):
        with suppress(OSError):
            taken.bind(("", 8787))
            taken.listen()
        with _of_this_machine(1) as address, on_scheduler(address) as runner, runner.executor() as pool:
            assert pool.submit(abs, -1).result() == 1
