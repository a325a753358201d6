"""A method's tree on arrays: what several heads say of a frame becomes one row of scores. No row depends on another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from affstore.models.ensembles.spec import Blend, ConfidenceGate, Ensemble, HeadOutput, SearchedValue, heads_of, parts
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import EXPR, LabelSpace, SpaceKind, counted_classes

Values = NDArray[np.float32]
Outputs = Mapping[str, Values]
"""What heads say, by their names: `(frames, outputs)` each, without gaps. A rule that was applied before smoothing
stands among them by its own name; see `affstore.models.ensembles.spec.streams`."""

OTHER = "Other"


def combined(method: Ensemble, outputs: Outputs, space: LabelSpace = EXPR) -> Values:
    """Scores `(frames, outputs)` whose likeliest class, or which above a threshold, is what the method decides.

    Args:
        method: with a value for each of its numbers.
        outputs: of every head that the method names.
        space: what is predicted; rules about classes are for classes alone, and `TwoStageOther` for those with Other.

    Raises:
        SpecError: a head is missing or says NaN, a number has no value, two parts have different label spaces, or the
            space has not the classes that a rule is about.
    """
    if isinstance(method, HeadOutput):
        return output_of(method.head, outputs)
    if str(method) in outputs:
        return output_of(str(method), outputs)
    found = _outputs_of_parts(method, outputs, space)
    if isinstance(method, Blend):
        return _mixed(_value(method.weight), *found)
    if space.kind is not SpaceKind.CLASSES or found[0].shape[1] != len(space):
        raise SpecError(f"Only classes are chosen by a rule; {_name(method)} have {found[0].shape[1]} outputs.")
    other = (OTHER,) if OTHER in space.names else ()
    if isinstance(method, ConfidenceGate):
        sure = ruled_out(found[0], other, space)
        fires = sure.max(axis=1, keepdims=True) > np.float32(_value(method.threshold))
        return np.where(fires, sure, found[1])
    if not other:
        raise SpecError(f"The label space '{space}' has no class {OTHER}, which {_name(method)} should decide about.")
    # Of two parts, the one that decides is also what counts where it says Other.
    decides, where_other, elsewhere = found if len(found) == 3 else (found[0], *found)
    if method.variant == "seven_after_smoothing":
        elsewhere = ruled_out(elsewhere, other, space)
    return np.where(decides.argmax(axis=1)[:, None] == space.names.index(OTHER), where_other, elsewhere)


def ruled_out(scores: Values, without: tuple[str, ...], space: LabelSpace = EXPR) -> Values:
    """Scores of classes with those of some classes put below every other of their row, so that none is likeliest.

    Args:
        scores: `(frames, classes)`.
        without: the classes that are never to be said; with none, `scores` itself.
        space: of the classes.

    Raises:
        SpecError: there is no such class, or every class is ruled out.
    """
    if not without:
        return scores
    remaining = counted_classes(space, without)
    masked = scores.copy()
    lowest = scores[:, remaining].min(axis=1)
    for column in sorted(set(range(len(space))) - set(remaining)):
        masked[:, column] = lowest - np.abs(lowest) - 1
    return masked


def output_of(head: str, outputs: Outputs) -> Values:
    """What a head says.

    Raises:
        SpecError: nothing of it is there, or it holds what is no number.
    """
    if head not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        raise SpecError(f"The method needs what the head '{head}' says; there is {known}.")
    output = outputs[head]
    if output.ndim != 2:
        raise SpecError(f"A head says (frames, outputs); '{head}' has the shape {output.shape}.")
    if not np.isfinite(output).all():
        raise SpecError(f"What the head '{head}' says holds NaN or infinity. Fill gaps first; check what predicted it.")
    return output


def _mixed(weight: float, first: Values, second: Values) -> Values:
    return np.float32(weight) * first + np.float32(1 - weight) * second


def _outputs_of_parts(method: Ensemble, outputs: Outputs, space: LabelSpace) -> list[Values]:
    """What the parts of a method say, after checking that they speak of the same."""
    found = [(_name(part), combined(part, outputs, space)) for part in parts(method)]
    if len({output.shape[1] for _, output in found}) > 1:
        widths = " and ".join(f"{name} with {output.shape[1]}" for name, output in found)
        raise SpecError(f"A blend needs parts of one label space; found {widths} outputs a frame.")
    if len({len(output) for _, output in found}) > 1:
        names, frames = " and ".join(name for name, _ in found), " and ".join(str(len(output)) for _, output in found)
        raise SpecError(f"A blend needs parts of the same frames; {names} have {frames}.")
    return [output for _, output in found]


def _value(number: SearchedValue) -> float:
    if number.value is None:
        raise SpecError("A method with a number that has no value decides nothing. Search it first.")
    return number.value


def _name(method: Ensemble) -> str:
    return " + ".join(f"'{head}'" for head in heads_of(method))
