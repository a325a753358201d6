"""Worker processes of a Dask cluster: one of this machine that lasts as long as the run, or a running one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions, workers_of
from affstore.store.contract.extras import require_extra

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism


class DaskOptions(RunnerOptions):
    """What a configuration may say of Dask.

    Attributes:
        scheduler: address of a running scheduler; empty for a cluster of this machine.
    """

    scheduler: str = ""


class DaskRunner(RunnerKind[DaskOptions]):
    """Tasks in worker processes of a Dask cluster."""

    name = "dask"
    description = "worker processes of a Dask cluster, of this machine or at --scheduler"
    Options = DaskOptions

    def parallelism(self, options: DaskOptions) -> Parallelism:
        """A process for each task, whose forward passes have one thread unless told otherwise: see `flows.worker`."""
        from affstore.tasks.extract.memory_estimate import Parallelism

        workers = workers_of(options)
        return Parallelism(workers, workers, int(os.environ.get("AFFSTORE_THREADS") or 1))

    @contextmanager
    def start(self, options: DaskOptions) -> Iterator[Runner]:
        """The scheduler that is named, or a cluster that is stopped at the end."""
        require_extra("cluster", "The runner 'dask'")
        if options.scheduler:
            yield _at(options.scheduler)
            return
        from distributed import LocalCluster

        with LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers_of(options),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            preload=["affstore.flows.worker"],
        ) as cluster:
            yield _at(cluster.scheduler_address)

    def elsewhere(self, options: DaskOptions) -> bool:
        """Whether the scheduler is not known to be on this machine."""
        return bool(options.scheduler) and not _on_this_machine(options.scheduler)


def _at(scheduler: str) -> Runner:
    from prefect_dask.task_runners import DaskTaskRunner

    return Runner(DaskTaskRunner(address=scheduler), lambda: _client(scheduler))


@contextmanager
def _client(scheduler: str) -> Iterator[Executor]:
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor(pure=False)


def _on_this_machine(address: str) -> bool:
    """Whether an address's host has loopback addresses only: an address, `localhost`, or a name for it."""
    host = urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)} if host else set()
    except OSError:
        return False
    return bool(found) and all(ip_address(one).is_loopback for one in found)


RUNNERS.register(DaskRunner.name, DaskRunner())
