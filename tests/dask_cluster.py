"""A Dask cluster as labs have it: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import free_port, wait_for


@contextmanager
def dask_cluster(folder: Path, *workers: Sequence[str]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler, and a worker for each of the lists of further options; its address, and all of them, it first."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    processes = [
        subprocess.Popen([*command, "--no-dashboard"], cwd=folder, env=_environment(), stderr=subprocess.DEVNULL)
    ]
    try:
        wait_for(port)
        processes += [joined(address, folder, *options) for options in workers]
        yield address, processes
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def joined(address: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A worker that joins a scheduler."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    return subprocess.Popen(
        [*command, "--preload", "affstore.flows.worker", "--death-timeout", "20", *options],
        cwd=folder,
        env=_environment(),
        stderr=subprocess.DEVNULL,
    )


def _environment() -> dict[str, str]:
    """With the tests' own modules, of which tasks are."""
    return os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"}
