"""What LightAutoML is asked to search for a task: which outputs together, on which frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.examples import Examples
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import SpaceKind, task_space


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One search.

    Attributes:
        task: LightAutoML's name of it.
        columns: of the head's outputs.
        train: features, and targets `(rows, targets)`; a class's target is its place in `columns`.
        validation: takes the place of cross-validation, if there is any.
    """

    task: str
    columns: tuple[int, ...]
    train: Examples
    validation: Examples | None


def plans_of(
    spec: AutoMlSpec, train: Examples, validation: Examples | None
) -> tuple[list[Plan], dict[int, float], dict[int, int]]:
    """What is searched.

    Returns:
        The searches; the value of each output that has but one value in training, or nearly, and is not searched; how
        many training frames of each class are left out, as one is too few to validate on another.

    Raises:
        AnnotationError: nothing is left to search, or no validation frame has a class that is searched.
    """
    if task_space(spec.task).kind is SpaceKind.CLASSES:
        return _classes(spec, train, validation)
    constants = {i: value for i in range(train.y.shape[1]) if (value := _only(spec, train.y[:, i])) is not None}
    searched = [i for i in range(train.y.shape[1]) if i not in constants]
    if not searched:
        raise AnnotationError(
            f"Head '{spec.name}': of {len(train)} training frames, no output of the task '{spec.task}' has "
            f"{spec.folds} with each of two values, one a fold. Add videos with other labels, or use fewer folds."
        )
    joint = spec.columns == "joint" and len(searched) > 1
    present = task_space(spec.task).kind is SpaceKind.UNITS
    several, one = ("multilabel", "binary") if present else ("multi:reg", "reg")
    groups = [tuple(searched)] if joint else [(i,) for i in searched]
    dtype = np.int64 if present else np.float32
    plans = [
        Plan(
            several if joint else one,
            group,
            _targets(train, group, dtype),
            validation and _targets(validation, group, dtype),
        )
        for group in groups
    ]
    return plans, constants, {}


def _classes(
    spec: AutoMlSpec, train: Examples, validation: Examples | None
) -> tuple[list[Plan], dict[int, float], dict[int, int]]:
    counts = np.bincount(train.y[:, 0].astype(np.int64), minlength=spec.outputs)
    columns = tuple(int(i) for i in np.flatnonzero(counts > 1))
    lone = {int(i): 1 for i in np.flatnonzero(counts == 1)}
    if len(columns) < 2:
        raise AnnotationError(
            f"Head '{spec.name}': less than two classes have two training frames or more, so nothing can be learnt. "
            "Add videos with other labels."
        )
    plan = Plan("multiclass", columns, _coded(spec, train, columns), validation and _coded(spec, validation, columns))
    if plan.validation is not None and not len(plan.validation):
        raise AnnotationError(f"Head '{spec.name}': no validation frame has a class that is in the training frames.")
    return [plan], {}, lone


def _coded(spec: AutoMlSpec, examples: Examples, columns: tuple[int, ...]) -> Examples:
    """The frames of those classes, which are numbered on end: LightAutoML renumbers others by their frequency."""
    codes = np.full(spec.outputs, -1)
    codes[list(columns)] = np.arange(len(columns))
    y = codes[examples.y[:, 0].astype(np.int64)]
    return Examples(examples.x[y >= 0], y[y >= 0, None])


def _targets(examples: Examples, columns: tuple[int, ...], dtype: type[np.generic]) -> Examples:
    return Examples(examples.x, examples.y[:, list(columns)].astype(dtype, copy=False))


def _only(spec: AutoMlSpec, values: NDArray[Any]) -> float | None:
    """The value that an output always has, or that an action unit has in all but too few frames for the folds."""
    if task_space(spec.task).kind is not SpaceKind.UNITS:
        return float(values[0]) if (values == values[0]).all() else None
    ones = int(np.count_nonzero(values))
    rarer = min(ones, len(values) - ones)
    return float(2 * ones > len(values)) if rarer < spec.folds else None
