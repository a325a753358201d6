"""The last step from a network's activation to the range of what it predicts."""

from __future__ import annotations

from typing import Literal, Protocol, Self

from affstore.store.contract.labels import SpaceKind, Task, task_space

_NATIVE = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_RANGED = (SpaceKind.INTENSITIES, SpaceKind.VALUES)


class _Numbers(Protocol):
    """An array or a tensor."""

    def __mul__(self, other: float, /) -> Self: ...
    def __add__(self, other: float, /) -> Self: ...


def stretch_of(task: Task, activation: Literal["softmax", "sigmoid", "tanh"]) -> tuple[float, float] | None:
    """By what an activation is multiplied, and what is then added; None where it has the range of the labels."""
    space = task_space(task)
    if space.kind not in _RANGED:
        return None
    low, high = _NATIVE[activation]
    slope = (space.high - space.low) / (high - low)
    stretch = (slope, space.low - low * slope)
    return None if stretch == (1, 0) else stretch


def stretched[N: _Numbers](values: N, task: Task, activation: Literal["softmax", "sigmoid", "tanh"]) -> N:
    """An activation's values as outputs: numbers in the range of a space of intensities or values, else as they are."""
    stretch = stretch_of(task, activation)
    return values if stretch is None else values * stretch[0] + stretch[1]
