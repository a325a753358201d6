"""Small tasks for tests of runners; workers in other processes import them by name."""

from __future__ import annotations

import os

from affstore.store.contract.errors import MediaError
from affstore.tasks.task import task


@task("double")
def double(number: int) -> tuple[int, int]:
    """Twice a number, and the process that computed it.

    Raises:
        MediaError: the number is negative.
    """
    if number < 0:
        raise MediaError(f"{number} is negative.")
    return 2 * number, os.getpid()
