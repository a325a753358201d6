"""Labels as tiers of intervals, as ELAN and Praat keep them: what a tier means for a label space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.labels.base import FrameLabels, shortened
from affstore.models.labels.timed_table import first_frame
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import LabelSpace, SpaceKind


@dataclass(frozen=True, slots=True, order=True)
class Annotation:
    """What a tier says from `start` to before `end`, in seconds of the video's own clock."""

    start: Fraction
    end: Fraction
    text: str


Tiers = Mapping[str, Sequence[Annotation]]
"""Annotations by the tier's name."""


def labels_of(path: Path, tiers: Tiers, space: LabelSpace, clock: FrameClock) -> FrameLabels:
    """The labels of every frame.

    The tier of a space of classes is called as the space, and its texts are the classes' names; any name will do where
    the file has one tier with texts. Of other spaces each name has a tier, whose texts are numbers; of a unit that is
    shown or not, an interval says that it is shown, whatever its text, and it is not shown elsewhere. A tier may also
    be called `SOMETHING/NAME`, as affstore's exports are.

    Raises:
        AnnotationError: there is no such tier, or two of its annotations overlap.
    """
    value = np.zeros((len(clock), space.columns), space.dtype)
    known = np.zeros(value.shape, bool)
    wrong: list[str] = []
    missing = []
    for column, name in enumerate([space.name] if space.kind is SpaceKind.CLASSES else space.names):
        tier = _tier(path, tiers, name, alone=space.kind is SpaceKind.CLASSES)
        if tier is None:
            missing.append(name)
        else:
            wrong += _fill(path, tier, space, clock, (value[:, column], known[:, column]))
    if len(missing) == space.columns:
        there = ", ".join(map(shortened, tiers)) or "none"
        wanted = ", ".join(missing[:3])
        raise AnnotationError(f"'{path}' has no tier for '{space}' (expected {wanted}); its tiers are: {there}.")
    complaints = [f"It has no tier for {', '.join(missing)}."] if missing else []
    if wrong:
        complaints.append(
            f"{len(wrong)} annotations are no label of '{space}', the first {shortened(wrong[0])}; they are unknown."
        )
    return FrameLabels(value, known, " ".join(complaints) or None)


def _tier(path: Path, tiers: Tiers, name: str, alone: bool) -> Sequence[Annotation] | None:
    """The tier of a name; the only one with texts where any will do."""
    wanted = name.casefold()
    found = [tier for tier in tiers if tier.casefold() == wanted] or [
        tier for tier in tiers if tier.casefold().endswith(f"/{wanted}")
    ]
    filled = [tier for tier, annotations in tiers.items() if annotations]
    if not found and alone and len(filled) == 1:
        found = filled
    if len(found) > 1:
        raise AnnotationError(f"'{path}' has several tiers for '{name}': {', '.join(found)}. Leave one.")
    return tiers[found[0]] if found else None


def _fill(
    path: Path,
    tier: Sequence[Annotation],
    space: LabelSpace,
    clock: FrameClock,
    column: tuple[NDArray[np.generic], NDArray[np.bool_]],
) -> list[str]:
    """Write a tier into a column; gives the texts that are no labels."""
    value, known = column
    known[:] = space.kind is SpaceKind.UNITS
    names = [one.casefold() for one in space.names]
    ordered, wrong = sorted(tier), []
    for one, other in pairwise(ordered):
        if other.start < one.end:
            times = f"{float(other.start):g} s and {float(one.end):g} s"
            raise AnnotationError(f"'{path}': two annotations of one tier overlap between {times}. Correct the file.")
    for one in ordered:
        text = one.text.strip().casefold()
        frames = slice(first_frame(clock, one.start), first_frame(clock, one.end))
        if space.kind is SpaceKind.UNITS:
            value[frames] = 1
        elif space.kind is SpaceKind.CLASSES and text in names:
            value[frames], known[frames] = names.index(text), True
        elif text and text not in {unknown.casefold() for unknown in space.unknown}:
            number = _number(text)
            valid = space.kind is not SpaceKind.CLASSES and bool(space.is_valid(np.array(number)))
            known[frames] = valid
            value[frames] = number if valid else 0
            wrong += [] if valid else [one.text]
    return wrong


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")
