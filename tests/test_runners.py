"""Where the tasks of a run go: kinds of runners with their options."""

from __future__ import annotations

import socket

import pytest

from affstore.flows.runners.base import RunnerSpec
from affstore.store.contract.errors import SpecError


@pytest.mark.parametrize(
    "address", ["tcp://localhost:8786", "tcp://127.0.0.1:1", "127.0.1.1:1", "tls://[::1]:8786", "localhost:8786", ""]
)
def test_a_scheduler_on_this_machine_is_not_elsewhere(address):
    assert not RunnerSpec.of("dask", scheduler=address).elsewhere


@pytest.mark.parametrize("address", ["tcp://node7:8786", "tcp://10.0.0.1:1", "tcp://localhost.invalid:1", "h:1"])
def test_a_scheduler_on_another_machine_is_elsewhere(address):
    assert RunnerSpec.of("dask", scheduler=address).elsewhere


def test_a_name_for_this_machine_is_resolved(monkeypatch):
    addresses = {"here": ["127.0.1.1", "::1"], "both": ["127.0.0.1", "10.0.0.1"]}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, _: [(0, 0, 0, "", (one, 0)) for one in addresses[host]])
    assert not RunnerSpec.of("dask", scheduler="tcp://here:8786").elsewhere
    assert RunnerSpec.of("dask", scheduler="tcp://both:8786").elsewhere


def test_a_changed_runner_keeps_what_was_not_named():
    spec = RunnerSpec.of("dask", workers=3, scheduler="tcp://localhost:1")
    assert spec.changed(workers=4) == RunnerSpec.of("dask", workers=4, scheduler="tcp://localhost:1")
    assert spec.changed("dask") == spec
    assert spec.changed("threads") == RunnerSpec.of("threads", workers=3)


@pytest.mark.parametrize("value", [-1, 10_001, "many", None])
def test_a_wrong_value_of_an_option_is_named(value):
    with pytest.raises(SpecError, match=r"'runner\.workers' is wrong.*'threads'"):
        RunnerSpec.of("threads", workers=value)
