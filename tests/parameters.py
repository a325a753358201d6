"""Parameters of tests of which a few are always tried and the others in the slow suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def usually(values: Iterable[Any], chosen: Callable[[Any], bool] | None = None) -> list[Any]:
    """The values as parameters of one argument; all but the first, or but those that are chosen, are slow."""
    listed = list(values)
    quick = [chosen(value) if chosen else number == 0 for number, value in enumerate(listed)]
    return [pytest.param(one, marks=() if now else pytest.mark.slow) for one, now in zip(listed, quick, strict=True)]
