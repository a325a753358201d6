"""How the outputs of several heads become one: blends and rules of both papers, as a tree of plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from affstore.store.contract.errors import SpecError


@dataclass(frozen=True, slots=True)
class SearchedValue:
    """A number that the papers chose on validation frames.

    Attributes:
        value: the papers' (or their code's) own choice; None where it is searched on every corpus.
        grid: what is tried where it is searched, in this order; of equally good values the first is taken.
    """

    KIND: ClassVar[str] = "searched value"

    value: float | None
    grid: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.value is None and not self.grid:
            raise SpecError("A number without a value needs a grid to be searched on.")


UNSMOOTHED = SearchedValue(0, (0,))
"""Half a window of the box filter where nothing is smoothed, nor searched."""


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """What one head says: `(frames, outputs)`, gaps filled, and smoothed where the row smooths."""

    KIND: ClassVar[str] = "head output"

    head: str


@dataclass(frozen=True, slots=True)
class Blend:
    """`weight · first + (1 − weight) · second`, whatever their units (ABAW5 §3; its code mixes logits in)."""

    KIND: ClassVar[str] = "blend"

    first: Ensemble
    second: Ensemble
    weight: SearchedValue


@dataclass(frozen=True, slots=True)
class ConfidenceGate:
    """The pre-trained expression where it is sure, else another's (ABAW6 §3.3; `abaw8_expr.ipynb`, cell 65).

    With `c` the likeliest of the pre-trained probabilities without Other: `c` where its probability is above the
    threshold, else whatever `otherwise` says.
    """

    KIND: ClassVar[str] = "threshold blend"

    pretrained: Ensemble
    otherwise: Ensemble
    threshold: SearchedValue


TwoStageVariant = Literal["eight_before_smoothing", "seven_after_smoothing"]


@dataclass(frozen=True, slots=True)
class TwoStageOther:
    """A method decides whether a frame is Other; where it is not, another method names the expression (ABAW5 §2).

    Attributes:
        decides: a frame is Other where this method's likeliest expression is.
        elsewhere: whose scores count where it is not.
        where_other: whose scores count where it is; those of `decides` if None.
        variant: `eight_before_smoothing` is what the papers' code does: the rule is applied to each frame as the heads
            see it, its scores are smoothed, and all eight compete. Contempt's column, which stands in Other's place,
            can still win. `seven_after_smoothing` is what the paper's text says: the rule is applied to smoothed
            scores, and where it does not say Other, nothing else does.
    """

    KIND: ClassVar[str] = "other step"

    decides: Ensemble
    elsewhere: Ensemble
    where_other: Ensemble | None = None
    variant: TwoStageVariant = "eight_before_smoothing"


Ensemble = HeadOutput | Blend | ConfidenceGate | TwoStageOther

_PARTS: dict[type, tuple[str, ...]] = {
    HeadOutput: (),
    Blend: ("first", "second"),
    ConfidenceGate: ("pretrained", "otherwise"),
    TwoStageOther: ("decides", "where_other", "elsewhere"),
}
_NUMBER: dict[type, str] = {Blend: "weight", ConfidenceGate: "threshold"}


def heads_of(method: Ensemble) -> tuple[str, ...]:
    """The heads of a method, each once, in the order of their appearance."""
    if isinstance(method, HeadOutput):
        return (method.head,)
    found = [name for part in parts(method) for name in heads_of(part)]
    return tuple(dict.fromkeys(found))


def parts(method: Ensemble) -> tuple[Ensemble, ...]:
    """The methods that a method is made of."""
    return tuple(part for name in _PARTS[type(method)] if (part := getattr(method, name)) is not None)


def streams(method: Ensemble) -> dict[str, Ensemble]:
    """What of a method is smoothed, by name: its heads, and each rule that is applied before."""
    if isinstance(method, HeadOutput):
        return {method.head: method}
    if isinstance(method, TwoStageOther) and method.variant == "eight_before_smoothing":
        return {str(method): method}
    return {name: one for part in parts(method) for name, one in streams(part).items()}


def searched_values(method: Ensemble) -> dict[str, SearchedValue]:
    """The numbers of a method by name, the outermost first: `weight`, `threshold`, and `weight_2` for a second one."""
    found: dict[str, SearchedValue] = {}
    for kind, number in _numbers(method):
        before = sum(name.partition("_")[0] == kind for name in found)
        found[f"{kind}_{before + 1}" if before else kind] = number
    return found


def with_values(method: Ensemble, numbers: Mapping[str, float]) -> Ensemble:
    """The same method with the value of each of its numbers given, by the names of `tunables`.

    Raises:
        SpecError: one is not given, or what is given is none of the method's.
    """
    names = list(searched_values(method))
    if set(names) != set(numbers):
        needed, given = (", ".join(sorted(words)) or "none" for words in (names, numbers))
        raise SpecError(f"The method has the numbers {needed}; values were given for {given}.")
    return _with_numbers(method, iter([numbers[name] for name in names]))


def _with_numbers(method: Ensemble, values: Iterator[float]) -> Ensemble:
    """Takes its own value first, then its parts theirs: the order of `_numbers`."""
    own = _NUMBER.get(type(method))
    changes: dict[str, Any] = {own: replace(getattr(method, own), value=next(values))} if own else {}
    return _with_parts(replace(method, **changes), lambda part: _with_numbers(part, values))


def _numbers(method: Ensemble) -> list[tuple[str, SearchedValue]]:
    """The numbers of a method with what each is, its own before those of its parts."""
    own = _NUMBER.get(type(method))
    found: list[tuple[str, SearchedValue]] = [(own, getattr(method, own))] if own else []
    return found + [number for part in parts(method) for number in _numbers(part)]


def with_heads_renamed(method: Ensemble, names: Mapping[str, str]) -> Ensemble:
    """The same method on heads of other names; those that `names` lacks keep theirs."""
    if isinstance(method, HeadOutput):
        return HeadOutput(names.get(method.head, method.head))
    return _with_parts(method, lambda part: with_heads_renamed(part, names))


def _with_parts(method: Ensemble, change: Callable[[Ensemble], Ensemble]) -> Ensemble:
    """The same method with each of its parts changed, in their order."""
    found = {name: getattr(method, name) for name in _PARTS[type(method)]}
    changes: dict[str, Any] = {name: change(part) for name, part in found.items() if part is not None}
    return replace(method, **changes)
