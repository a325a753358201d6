"""How far the work of this process is, for whoever wants to show it. Other processes report by finishing videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[int], None]] = []


def tick(frames: int = 1) -> None:
    """Say that so many frames are done."""
    for listener in _listeners:
        listener(frames)


@contextmanager
def listening(listener: Callable[[int], None]) -> Iterator[None]:
    """Call `listener` with every tick of this process's threads."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
