"""Labelled frames that are read piece by piece: all labels are in memory, features are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import Task, task_space


class FrameDataset(Protocol):
    """Labelled frames, every label known, in blocks that can be read one at a time and in any order.

    A trainer holds all labels and a bounded number of features, so an implementation may read a store. It is called by
    one thread at a time, which need not always be the same.
    """

    def __len__(self) -> int:
        """How many frames there are."""

    @property
    def width(self) -> int:
        """Numbers a frame."""

    @property
    def y(self) -> NDArray[Any]:
        """`(rows, columns)`: labels, as annotations keep them."""

    @property
    def blocks(self) -> Sequence[int]:
        """How many rows each block has, in the order of the rows; 1 or more each."""

    def read(self, block: int) -> NDArray[np.float32]:
        """The features of a block, `(blocks[block], width)`. They must not be written to."""

    def name_of(self, row: int) -> str:
        """What to call a row in a message, e.g. `frame 12 of video '130-25-1280x720'`."""


def check_rows(task: Task, rows: FrameDataset, what: str) -> None:
    """See that a head of the task can use the labels of rows; features are checked as they are read.

    Args:
        task: what is predicted.
        rows: any.
        what: what they are for, as the message should say, e.g. `"training"`.

    Raises:
        AnnotationError: there is none, or a label is outside the task's space.
        SpecError: the labels have other columns than the task.
    """
    space = task_space(task)
    if not len(rows):
        raise AnnotationError(f"There is no {what} example with a known label of the task '{task}'.")
    if rows.y.shape[1] != space.columns:
        raise SpecError(
            f"The task '{task}' has {space.columns} label columns; the {what} examples have {rows.y.shape[1]}."
        )
    if not space.is_valid(rows.y).all():
        raise AnnotationError(
            f"A {what} label of the task '{task}' is not in [{space.low:g}, {space.high:g}]. Leave out "
            "frames that lack a label."
        )


def check_varied(task: Task, rows: FrameDataset) -> None:
    """See that there is something to learn: labels that differ.

    Raises:
        AnnotationError: every frame has the same label.
    """
    if (rows.y == rows.y[0]).all():
        label = ", ".join(f"{value:g}" for value in rows.y[0])
        raise AnnotationError(
            f"All {len(rows)} training frames of the task '{task}' have the same label ({label}), so nothing "
            "can be learnt. Add videos with other labels."
        )


def first_rows(rows: FrameDataset) -> NDArray[np.int64]:
    """The index of the first row of each block."""
    return np.cumsum([0, *rows.blocks], dtype=np.int64)[:-1]


def read_block(rows: FrameDataset, block: int, what: str) -> NDArray[np.float32]:
    """The features of a block, checked.

    Raises:
        SpecError: they have another shape than the rows say, or one is not finite; the message names its row.
    """
    x = rows.read(block)
    if x.shape != (rows.blocks[block], rows.width):
        first = int(first_rows(rows)[block])
        shape = (rows.blocks[block], rows.width)
        raise SpecError(
            f"The {what} features from {rows.name_of(first)} on should be {shape}; found {x.shape}. "
            "Extract all videos by one network."
        )
    with np.errstate(invalid="ignore", over="ignore"):
        suspect = np.flatnonzero(~np.isfinite(x.sum(axis=1)))  # a sum may also overflow
    for row in suspect:
        if not np.isfinite(x[row]).all():
            name = rows.name_of(int(first_rows(rows)[block] + row))
            raise SpecError(f"The features of {what} {name} hold NaN or infinity. Check the embeddings of its video.")
    return x


def read_all(rows: FrameDataset, what: str) -> NDArray[np.float32]:
    """The features of all rows, checked, in memory.

    Raises:
        SpecError: see `read_block`.
    """
    return joined([read_block(rows, block, what) for block in range(len(rows.blocks))], rows.width)


def in_batches(
    rows: FrameDataset, order: Sequence[int], batch: int, what: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The rows of blocks in that order, in batches that do not care where blocks end; the last one may be smaller.

    Returns:
        Features `(n, width)`, and which rows they are, `(n,)`.
    """
    first = first_rows(rows)
    pending: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for block in order:
        x, numbers = read_block(rows, block, what), first[block] + np.arange(rows.blocks[block])
        begin = 0
        while begin < len(x):
            end = begin + batch - sum(len(part) for _, part in pending)
            pending.append((x[begin:end], numbers[begin:end]))
            begin = end
            if sum(len(part) for _, part in pending) == batch:
                yield joined([part for part, _ in pending], rows.width), np.concatenate([part for _, part in pending])
                pending = []
    if pending:
        yield joined([part for part, _ in pending], rows.width), np.concatenate([part for _, part in pending])


def joined(parts: list[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    """Parts one below the other; a single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty((0, width), np.float32)
