"""Workers of a Dask cluster that join during a run are asked what those before them were; imports Dask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client, Worker, WorkerPlugin

from affstore.flows.watch import watching
from affstore.flows.worker_checks import WorkerNeeds, facts_of_this_process, faults

_TOPIC = "affstore-late-worker"


class LateWorkerCheck(WorkerPlugin):
    """Asks the worker that it is on, and tells the command that runs what is wrong with it."""

    name = _TOPIC

    def __init__(self, needs: WorkerNeeds) -> None:
        self.needs = needs

    async def setup(self, worker: Worker) -> None:
        """Dask calls this when a worker starts."""
        asked = time.time()
        facts = await asyncio.to_thread(facts_of_this_process, self.needs)
        # Whether its clock is right only somebody on another machine could say.
        found = list(faults(self.needs, facts, (asked, time.time())))
        if found:
            worker.log_event(_TOPIC, {"address": worker.address, "host": facts.host, "faults": found})


@contextmanager
def late_workers_checked(client: Client, needs: WorkerNeeds) -> Iterator[None]:
    """Send home each worker that joins while this lasts and lacks something, with a notice."""

    async def refuse(event: tuple[Any, dict[str, Any]]) -> None:
        _, found = event
        watching().notice(
            f"The worker {found['address']} on {found['host']}, which came late, {'; it '.join(found['faults'])}. "
            "It was sent home; the others go on."
        )
        await client.retire_workers(workers=[found["address"]], close_workers=True)

    client.subscribe_topic(_TOPIC, refuse)  # type: ignore[no-untyped-call]
    client.register_plugin(LateWorkerCheck(needs))
    try:
        yield
    finally:
        # A scheduler that is gone has forgotten it, and a client that lost it has none to ask.
        with suppress(OSError, RuntimeError, AttributeError):
            client.unregister_worker_plugin(_TOPIC)  # type: ignore[no-untyped-call]
