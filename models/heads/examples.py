"""Frames to train on that are held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.frame_dataset import FrameDataset, check_rows, read_block
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import Task

_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled frames, every label known: a frame that lacks one action unit is left out, as in the papers.

    They are a `FrameDataset` too.

    Attributes:
        x: `(rows, width)` float32 features.
        y: `(rows, columns)`: labels, as annotations keep them.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.ndim != 2 or len(self.x) != len(self.y):
            shapes = f"{self.x.shape} and {self.y.shape}"
            raise SpecError(f"Examples are features (rows, width) and labels (rows, columns); found {shapes}.")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def width(self) -> int:
        """See `FrameDataset.width`."""
        return self.x.shape[1]

    @property
    def blocks(self) -> Sequence[int]:
        """See `FrameDataset.blocks`."""
        return [min(_BLOCK, len(self) - begin) for begin in range(0, len(self), _BLOCK)]

    def read(self, block: int) -> NDArray[np.float32]:
        """See `FrameDataset.read`."""
        return self.x[block * _BLOCK : (block + 1) * _BLOCK]

    def name_of(self, row: int) -> str:
        """See `FrameDataset.name_of`."""
        return f"example {row}"


def check(task: Task, examples: FrameDataset, what: str) -> None:
    """See that a head of the task can use the examples, all of whose features are read.

    Args:
        task: what is predicted.
        examples: any.
        what: what they are for, as the message should say, e.g. `"training"`.

    Raises:
        AnnotationError: there is none, or a label is outside the task's space.
        SpecError: the labels have other columns than the task, or a feature is not finite.
    """
    check_rows(task, examples, what)
    for block in range(len(examples.blocks)):
        read_block(examples, block, what)


def in_memory(frames: FrameDataset, what: str) -> Examples:
    """All frames of a dataset at once, in their order, for what cannot read them piece by piece.

    Args:
        frames: any.
        what: what they are for, as a message should say, e.g. `"training"`.

    Raises:
        SpecError: features have another shape than the dataset says, or one is not finite.
    """
    blocks = [read_block(frames, block, what) for block in range(len(frames.blocks))]
    x = np.concatenate(blocks) if blocks else np.empty((0, frames.width), np.float32)
    return Examples(x, frames.y)
