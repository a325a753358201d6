"""Where the labels of a video and what is predicted of it disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore.store.contract.labels import AU, VA, LabelSpace, SpaceKind
from affstore.tasks.analysis.label_columns import label_column
from affstore.tasks.analysis.summary import values_of

MOST_RUNS = 500
"""Of more runs of disagreement in one column, the longest are kept."""

_MOST_PEAKS, _APART_S, _SAME = 20, 1.0, 1e-6


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Frames in which label and prediction differ in one way.

    Attributes:
        first_frame: the first of them; of values, the frame where the difference is largest.
        frames: how many; 1 of values.
        label: what the label says.
        prediction: what is predicted.
    """

    first_frame: int
    frames: int
    label: str
    prediction: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A label and the prediction of the same thing.

    Attributes:
        name: of what is compared: the label space of classes, else the unit or dimension.
        label: the label's column.
        prediction: the column that it is compared with.
        compared: how many frames have both.
        agreement: in words.
        found: the disagreements in the order of time.
        left_out: how many more there are.
    """

    name: str
    label: str
    prediction: str
    compared: int
    agreement: str
    found: tuple[Disagreement, ...]
    left_out: int = 0


def compared_with(space: LabelSpace, columns: Sequence[str]) -> dict[str, str]:
    """The predictions that labels of a space are compared with: column of the label to column of the prediction.

    A head of the same space goes before a network that says nearly the same: classes of expressions are compared by
    their names, valence and arousal as they are.
    """
    if space.kind is SpaceKind.CLASSES:
        shared = {f"p_{name}" for name in space.names} & set(columns)
        found = space.name if space.name in columns else "expression" if shared else ""
        return {label_column(space): found} if found else {}
    pairs = {}
    for name in space.names:
        wanted = [name] if space == AU else [f"{space.name}_{name}", *([name] if space == VA else [])]
        found = next((one for one in wanted if one in columns), "")
        if found:
            pairs[label_column(space, name)] = found
    return pairs


def comparisons(rows: pa.Table, spaces: Sequence[LabelSpace]) -> Iterator[Comparison]:
    """Every label of a subject that has a prediction to compare with; none that shares no frame with it.

    Args:
        rows: of one subject.
        spaces: the label spaces of the table.
    """
    for space in spaces:
        for label, prediction in compared_with(space, rows.column_names).items():
            name = label.removeprefix(f"{label_column(space)}_") if space.kind is not SpaceKind.CLASSES else space.name
            if space.kind is SpaceKind.CLASSES:
                made = _classes(rows, label, prediction)
            elif space.kind is SpaceKind.UNITS:
                made = _decisions(rows, label, prediction)
            else:
                made = _values(rows, label, prediction)
            compared, agreement, found = made
            if compared:
                kept = sorted(sorted(found, key=lambda one: -one.frames)[:MOST_RUNS], key=lambda one: one.first_frame)
                yield Comparison(name, label, prediction, compared, agreement, tuple(kept), len(found) - len(kept))


type _Compared = tuple[int, str, list[Disagreement]]


def _classes(rows: pa.Table, label: str, prediction: str) -> _Compared:
    """Frames of another class; a label that the network has no class for is compared with nothing."""
    known = {name.removeprefix("p_") for name in rows.column_names if name.startswith("p_")}
    said = [one if prediction != "expression" or one in known else None for one in (rows[label].to_pylist())]
    return _differing(said, rows[prediction].to_pylist())


def _decisions(rows: pa.Table, label: str, prediction: str) -> _Compared:
    """Frames in which a unit is labelled and not predicted, or the other way round."""
    words = {0.0: "absent", 1.0: "present"}
    return _differing(*([words.get(one) for one in values_of(rows, name)] for name in (label, prediction)))


def _differing(labels: Sequence[str | None], predictions: Sequence[str | None]) -> _Compared:
    pairs = [
        (label, said) if label is not None and said is not None else None
        for label, said in zip(labels, predictions, strict=True)
    ]
    known = [pair for pair in pairs if pair]
    right = sum(label == said for label, said in known)
    found, first = [], 0
    for pair, run in groupby(pairs):
        frames = sum(1 for _ in run)
        if pair and pair[0] != pair[1]:
            found.append(Disagreement(first, frames, *pair))
        first += frames
    return len(known), f"{right / len(known):.1%} of {len(known)} frames agree" if known else "", found


def _values(rows: pa.Table, label: str, prediction: str) -> _Compared:
    """The frames in which values differ most, at least a second apart."""
    labels, predictions = values_of(rows, label), values_of(rows, prediction)
    differences = np.abs(labels - predictions)
    known = int(np.isfinite(differences).sum())
    found = [
        Disagreement(frame, 1, f"{labels[frame]:.2f}", f"{predictions[frame]:.2f}")
        for frame in _peaks(differences, values_of(rows, "time_s"))
    ]
    return known, f"mean difference {np.nanmean(differences):.3f} in {known} frames" if known else "", found


def _peaks(differences: NDArray[np.float64], times_s: NDArray[np.float64]) -> list[int]:
    """The frames of the largest values, the largest first, that are apart from each other; none below half of it."""
    free = np.nan_to_num(differences, nan=0.0)
    found: list[int] = []
    least = max(float(free.max(initial=0.0)) / 2, _SAME)
    while len(found) < _MOST_PEAKS and free.max(initial=0.0) > least:
        best = int(free.argmax())
        found.append(best)
        free[np.abs(times_s - times_s[best]) < _APART_S] = 0
    return found
