"""Workers of a Dask cluster that join during a run are asked what those before them were; imports Dask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from distributed import Client, Worker, WorkerPlugin
from distributed.client import ClosedClientError

from affstore.flows.watch import watching
from affstore.flows.worker_checks import WorkerNeeds, clock_faults, facts_of_this_process, faults


class LateWorkerCheck(WorkerPlugin):
    """Asks the worker that it is on, and tells the command that runs what is wrong with it.

    Attributes:
        name: of the plugin, and of the topic that it tells: another run's on the same scheduler has another one.
    """

    def __init__(self, needs: WorkerNeeds, declared: bool) -> None:
        self.needs, self.declared = needs, declared
        self.name = f"affstore-late-worker-{uuid4().hex}"

    async def setup(self, worker: Worker) -> None:
        """Dask calls this when a worker starts."""
        needs = self.needs.of_worker(worker.state.total_resources, self.declared)
        facts = await asyncio.to_thread(facts_of_this_process, needs)
        # Whether its clock is right only the command can say.
        found = list(faults(needs, facts, (facts.time_s, facts.time_s)))
        told = {"address": worker.address, "host": facts.host, "faults": found, "time_s": time.time()}
        worker.log_event(self.name, told)


@contextmanager
def late_workers_checked(client: Client, needs: WorkerNeeds, declared: bool) -> Iterator[None]:
    """Send home each worker that joins while this lasts and lacks something, with a notice.

    Args:
        client: of the cluster.
        needs: what each must have.
        declared: whether workers of the cluster declare their GPU.
    """

    async def judge(event: tuple[Any, dict[str, Any]]) -> None:
        _, told = event
        now = time.time()
        found = [*told["faults"], *clock_faults(told["time_s"], (now, now))]
        if found:
            watching().notice(
                f"The worker {told['address']} on {told['host']}, which came late, {'; it '.join(found)}. It was sent "
                "home; the others go on."
            )
            await client.retire_workers(workers=[told["address"]], close_workers=True)

    check = LateWorkerCheck(needs, declared)
    client.subscribe_topic(check.name, judge)  # type: ignore[no-untyped-call]
    client.register_plugin(check)
    try:
        yield
    finally:
        # A scheduler that is gone has forgotten it, and a client that lost it has none to ask.
        with suppress(ClosedClientError, OSError, RuntimeError, AttributeError, ValueError):
            client.unsubscribe_topic(check.name)  # type: ignore[no-untyped-call]
            client.unregister_worker_plugin(check.name)  # type: ignore[no-untyped-call]
