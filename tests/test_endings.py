"""A command ends with its documented code, whatever the store's threads do at that moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from affstore import FeatureStore
from tests.factories import commit, source

AT_WORK = """
import asyncio, sys, threading, time
import icechunk
from zarr.core.buffer import default_buffer_prototype
from affstore.flows.cli import main

store = icechunk.Repository.open(icechunk.local_filesystem_storage(sys.argv[1])).readonly_session("main").store

async def read():
    while True:
        await asyncio.gather(*[store.get("source/a/zarr.json", default_buffer_prototype()) for _ in range(50)])

for _ in range(3):
    threading.Thread(target=lambda: asyncio.run(read()), daemon=True).start()
time.sleep(0.2)
sys.argv = ["affstore", *sys.argv[2:]]
main()
"""


@pytest.fixture
def url(tmp_path) -> str:
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a"))
    return url


def codes(command: list[str], times: int) -> set[int]:
    """The exit codes of a command that is run so many times."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return {subprocess.run(command, check=False, timeout=120, **quiet).returncode for _ in range(times)}


@pytest.mark.parametrize("times", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize(
    ("words", "code"), [(("show", "nobody"), 4), pytest.param(("show", "a"), 0, marks=pytest.mark.slow)]
)
def test_a_command_ends_with_its_code_while_threads_of_the_engine_still_work(url, words, code, times):
    # Left to Python's own teardown, half of such processes crash.
    assert codes([sys.executable, "-c", AT_WORK, url, *words, "--store", url], times) == {code}


COMMITS = """
import sys
from affstore import FeatureStore
from tests.factories import commit, visual
commit(FeatureStore(sys.argv[1]), visual("a"))
"""


@pytest.mark.parametrize("times", [2, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_script_that_ends_right_after_its_commit_ends_well(url, times):
    assert codes([sys.executable, "-c", COMMITS, url], times) == {0}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_show_ends_well_200_times_in_a_row(url):
    assert codes([sys.executable, "-m", "affstore.flows.cli", "show", "--store", url], 200) == {0}
