"""Frames to train on: rows of features with labels that are all known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.contract.errors import AnnotationError, SpecError
from store.contract.labels import task_space


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled frames, every label known: a frame that lacks one action unit is left out, as in the papers.

    Attributes:
        x: `(rows, width)` float32 features.
        y: `(rows, 1)` int8 class, `(rows, 12)` int8 0 or 1, or `(rows, 2)` float32, as annotations keep them.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.ndim != 2 or len(self.x) != len(self.y):
            shapes = f"{self.x.shape} and {self.y.shape}"
            raise SpecError(f"Examples are features (rows, width) and labels (rows, columns); found {shapes}.")

    def __len__(self) -> int:
        return len(self.x)


def check(task: str, examples: Examples, what: str) -> None:
    """See that a head of the task can use the examples.

    Args:
        task: `expr`, `au` or `va`.
        examples: any.
        what: what they are for, as the message should say, e.g. `"training"`.

    Raises:
        AnnotationError: there is none, or a label is outside the task's space.
        SpecError: the labels have other columns than the task, or a feature is not finite.
    """
    space = task_space(task)
    columns = 1 if space.kind == "one_of" else len(space)
    if examples.y.shape[1] != columns:
        raise SpecError(
            f"The task '{task}' has {columns} label columns; the {what} examples have {examples.y.shape[1]}."
        )
    if not len(examples):
        raise AnnotationError(f"There is no {what} example with a known label of the task '{task}'.")
    low, high = {"one_of": (0, len(space) - 1), "any_of": (0, 1), "scale": (-1, 1)}[space.kind]
    if not np.all((examples.y >= low) & (examples.y <= high)):
        raise AnnotationError(
            f"A {what} label of the task '{task}' is not in [{low}, {high}]. Leave out frames that lack a label."
        )
    if not _finite(examples.x):
        row = int(np.argmin(np.isfinite(examples.x).all(axis=1)))
        raise SpecError(
            f"The features of {what} example {row} hold NaN or infinity. Check the embeddings of its video."
        )


def check_varied(task: str, examples: Examples) -> None:
    """See that there is something to learn: labels that differ.

    Raises:
        AnnotationError: every frame has the same label.
    """
    if (examples.y == examples.y[0]).all():
        label = ", ".join(f"{value:g}" for value in examples.y[0])
        raise AnnotationError(
            f"All {len(examples)} training frames of the task '{task}' have the same label ({label}), so nothing "
            "can be learnt. Add videos with other labels."
        )


def _finite(x: NDArray[np.float32]) -> bool:
    """Whether all is finite, without a mask of the size of `x`: no sum of float32 overflows float64."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(x.sum(dtype=np.float64)))
