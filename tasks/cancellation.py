"""How far the work of this process is, for whoever wants to show it, and whether it should stop.

Other processes report by finishing videos.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from affstore.store.contract.errors import AffstoreError

_listeners: list[Callable[[int], None]] = []
_stopping = threading.Event()


class StoppedError(AffstoreError):
    """The run was interrupted while this was under way; nothing of it is kept."""

    exit_code = 130


def report_frames(frames: int = 1) -> None:
    """Say that so many frames are done.

    Raises:
        StoppedError: the run was interrupted.
    """
    stop_if_asked()
    for listener in _listeners:
        listener(frames)


def stop_if_asked() -> None:
    """Stop here if the run was interrupted.

    Raises:
        StoppedError: it was.
    """
    if _stopping.is_set():
        raise StoppedError("The run was interrupted. Run the command again to go on.")


def request_cancellation() -> None:
    """Make every task of this process that is at work stop at its next frame."""
    _stopping.set()


@contextmanager
def subscribe(listener: Callable[[int], None]) -> Iterator[None]:
    """Call `listener` with every tick of this process's threads."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def reset_cancellation() -> None:
    """A run begins: whatever stopped the one before is over."""
    _stopping.clear()
