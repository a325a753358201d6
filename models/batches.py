"""Batches that several videos fill together, so that short videos do not starve a network.

Every pass has the network's one batch shape (the rest is padding), so a row does not know whose crops were beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors.base import FaceExtractor, FaceOutput

Crop = NDArray[np.uint8]

_BATCHES_WAITING = 2
"""Full batches that may wait for each thread; a thread that brings more crops waits too, so memory is bounded."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one video.

    Attributes:
        rows: which rows these are, in the order their crops were given.
        output: the rows themselves.
    """

    rows: NDArray[np.int64]
    output: FaceOutput


class SharedNetwork:
    """One face network that any number of videos use at once.

    A full batch leaves at once. What does not fill one leaves when the network would be idle otherwise and somebody has
    no more crops to give.
    """

    def __init__(self, network: FaceExtractor, pool: ThreadPoolExecutor, threads: int) -> None:
        self._network, self._pool, self._threads = network, pool, threads
        self._waiting: deque[tuple[Feed, int, Crop]] = deque()
        self._most_waiting = network.batch * (threads * _BATCHES_WAITING + 1)
        self._running = 0
        self._changed = threading.Condition()

    @property
    def spec(self) -> FaceExtractorSpec:
        """What the network is."""
        return self._network.spec

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """A video's own door to the network; crops left behind it when it closes are forgotten."""
        feed = Feed(self)
        try:
            yield feed
        finally:
            with self._changed:
                self._waiting = deque(item for item in self._waiting if item[0] is not feed)
                self._changed.notify_all()

    def put(self, feed: Feed, row: int, crop: Crop) -> None:
        """Let a crop wait for its batch; waits itself while too many do."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._most_waiting or feed.failed)
            self._waiting.append((feed, row, crop))
            self._start()

    def drain(self, feed: Feed) -> None:
        """Wait until all of a feed's crops have gone through."""
        with self._changed:
            feed.finishing = True
            self._start()
            self._changed.wait_for(lambda: feed.done or feed.failed)

    def nothing(self) -> Piece:
        """What comes of no crops: no rows, but of the right widths."""
        side = self.spec.size_px
        return Piece(np.empty(0, np.int64), self._network.embed(np.empty((0, side, side, 3), np.uint8)))

    def _start(self) -> None:
        """Send off what may leave now; the lock is held."""
        while self._running < self._threads and len(self._waiting) >= self._network.batch:
            self._send(self._network.batch)
        if not self._running and any(feed.finishing for feed, _, _ in self._waiting):
            self._send(len(self._waiting))

    def _send(self, crops: int) -> None:
        batch = [self._waiting.popleft() for _ in range(crops)]
        self._running += 1
        self._pool.submit(self._pass, batch)
        self._changed.notify_all()

    def _pass(self, batch: Sequence[tuple[Feed, int, Crop]]) -> None:
        failure: BaseException | None = None
        try:
            output = self._network.embed(np.stack([crop for _, _, crop in batch]))
        except BaseException as error:  # noqa: BLE001 - every video of the batch hears of it, in its own thread
            failure = error
        with self._changed:
            self._running -= 1
            feeds = list({id(feed): feed for feed, _, _ in batch}.values())
            for feed in feeds:
                mine = np.array([index for index, item in enumerate(batch) if item[0] is feed])
                if failure is not None:
                    feed.failure = failure
                else:
                    feed.pieces.append(Piece(np.array([batch[i][1] for i in mine]), _rows(output, mine)))
                    feed.through += len(mine)
            self._start()
            self._changed.notify_all()


class Feed:
    """The crops of one video on their way through a network. Used by one thread."""

    def __init__(self, network: SharedNetwork) -> None:
        self._network = network
        self._given = 0
        self.through = 0
        self.finishing = False
        self.failure: BaseException | None = None
        self.pieces: list[Piece] = []

    @property
    def done(self) -> bool:
        """Whether every crop that was given has its row."""
        return self.through == self._given

    @property
    def failed(self) -> bool:
        """Whether a pass broke."""
        return self.failure is not None

    def add(self, crop: Crop) -> None:
        """Give the next crop `(size_px, size_px, 3)`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even the smallest batch.
        """
        self._check()
        self._given += 1
        self._network.put(self, self._given - 1, crop)

    def finish(self) -> list[Piece]:
        """All rows, once the last one is there.

        Raises:
            DeviceMemoryError: the GPU has no memory for even the smallest batch.
        """
        self._network.drain(self)
        self._check()
        return self.pieces or [self._network.nothing()]

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


def _rows(output: FaceOutput, rows: NDArray[np.int64]) -> FaceOutput:
    """Some rows of an output, copied: a batch must not be kept for one of its rows."""
    return FaceOutput(
        output.embedding[rows],
        None if output.logits is None else output.logits[rows],
        None if output.valence_arousal is None else output.valence_arousal[rows],
    )
