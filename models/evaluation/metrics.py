"""The challenge's metrics: macro F1 (EXPR), mean binary F1 (AU), mean CCC (VA), over all known frames together.

Every F1 is scikit-learn's with `zero_division=0`: a class that is neither annotated nor predicted counts 0 in the
mean, and the mean is always over all classes of the task. Where `known` is False a cell is not scored; an action unit
is scored on the frames that know it (the papers drop a frame that lacks any; pass `known.all(1, keepdims=True) & known`
for that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import EXPR, kept_classes, task_space

Known = NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Scores:
    """How good predictions are.

    Attributes:
        headline: the name of the challenge's own measure, e.g. `"macro F1"`.
        value: that measure; 1 is perfect.
        details: everything it is the mean of, and what else is reported beside it.
        frames: frames of which at least one column was scored.
    """

    headline: str
    value: float
    details: Mapping[str, float]
    frames: int


def score(
    task: str, prediction: NDArray[Any], value: NDArray[Any], known: Known = None, without: tuple[str, ...] = ()
) -> Scores:
    """The challenge's measure of a task.

    Args:
        task: `expr`, `au` or `va`.
        prediction: decisions as `affstore.models.evaluation.thresholds.decide` gives them, of the shape of `value`.
        value: `(frames, 1)` class, `(frames, 12)` 0 or 1, or `(frames, 2)` valence and arousal.
        known: of the same shape; everything is known if None.
        without: classes of `expr` that do not count: frames labelled with one are left out, and every mean is over the
            others (ABAW6 Table 4, "w/o Other").

    Raises:
        SpecError: shapes differ, a prediction is no number, or `without` names what is no class of the task.
        AnnotationError: no frame is known.
    """
    space = task_space(task)
    kept = kept_classes(task, without)
    mask = _mask(prediction, value, known)
    if without:
        mask = mask & np.isin(value, kept)
    if not mask.any():
        raise AnnotationError(f"There is no frame to score the task '{task}' on: every label is unknown.")
    frames = int(mask.any(axis=1).sum())
    if space.kind == "one_of":
        by_class = per_class_f1(prediction, value, mask, len(space))[kept]
        names = [space.names[index] for index in kept]
        details = {"accuracy": accuracy(prediction, value, mask), **_named("F1", names, by_class)}
        return Scores("macro F1", float(by_class.mean()), details, frames)
    if space.kind == "any_of":
        by_unit = au_f1(prediction, value, mask)
        return Scores("mean F1", float(by_unit.mean()), _named("F1", space.names, by_unit), frames)
    by_axis = np.array([ccc(prediction[:, k], value[:, k], mask[:, k]) for k in range(len(space))])
    return Scores("mean CCC", float(by_axis.mean()), _named("CCC", space.names, by_axis), frames)


def chance(
    task: str, value: NDArray[Any], known: NDArray[np.bool_], train: NDArray[Any], train_known: NDArray[np.bool_]
) -> Scores:
    """What the best prediction that never looks at the video would score, to be shown beside every result.

    expr: always the most frequent class of the training labels. au: every unit always present, which is the constant
    with the best F1 (`2p / (1 + p)` at prevalence `p`; always absent scores 0). va: the training mean, of CCC 0.

    Raises:
        SpecError: shapes differ.
        AnnotationError: no training label, or no label to score on, is known.
    """
    space = task_space(task)
    _mask(train, train, train_known)
    if not train_known.any():
        raise AnnotationError(f"There is no training label of the task '{task}': every one is unknown.")
    constant: NDArray[Any] | np.intp
    if space.kind == "one_of":
        constant = np.bincount(train[train_known].astype(np.int64), minlength=len(space)).argmax()
    elif space.kind == "any_of":
        constant = np.ones(len(space), np.int64)
    else:
        seen = np.maximum(train_known.sum(axis=0), 1)
        constant = np.where(train_known, train, 0).sum(axis=0, dtype=np.float64) / seen
    return score(task, np.broadcast_to(constant, value.shape), value, known)


def macro_f1(prediction: NDArray[Any], value: NDArray[Any], known: Known = None, classes: int = len(EXPR)) -> float:
    """Unweighted mean of `per_class_f1`."""
    return float(per_class_f1(prediction, value, known, classes).mean())


def per_class_f1(
    prediction: NDArray[Any], value: NDArray[Any], known: Known = None, classes: int = len(EXPR)
) -> NDArray[np.float64]:
    """F1 of each class, `(classes,)`, 0 for a class that is neither annotated nor predicted.

    Args:
        prediction: classes, of any shape.
        value: of the same shape.
        known: of the same shape; everything if None.
        classes: how many there are.

    Raises:
        SpecError: shapes differ, or there is a known label or prediction that is no class.
    """
    mask = _mask(prediction, value, known)
    return f1(class_counts(confusion_matrix(prediction[mask], value[mask], classes)))


def confusion_matrix(prediction: NDArray[Any], value: NDArray[Any], classes: int = len(EXPR)) -> NDArray[np.int64]:
    """How often each class (row) is said to be each (column), `(classes, classes)`.

    Raises:
        SpecError: shapes differ, or there is a label or prediction that is no class.
    """
    _mask(prediction, value, None)
    truth, guess = _classes(value.ravel(), classes), _classes(prediction.ravel(), classes)
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def class_counts(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each class is said rightly, said, and annotated, `(3, classes)`."""
    return np.stack([np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)])


def unit_counts(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> NDArray[np.int64]:
    """How often each action unit is said rightly, said, and annotated, `(3, units)`; arguments as of `au_f1`."""
    mask = _mask(prediction, value, known)
    if not all(np.all(((cells == 0) | (cells == 1)) | ~mask) for cells in (prediction, value)):
        raise SpecError("Action units are scored on 0 and 1; found other numbers. Apply thresholds to scores first.")
    guess, truth = prediction.astype(bool) & mask, value.astype(bool) & mask
    return np.stack([np.count_nonzero(cells, axis=0) for cells in (guess & truth, guess, truth)])


def f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    """F1 of each column of `(…, 3, columns)` counts: `2 rightly said / (said + annotated)`, 0 where both are none."""
    return 2 * counts[..., 0, :] / np.maximum(counts[..., 1, :] + counts[..., 2, :], 1)


def accuracy(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> float:
    """Share of the known labels that are predicted; 0 where none is known."""
    mask = _mask(prediction, value, known)
    return float(((prediction == value) & mask).sum() / max(int(mask.sum()), 1))


def au_f1(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> NDArray[np.float64]:
    """Binary F1 of each column, `(12,)`; a frame counts in the columns in which it is known.

    Args:
        prediction: `(frames, 12)`, 0 or 1.
        value: the same.
        known: the same shape; everything if None.

    Raises:
        SpecError: shapes differ, or a known label or prediction is neither 0 nor 1.
    """
    return f1(unit_counts(prediction, value, known))


def ccc(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> float:
    """Concordance correlation coefficient `2 cov / (var + var + (mean − mean)²)` with population variance, in float64.

    0 where it is not defined (both constant and equal, or nothing known), as for any constant prediction.

    Args:
        prediction: `(frames,)`.
        value: `(frames,)`.
        known: `(frames,)`; everything if None.

    Raises:
        SpecError: shapes differ, or a known label or prediction is no finite number.
    """
    mask = _mask(prediction, value, known)
    x, y = prediction[mask].astype(np.float64), value[mask].astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SpecError("CCC needs finite numbers; found NaN or infinity in a known frame.")
    if not x.size:
        return 0.0
    # Differences from the first one: what is constant then has a variance of exactly 0.
    dx, dy = x - x[0], y - y[0]
    shift = (x[0] - y[0]) + (dx.mean() - dy.mean())
    dx, dy = dx - dx.mean(), dy - dy.mean()
    spread = (dx @ dx + dy @ dy) / len(x) + shift**2
    return float(2 * (dx @ dy) / len(x) / spread) if spread > 0 else 0.0


def mean_ccc(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> float:
    """Mean of the CCC of each column of `(frames, 2)`, over all frames together, not by video."""
    mask = _mask(prediction, value, known)
    return float(np.mean([ccc(prediction[:, k], value[:, k], mask[:, k]) for k in range(value.shape[1])]))


def _classes(cells: NDArray[Any], classes: int) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):  # NaN becomes some whole number, which then differs from NaN
        whole = cells.astype(np.int64)
    if not np.all((whole == cells) & (whole >= 0) & (whole < classes)):
        raise SpecError(f"Labels and predictions must be classes from 0 to {classes - 1}; found other numbers.")
    return whole


def _mask(prediction: NDArray[Any], value: NDArray[Any], known: Known) -> NDArray[np.bool_]:
    """`known`, after checking that all three have one shape."""
    mask = np.ones(value.shape, bool) if known is None else known
    if not prediction.shape == value.shape == mask.shape:
        shapes = f"{prediction.shape}, labels {value.shape} and known {mask.shape}"
        raise SpecError(f"Scoring needs one shape for all; found predictions {shapes}.")
    return mask


def _named(measure: str, names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    return {f"{measure} {name}": float(value) for name, value in zip(names, values, strict=True)}
