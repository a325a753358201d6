"""How the outputs of several heads become one: blends and rules of both papers, as a tree of plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from affstore.store.contract.errors import SpecError


@dataclass(frozen=True, slots=True)
class Tunable:
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


UNSMOOTHED = Tunable(0, (0,))
"""Half a window of the box filter where nothing is smoothed, nor searched."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What one head says: `(frames, outputs)`, gaps filled, and smoothed where the row smooths."""

    KIND: ClassVar[str] = "head output"

    head: str


@dataclass(frozen=True, slots=True)
class Blend:
    """`weight · first + (1 − weight) · second`, whatever their units (ABAW5 §3; its code mixes logits in)."""

    KIND: ClassVar[str] = "blend"

    first: Method
    second: Method
    weight: Tunable


@dataclass(frozen=True, slots=True)
class ThresholdBlend:
    """The pre-trained expression where it is sure, else another's (ABAW6 §3.3; seed code: nb8).

    With `c` the likeliest of the pre-trained probabilities without Other: `c` where its probability is above the
    threshold, else whatever `otherwise` says.
    """

    KIND: ClassVar[str] = "threshold blend"

    pretrained: Method
    otherwise: Method
    threshold: Tunable


@dataclass(frozen=True, slots=True)
class OtherStep:
    """A classifier decides Other or not; where not, a blend of logits and it names the expression (ABAW5 §2).

    Where not Other, the likeliest of `weight · pretrained + (1 − weight) · classifier` without Other is taken; with
    weight 1 that is the pre-trained logits alone.
    """

    KIND: ClassVar[str] = "other step"

    classifier: Method
    pretrained: Method
    weight: Tunable


Method = Leaf | Blend | ThresholdBlend | OtherStep


def leaves(method: Method) -> tuple[str, ...]:
    """The heads of a method, each once, in the order of their appearance."""
    if isinstance(method, Leaf):
        return (method.head,)
    found = [name for part in parts(method) for name in leaves(part)]
    return tuple(dict.fromkeys(found))


def parts(method: Method) -> tuple[Method, ...]:
    """The methods that a method is made of."""
    if isinstance(method, Blend):
        return method.first, method.second
    if isinstance(method, ThresholdBlend):
        return method.pretrained, method.otherwise
    return (method.classifier, method.pretrained) if isinstance(method, OtherStep) else ()


def tunables(method: Method) -> dict[str, Tunable]:
    """The numbers of a method by name, the outermost first: `weight`, `threshold`, and `weight_2` for a second one."""
    found: dict[str, Tunable] = {}
    for kind, number in _numbers(method):
        before = sum(name.partition("_")[0] == kind for name in found)
        found[f"{kind}_{before + 1}" if before else kind] = number
    return found


def settled(method: Method, numbers: Mapping[str, float]) -> Method:
    """The same method with the value of each of its numbers given, by the names of `tunables`.

    Raises:
        SpecError: one is not given, or what is given is none of the method's.
    """
    names = list(tunables(method))
    if set(names) != set(numbers):
        asked, given = (", ".join(sorted(words)) or "none" for words in (names, numbers))
        raise SpecError(f"The method has the numbers {asked}; values were given for {given}.")
    return _settled(method, iter([numbers[name] for name in names]))


def _settled(method: Method, values: Iterator[float]) -> Method:
    """Takes its own value first, then its parts theirs: the order of `_numbers`."""
    if isinstance(method, Leaf):
        return method
    if isinstance(method, ThresholdBlend):
        threshold = replace(method.threshold, value=next(values))
        return ThresholdBlend(_settled(method.pretrained, values), _settled(method.otherwise, values), threshold)
    weight = replace(method.weight, value=next(values))
    first, second = (_settled(part, values) for part in parts(method))
    return type(method)(first, second, weight)


def _numbers(method: Method) -> list[tuple[str, Tunable]]:
    """The numbers of a method with what each is, its own before those of its parts."""
    if isinstance(method, Leaf):
        return []
    if isinstance(method, ThresholdBlend):
        own = ("threshold", method.threshold)
    else:
        own = ("weight", method.weight)
    return [own, *(found for part in parts(method) for found in _numbers(part))]


def renamed(method: Method, names: Mapping[str, str]) -> Method:
    """The same method on heads of other names; those that `names` lacks keep theirs."""
    if isinstance(method, Leaf):
        return Leaf(names.get(method.head, method.head))
    first, second = (renamed(part, names) for part in parts(method))
    if isinstance(method, ThresholdBlend):
        return ThresholdBlend(first, second, method.threshold)
    return type(method)(first, second, method.weight)
