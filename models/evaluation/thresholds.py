"""From a head's scores to decisions: the likeliest class, and a threshold for each action unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import task_space

GRID = np.arange(1, 10) / 10
"""Thresholds that are tried, those of the papers' notebooks: .1, .2, … .9."""

DEFAULT = 0.5
"""The threshold of every action unit where none was searched."""


def best_thresholds(
    probability: NDArray[np.float32], value: NDArray[Any], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """For each column, the threshold of `GRID` with the best binary F1 of `probability >= threshold`; ties: the lowest.

    Search on other frames than are reported, or say so: the papers search on the validation set they report.

    Args:
        probability: `(frames, units)`.
        value: `(frames, units)`, 0 or 1 where known.
        known: `(frames, units)`.

    Returns:
        `(units,)`.

    Raises:
        SpecError: shapes differ, or a known label is neither 0 nor 1.
    """
    if not probability.shape == value.shape == known.shape or probability.ndim != 2:
        shapes = f"{probability.shape}, {value.shape} and {known.shape}"
        raise SpecError(f"Thresholds need scores, labels and known of one shape (frames, units); found {shapes}.")
    if not np.all((value == 0) | (value == 1) | ~known):
        raise SpecError("Thresholds are searched on labels 0 and 1; found other numbers where known.")
    units, bins = probability.shape[1], len(GRID) + 1
    # How many thresholds a score reaches says all; comparisons are made in the scores' own precision.
    reached = np.zeros(probability.shape, np.uint8)
    for threshold in GRID.astype(probability.dtype):
        reached += probability >= threshold
    cell = reached * np.uint8(2) + (value == 1)
    cell[~known] = bins * 2  # counted, and not looked at
    counts = np.stack([np.bincount(column, minlength=bins * 2 + 1)[:-1] for column in cell.T]).reshape(units, bins, 2)
    positive = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # (units, thresholds, truth): said to be present
    true = counts[..., 1].sum(axis=1, keepdims=True)
    f1 = 2 * positive[..., 1] / np.maximum(positive.sum(axis=2) + true, 1)
    best: NDArray[np.float64] = GRID[f1.argmax(axis=1)]
    return best


def decide(task: str, output: NDArray[np.float32], thresholds: NDArray[np.float64] | None = None) -> NDArray[Any]:
    """What a head's outputs say, in the form in which labels are kept.

    Args:
        task: `expr`, `au` or `va`.
        output: `(frames, 8)`, `(frames, 12)` or `(frames, 2)`.
        thresholds: `(12,)`, of `au` only; `DEFAULT` for each if None.

    Returns:
        `(frames, 1)` int8 class (ties: the lowest), `(frames, 12)` int8 (`output >= thresholds`), or `output` itself.

    Raises:
        SpecError: the shape is another, an output is NaN, or thresholds were given for another task.
    """
    space = task_space(task)
    if output.ndim != 2 or output.shape[1] != len(space):
        raise SpecError(f"Outputs for the task '{task}' have the shape (frames, {len(space)}); found {output.shape}.")
    if thresholds is not None and (space.kind != "any_of" or thresholds.shape != (len(space),)):
        raise SpecError(f"Thresholds of shape {thresholds.shape} were given for the task '{task}'; only 'au' has 12.")
    if np.isnan(output).any():
        raise SpecError(f"The outputs for the task '{task}' hold NaN, of which nothing can be decided.")
    if space.kind == "one_of":
        return output.argmax(axis=1, keepdims=True).astype(np.int8)
    if space.kind == "scale":
        return output
    at = np.full(len(space), DEFAULT) if thresholds is None else thresholds
    return (output >= at.astype(output.dtype)).astype(np.int8)
