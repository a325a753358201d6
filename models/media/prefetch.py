"""Read ahead of the consumer: the next pictures are decoded while this one is searched for faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread

_PATIENCE_S = 0.2


class _End:
    """After the last item: how it ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch[Item](items: Iterable[Item], most: int) -> Iterator[Item]:
    """The same items in the same order, produced by a thread of their own.

    Args:
        items: an error that it raises is raised here, after the items before it.
        most: items that may wait; production pauses there.
    """
    queue: Queue[Item | _End] = Queue(most)
    abandoned = Event()
    thread = Thread(target=_produce, args=(items, queue, abandoned), name="decode", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        abandoned.set()
        _empty(queue)
        thread.join()


def _produce[Item](items: Iterable[Item], queue: Queue[Item | _End], abandoned: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(queue, item, abandoned):
                break
    except BaseException as caught:  # noqa: BLE001 - it is raised again where the items are consumed
        error = caught
    _put(queue, _End(error), abandoned)


def _put[Item](queue: Queue[Item | _End], item: Item | _End, abandoned: Event) -> bool:
    """Whether the consumer still takes it."""
    while not abandoned.is_set():
        try:
            queue.put(item, timeout=_PATIENCE_S)
        except Full:
            continue
        return True
    return False


def _empty[Item](queue: Queue[Item | _End]) -> None:
    """Make room for a producer that waits, so that it sees at once that no more are taken."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
