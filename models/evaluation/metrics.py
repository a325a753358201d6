"""How good predictions are: the main measure of each kind of label space, and what else is reported beside it.

Macro F1 of classes (EXPR), mean binary F1 of units (AU), mean CCC of values (VA) and of intensities, over all known
frames together.

Every F1 is scikit-learn's with `zero_division=0`: a class that is neither annotated nor predicted counts 0 in the
mean, and the mean is always over all classes of the task. Where `known` is False a cell is not scored; an action unit
is scored on the frames that know it (the papers drop a frame that lacks any; pass `known.all(1, keepdims=True) & known`
for that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import EXPR, LabelSpace, SpaceKind, Task, counted_classes, task_space

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


HEADLINES = {
    SpaceKind.CLASSES: ("macro F1", "F1"),
    SpaceKind.UNITS: ("mean F1", "F1"),
    SpaceKind.INTENSITIES: ("mean CCC", "CCC"),
    SpaceKind.VALUES: ("mean CCC", "CCC"),
}
"""By kind of space, the main measure and what it is the mean of, over the space's names."""

MEASURES = ("accuracy", "weighted F1", "balanced accuracy", "AUROC", "average precision", "PCC", "MAE", "RMSE")
"""What `measures` gives beside the main measure, as far as the space has it."""


def score(
    task: Task, prediction: NDArray[Any], value: NDArray[Any], known: Known = None, without: tuple[str, ...] = ()
) -> Scores:
    """The main measure of a label space; of affstore's own, the challenge's.

    Args:
        task: what is predicted.
        prediction: decisions as `affstore.models.evaluation.thresholds.decide` gives them, of the shape of `value`.
        value: `(frames, columns)` labels.
        known: of the same shape; everything is known if None.
        without: classes that do not count: frames labelled with one are left out, and every mean is over the others
            (ABAW6 Table 4, "w/o Other").

    Raises:
        SpecError: shapes differ, a prediction is no number, or `without` names what is no class of the task.
        AnnotationError: no frame is known.
    """
    space = task_space(task)
    counted = counted_classes(space, without)
    mask = _mask(prediction, value, known)
    if without:
        mask = mask & np.isin(value, counted)
    if not mask.any():
        raise AnnotationError(f"There is no frame to score the task '{space}' on: every label is unknown.")
    headline, part = HEADLINES[space.kind]
    parts = _PARTS[space.kind](space, prediction, value, mask)[counted]
    details = _named(part, [space.names[index] for index in counted], parts)
    if space.kind is SpaceKind.CLASSES:
        details = {"accuracy": accuracy(prediction, value, mask), **details}
    return Scores(headline, float(parts.mean()), details, int(mask.any(axis=1).sum()))


def measures(
    task: Task, output: NDArray[np.float32], prediction: NDArray[Any], value: NDArray[Any], known: Known = None
) -> dict[str, float]:
    """What is reported beside the main measure, by name; those that these frames do not define are left out.

    Classes and units: accuracy, weighted F1, balanced accuracy, AUROC and average precision (of a class against all
    others). Values and intensities: PCC, MAE and RMSE. The mean over names has the measure's own name, and each name
    has its own: `AUROC Fear`, `MAE valence`. As in scikit-learn, balanced accuracy is the mean recall of the classes
    that are annotated, and weighted F1 weighs by them; a unit counts as two classes.

    Args:
        task: what is predicted.
        output: `(frames, outputs)`: what decisions were taken on.
        prediction: the decisions.
        value: labels, of the shape of `prediction`.
        known: of the same shape; everything is known if None.

    Raises:
        SpecError: shapes differ, or a prediction is none of the task.
    """
    space, mask = task_space(task), _mask(prediction, value, known)
    if not mask.any():
        return {}
    if space.kind in (SpaceKind.INTENSITIES, SpaceKind.VALUES):
        return _differences(space, prediction, value, mask)
    if space.kind is SpaceKind.CLASSES:
        rows = mask[:, 0]
        confusion = confusion_matrix(prediction[rows], value[rows], len(space))
        found, annotated = _agreements([confusion]), value[rows] == np.arange(len(space))
        return found | _rankings(space, output[rows], annotated, np.ones(annotated.shape, bool))
    units = [confusion_matrix(prediction[m, k], value[m, k], 2) for k, m in enumerate(mask.T)]
    weights = [one[1].sum() for one in units]
    weighted = np.average(au_f1(prediction, value, mask), weights=weights) if sum(weights) else 0.0
    return _agreements(units) | {"weighted F1": float(weighted)} | _rankings(space, output, value == 1, mask)


def _agreements(confusions: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """Measures of decisions, each the mean over confusion matrices, of which units have several."""
    found: dict[str, list[float]] = {"accuracy": [], "weighted F1": [], "balanced accuracy": []}
    for confusion in (one for one in confusions if one.any()):
        annotated = confusion.sum(axis=1)
        recall = np.diag(confusion)[annotated > 0] / annotated[annotated > 0]
        found["accuracy"].append(np.trace(confusion) / confusion.sum())
        found["weighted F1"].append(np.average(f1(class_counts(confusion)), weights=annotated))
        found["balanced accuracy"].append(recall.mean())
    return {name: float(np.mean(parts)) for name, parts in found.items()}


def _rankings(
    space: LabelSpace, output: NDArray[np.float32], annotated: NDArray[np.bool_], known: NDArray[np.bool_]
) -> dict[str, float]:
    """AUROC and average precision of each name that some frames have and others have not."""
    found: dict[str, float] = {}
    for measure, of in (("AUROC", auroc), ("average precision", average_precision)):
        parts = {
            name: of(output[known[:, k], k], annotated[known[:, k], k])
            for k, name in enumerate(space.names)
            if len(np.unique(annotated[known[:, k], k])) == 2
        }
        if parts:
            found[measure] = float(np.mean(list(parts.values())))
            found |= {f"{measure} {name}": value for name, value in parts.items()}
    return found


def auroc(output: NDArray[np.float32], annotated: NDArray[np.bool_]) -> float:
    """The area under the ROC curve: how often a frame that has the label is given more than one that has not.

    Args:
        output: `(frames,)`; equal outputs count half.
        annotated: `(frames,)`, of which some are True and some are False.
    """
    _, which, times = np.unique(output, return_inverse=True, return_counts=True)
    ranks = (times.cumsum() - (times - 1) / 2)[which]
    positive = int(annotated.sum())
    above = ranks[annotated].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(output) - positive)))


def average_precision(output: NDArray[np.float32], annotated: NDArray[np.bool_]) -> float:
    """The sum over falling thresholds of the precision times the gain in recall; arguments as of `auroc`."""
    _, which, times = np.unique(output, return_inverse=True, return_counts=True)
    right = np.bincount(which, annotated, len(times))[::-1].cumsum()
    gain = np.diff(right, prepend=0) / right[-1]
    return float(gain @ (right / times[::-1].cumsum()))


def _differences(
    space: LabelSpace, prediction: NDArray[Any], value: NDArray[Any], mask: NDArray[np.bool_]
) -> dict[str, float]:
    """PCC, MAE and RMSE of each column that is known somewhere."""
    found: dict[str, dict[str, float]] = {"PCC": {}, "MAE": {}, "RMSE": {}}
    for k, name in enumerate(space.names):
        x, y = (cells[mask[:, k], k].astype(np.float64) for cells in (prediction, value))
        if not len(x):
            continue
        found["PCC"][name] = pcc(x, y)
        found["MAE"][name] = float(np.abs(x - y).mean())
        found["RMSE"][name] = float(np.sqrt(((x - y) ** 2).mean()))
    means = {measure: float(np.mean(list(parts.values()))) for measure, parts in found.items()}
    return means | {f"{measure} {name}": one for measure, parts in found.items() for name, one in parts.items()}


def pcc(prediction: NDArray[Any], value: NDArray[Any]) -> float:
    """Pearson's correlation of two `(frames,)`; 0 where one of them is constant."""
    x, y = (cells.astype(np.float64) - cells[0] for cells in (prediction, value))
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 0 else 0.0


def chance(
    task: Task, value: NDArray[Any], known: NDArray[np.bool_], train: NDArray[Any], train_known: NDArray[np.bool_]
) -> Scores:
    """What the best prediction that never looks at the video would score, to be shown beside every result.

    Classes: always the most frequent one of the training labels. Units: every unit always present, which is the
    constant with the best F1 (`2p / (1 + p)` at prevalence `p`; always absent scores 0). Values and intensities: the
    training mean, of CCC 0.

    Raises:
        SpecError: shapes differ.
        AnnotationError: no training label, or no label to score on, is known.
    """
    space = task_space(task)
    _mask(train, train, train_known)
    if not train_known.any():
        raise AnnotationError(f"There is no training label of the task '{space}': every one is unknown.")
    constant = _CONSTANTS[space.kind](space, train, train_known)
    return score(space, np.broadcast_to(constant, value.shape), value, known)


def _likeliest(space: LabelSpace, train: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    return np.asarray(np.bincount(train[known].astype(np.int64), minlength=len(space)).argmax())


def _always(space: LabelSpace, train: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    return np.ones(len(space), np.int64)


def _means(space: LabelSpace, train: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    return np.where(known, train, 0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)


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
    """How often each class (row) is predicted as each (column), `(classes, classes)`.

    Raises:
        SpecError: shapes differ, or there is a label or prediction that is no class.
    """
    _mask(prediction, value, None)
    truth, guess = _classes(value.ravel(), classes), _classes(prediction.ravel(), classes)
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def class_counts(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each class is predicted rightly, predicted, and annotated, `(3, classes)`."""
    return np.stack([np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)])


def unit_counts(prediction: NDArray[Any], value: NDArray[Any], known: Known = None) -> NDArray[np.int64]:
    """How often each unit is predicted rightly, predicted, and annotated, `(3, units)`; arguments as of `au_f1`."""
    mask = _mask(prediction, value, known)
    if not all(np.all(((cells == 0) | (cells == 1)) | ~mask) for cells in (prediction, value)):
        raise SpecError("Action units are scored on 0 and 1; found other numbers. Apply thresholds to scores first.")
    guess, truth = prediction.astype(bool) & mask, value.astype(bool) & mask
    return np.stack([np.count_nonzero(cells, axis=0) for cells in (guess & truth, guess, truth)])


def f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    """F1 of each column of `(…, 3, columns)` counts: `2 right / (predicted + annotated)`, 0 where both are none."""
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


def _class_f1(
    space: LabelSpace, prediction: NDArray[Any], value: NDArray[Any], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return per_class_f1(prediction, value, mask, len(space))


def _unit_f1(
    space: LabelSpace, prediction: NDArray[Any], value: NDArray[Any], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return au_f1(prediction, value, mask)


def _ccc_of_each(
    space: LabelSpace, prediction: NDArray[Any], value: NDArray[Any], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.array([ccc(prediction[:, k], value[:, k], mask[:, k]) for k in range(len(space))])


_PARTS: dict[SpaceKind, Callable[..., NDArray[np.float64]]] = {
    SpaceKind.CLASSES: _class_f1,
    SpaceKind.UNITS: _unit_f1,
    SpaceKind.INTENSITIES: _ccc_of_each,
    SpaceKind.VALUES: _ccc_of_each,
}
"""What the main measure is the mean of, of each name."""

_CONSTANTS: dict[SpaceKind, Callable[..., NDArray[Any]]] = {
    SpaceKind.CLASSES: _likeliest,
    SpaceKind.UNITS: _always,
    SpaceKind.INTENSITIES: _means,
    SpaceKind.VALUES: _means,
}
"""The best answer that never changes, `(columns,)` or one number."""
