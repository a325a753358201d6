"""Where tasks run: threads of this process, or a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from affstore.store.contract.errors import SpecError

_VIDEO_BYTES = 3 << 30
"""What one long video may need beside the networks' parameters, amply."""


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """How a run fans out.

    Attributes:
        kind: `threads` of one process, with the networks loaded once; or `dask`.
        workers: threads, or worker processes of an own LocalCluster; 0 to choose by the machine.
        address: of a running Dask scheduler; empty for an own LocalCluster.
    """

    kind: Literal["threads", "dask"] = "threads"
    workers: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("threads", "dask"):
            raise SpecError(f"There is no runner '{self.kind}': choose threads or dask.")
        if self.workers < 0:
            raise SpecError(f"A runner cannot have {self.workers} workers; 0 chooses by the machine.")
        if self.address and self.kind != "dask":
            raise SpecError("Only the runner dask takes the address of a scheduler.")

    @property
    def elsewhere(self) -> bool:
        """Whether the scheduler may have workers on other machines."""
        host = urlsplit(self.address if "://" in self.address else f"tcp://{self.address}").hostname or ""
        return bool(self.address) and host not in ("localhost", "::1") and not host.startswith("127.")

    @property
    def at_work(self) -> int:
        """How many tasks run at once: one a core, as far as memory goes."""
        if self.workers:
            return self.workers
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return max(1, min(len(os.sched_getaffinity(0)), memory_bytes // _VIDEO_BYTES))


@dataclass(frozen=True, slots=True)
class Runner:
    """Where the tasks of a run go.

    Attributes:
        prefect: the task runner that all flows of the run share.
        workers: how many tasks run at once.
        scheduler: address of the Dask scheduler; empty for threads.
    """

    prefect: Any
    workers: int
    scheduler: str = ""

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """The same threads or workers without Prefect."""
        if not self.scheduler:
            pool = ThreadPoolExecutor(self.workers, thread_name_prefix="work")
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
            return
        from distributed import Client

        with Client(self.scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            yield client.get_executor(pure=False)


@contextmanager
def task_runner(spec: RunnerSpec) -> Iterator[Runner]:
    """Where the tasks of a run go; an own cluster is started once and stopped at the end."""
    if spec.kind == "threads":
        from prefect.task_runners import ThreadPoolTaskRunner

        yield Runner(ThreadPoolTaskRunner(max_workers=spec.at_work), spec.at_work)
        return
    from prefect_dask.task_runners import DaskTaskRunner

    if spec.address:
        yield Runner(DaskTaskRunner(address=spec.address), spec.at_work, spec.address)
        return
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=spec.at_work,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        preload=["affstore.flows.worker"],
    ) as cluster:
        address = cluster.scheduler_address
        yield Runner(DaskTaskRunner(address=address), spec.at_work, address)
