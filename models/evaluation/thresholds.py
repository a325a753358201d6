"""From a head's scores to decisions: the likeliest class, a threshold for each unit, the nearest level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import LabelSpace, SpaceKind, Task, task_space

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


def decide(task: Task, output: NDArray[np.float32], thresholds: NDArray[np.float64] | None = None) -> NDArray[Any]:
    """Decisions on a head's outputs, in the form in which labels are kept.

    Args:
        task: what is predicted.
        output: `(frames, outputs)`.
        thresholds: of units only, `(units,)`; `DEFAULT` for each if None.

    Returns:
        Classes: `(frames, 1)` int8, the likeliest (ties: the lowest). Units: `(frames, units)` int8,
        `output >= thresholds`. Intensities: the nearest level, int8. Values: `output` itself.

    Raises:
        SpecError: the shape is another, an output is NaN, or thresholds were given for another kind of space.
    """
    space = task_space(task)
    if output.ndim != 2 or output.shape[1] != len(space):
        raise SpecError(f"Outputs for the task '{space}' have the shape (frames, {len(space)}); found {output.shape}.")
    if thresholds is not None and (space.kind is not SpaceKind.UNITS or thresholds.shape != (len(space),)):
        expected = (
            f"it has {len(space)}" if space.kind is SpaceKind.UNITS else "only units that are present or absent do"
        )
        raise SpecError(f"Thresholds of shape {thresholds.shape} were given for the task '{space}'; {expected}.")
    if np.isnan(output).any():
        raise SpecError(f"The outputs for the task '{space}' hold NaN, of which nothing can be decided.")
    return _DECISIONS[space.kind](space, output, thresholds)


def _likeliest(space: LabelSpace, output: NDArray[np.float32], thresholds: None) -> NDArray[Any]:
    return output.argmax(axis=1, keepdims=True).astype(np.int8)


def _present(space: LabelSpace, output: NDArray[np.float32], thresholds: NDArray[np.float64] | None) -> NDArray[Any]:
    at = np.full(len(space), DEFAULT) if thresholds is None else thresholds
    return (output >= at.astype(output.dtype)).astype(np.int8)


def _nearest_level(space: LabelSpace, output: NDArray[np.float32], thresholds: None) -> NDArray[Any]:
    return np.rint(output).clip(space.low, space.high).astype(np.int8)


def _itself(space: LabelSpace, output: NDArray[np.float32], thresholds: None) -> NDArray[Any]:
    return output


_DECISIONS: dict[SpaceKind, Callable[..., NDArray[Any]]] = {
    SpaceKind.CLASSES: _likeliest,
    SpaceKind.UNITS: _present,
    SpaceKind.INTENSITIES: _nearest_level,
    SpaceKind.VALUES: _itself,
}
