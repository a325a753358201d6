"""The labelled frames of many videos, read from the store block by block."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.heads.sequence.dataset import Piece
from affstore.tasks.specs import Input
from affstore.tasks.training.examples import LabelledSubject
from affstore.tasks.training.sequence_dataset import InputReader, name_of

_BLOCK_FRAMES = 1024
"""A chunk of an embedding or so: few enough that many videos meet among the rows that are mixed (docs/adr/0009)."""


class _Block(NamedTuple):
    """A piece of a subject's video.

    Attributes:
        subject: index of the subject.
        frames: `(rows,)`: the frames of the piece that have all inputs and every label column, 1 or more.
    """

    subject: int
    frames: NDArray[np.int64]


class StoreFrames:
    """The labelled frames of some subjects that have all inputs; see `models.heads.frame_dataset.FrameDataset`.

    Labels and masks are read at once and stay in memory; features are read when a block is.

    Attributes:
        y: the labels of all rows, as annotations keep them.
        blocks: rows of each block.
        width: numbers a frame, all inputs side by side.
    """

    def __init__(
        self,
        store: FeatureStore,
        subjects: Sequence[LabelledSubject],
        inputs: Sequence[Input],
        block_frames: int = _BLOCK_FRAMES,
    ) -> None:
        """Read labels and masks.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            subjects: the labelled subjects with the records of their inputs.
            inputs: which array of each is meant.
            block_frames: frames of a video that are read at once.

        Raises:
            SpecError: an extractor does not give the array that is asked for.
        """
        self._reader = InputReader(store, [one.features for one in subjects], inputs)
        self._names = [name_of(one) for one in subjects]
        self._blocks: list[_Block] = []
        values: list[NDArray[Any]] = []
        for subject, one in enumerate(subjects):
            label = store.read(one.label.address)
            usable = np.logical_and.reduce(np.hstack([self._reader.present(subject), label["known"]]), axis=1)
            values.append(label["value"][usable])
            self._blocks += _blocks_of(subject, usable, block_frames)
        self.y: NDArray[Any] = np.concatenate(values) if values else np.empty((0, 0), np.int8)
        self.blocks: Sequence[int] = [len(block.frames) for block in self._blocks]
        self.width = sum(self._reader.widths)
        self._ends = list(accumulate(self.blocks))

    def __len__(self) -> int:
        return len(self.y)

    def read(self, block: int) -> NDArray[np.float32]:
        """See `FrameDataset.read`."""
        subject, frames = self._blocks[block]
        first, stop = int(frames[0]), int(frames[-1]) + 1
        [parts] = self._reader.read([Piece(subject, first, stop)])
        x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return x if len(frames) == len(x) else x[frames - first]

    def name_of(self, row: int) -> str:
        """See `FrameDataset.name_of`."""
        block = bisect_right(self._ends, row)
        subject, frames = self._blocks[block]
        frame = frames[row - (self._ends[block - 1] if block else 0)]
        return f"frame {frame} of video '{self._names[subject]}'"


def _blocks_of(subject: int, usable: NDArray[np.bool_], most: int) -> Iterator[_Block]:
    """The usable frames of a video, piece by piece; a piece that has none is left out."""
    for start in range(0, len(usable), most):
        frames = start + np.flatnonzero(usable[start : start + most])
        if len(frames):
            yield _Block(subject, frames)
