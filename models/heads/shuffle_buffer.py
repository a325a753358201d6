"""Rows in another order each epoch, in bounded memory (docs/adr/0009)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.frame_dataset import FrameDataset, in_batches, read_all

RowBatch = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Features `(n, width)` of some rows, and which rows they are, `(n,)`."""


class Shuffled:
    """The rows of a training set in batches, every row once an epoch.

    Blocks are read in random order into a shuffle buffer; each batch is sampled from the buffer, and its places are
    filled with the rows that come next. Where all rows fit the buffer they are read once, and an epoch is one
    permutation of them, whatever their blocks.
    """

    def __init__(self, rows: FrameDataset, batch: int, most: int) -> None:
        """Say what is shuffled; nothing is read yet.

        Args:
            rows: the training set.
            batch: rows a batch; the last one of an epoch may be smaller.
            most: rows that may be held; at least a batch is.
        """
        self._rows, self._batch, self._most = rows, batch, most
        self._buffer: NDArray[np.float32] | None = None

    def epoch(self, seed: int, epoch: int) -> Iterator[RowBatch]:
        """The batches of an epoch; their order depends on nothing but the seed, the epoch and the sizes of blocks.

        Raises:
            SpecError: a feature is not finite; the message names its row.
        """
        # Initial parameters are drawn from the seed alone, which to NumPy is the same as [seed, 0].
        generator = np.random.default_rng([seed, epoch + 1])
        return self._whole(generator) if len(self._rows) <= self._most else self._mixed(generator)

    def _whole(self, generator: np.random.Generator) -> Iterator[RowBatch]:
        if self._buffer is None:
            self._buffer = read_all(self._rows, "training")
        order = generator.permutation(len(self._rows))
        for begin in range(0, len(order), self._batch):
            numbers = order[begin : begin + self._batch]
            yield self._buffer[numbers], numbers

    def _mixed(self, generator: np.random.Generator) -> Iterator[RowBatch]:
        places = max(self._most // self._batch, 1) * self._batch
        if self._buffer is None:
            self._buffer = np.empty((places + self._batch, self._rows.width), np.float32)
        buffer, which = self._buffer, np.empty(places + self._batch, np.int64)
        blocks = generator.permutation(len(self._rows.blocks)).tolist()
        filled = 0
        for x, numbers in in_batches(self._rows, blocks, self._batch, "training"):
            if filled < places or len(x) < self._batch:  # only the last is smaller: it comes on top
                at: slice | NDArray[np.int64] = slice(filled, filled + len(x))
                filled += len(x)
            else:
                at = generator.choice(places, self._batch, replace=False, shuffle=False)
                yield buffer[at], which[at]
            buffer[at], which[at] = x, numbers
        order = generator.permutation(filled)
        for begin in range(0, filled, self._batch):
            at = order[begin : begin + self._batch]
            yield buffer[at], which[at]
