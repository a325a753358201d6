"""Worker processes of a cluster of this machine that hang before they are up; imports Dask."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed import Nanny
from distributed.core import Status

START_S = 120
"""How long a worker process may take to be up: it imports torch, perhaps from a slow disk and beside many others."""
_TRIES = 2


class StartingNanny(Nanny):
    """Starts a worker process, kills it where it is not up in time, and starts it once more.

    Dask's own nanny waits without end for such a process, and the whole cluster for the nanny.
    """

    async def instantiate(self) -> Status:
        """Dask calls this to start the worker's process, and again where that died."""
        for _ in range(_TRIES):
            killed: list[Any] = []
            waiting = asyncio.get_running_loop().call_later(START_S, lambda: killed.append(self._kill()))  # noqa: B023
            try:
                status = await super().instantiate()
            finally:
                waiting.cancel()
            if not killed:
                break
        return status

    def _kill(self) -> Any:
        return self.process and self.process.process and self.process.process.kill()
