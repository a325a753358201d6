"""Where the tasks of a run go."""

from __future__ import annotations

import pytest

from affstore.flows.runners.base import RunnerSpec


@pytest.mark.parametrize(
    "address", ["tcp://localhost:8786", "tcp://127.0.0.1:1", "127.0.1.1:1", "tls://[::1]:8786", ""]
)
def test_a_scheduler_on_this_machine_is_not_elsewhere(address):
    assert not RunnerSpec("dask", address=address).elsewhere


@pytest.mark.parametrize("address", ["tcp://node7:8786", "tcp://10.0.0.1:1", "tcp://localhost.example.org:1", "h:1"])
def test_a_scheduler_on_another_machine_is_elsewhere(address):
    assert RunnerSpec("dask", address=address).elsewhere
