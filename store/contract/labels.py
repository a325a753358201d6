"""Label spaces: what the columns of a label, a logit or a prediction mean; affstore's own, and a user's as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.names import name_fault
from affstore.store.contract.printable import excerpt

_MOST = 127
"""Classes and levels are kept as int8."""


class SpaceKind(StrEnum):
    """How the columns of a label space are meant. The values are in keys, so they never change."""

    CLASSES = "one_of"
    """One class a frame: labels `(frames, 1)` int8, outputs a column each class."""
    UNITS = "any_of"
    """Each unit is present or absent: `(frames, units)` int8, 0 or 1."""
    INTENSITIES = "intensity"
    """How strong each unit is: `(frames, units)` int8, whole levels from 0 to the range's end."""
    VALUES = "scale"
    """Real numbers within a range: `(frames, dimensions)` float32."""


_KINDS = {"classes": SpaceKind.CLASSES, "units": SpaceKind.UNITS, "values": SpaceKind.VALUES}
"""What a file says; units with a range have intensities."""
_FIELDS = ("kind", "names", "range", "unknown", "revision")


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What the columns of a label, a logit or a prediction mean.

    Attributes:
        name: short name.
        kind: how columns are meant.
        names: the columns' names, in order; for classes, the classes'.
        range: lowest and highest label of intensities and values; None for that of the kind.
        unknown: how files write that a frame has no valid label, beside leaving it empty.
        revision: raised by its author when the same words mean something else.
    """

    KIND: ClassVar[str] = "label space"

    name: str
    kind: SpaceKind
    names: tuple[str, ...]
    range: tuple[float, float] | None = None
    unknown: tuple[str, ...] = ()
    revision: int = 1

    def __post_init__(self) -> None:
        fault = name_fault(self.name) or self._fault()
        if fault:
            raise SpecError(f"The label space '{self.name}' cannot be used: {fault}.")

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return self.name

    @property
    def columns(self) -> int:
        """Columns of a label; outputs have one for each name."""
        return 1 if self.kind is SpaceKind.CLASSES else len(self.names)

    @property
    def dtype(self) -> type[np.int8] | type[np.float32]:
        """The type in which labels are kept."""
        return np.float32 if self.kind is SpaceKind.VALUES else np.int8

    @property
    def low(self) -> float:
        """The lowest label."""
        return self.range[0] if self.range else -1 if self.kind is SpaceKind.VALUES else 0

    @property
    def high(self) -> float:
        """The highest label."""
        return self.range[1] if self.range else len(self.names) - 1 if self.kind is SpaceKind.CLASSES else 1

    @property
    def allowed(self) -> str:
        """Which labels are valid, in words."""
        numbers = "values" if self.kind is SpaceKind.VALUES else "whole numbers"
        return f"{numbers} from {self.low:g} to {self.high:g}"

    def is_valid(self, cells: NDArray[Any]) -> NDArray[np.bool_]:
        """Which numbers are labels of this space, whatever their column; NaN is none."""
        inside = (cells >= self.low) & (cells <= self.high)
        return inside if self.kind is SpaceKind.VALUES else inside & (cells == np.rint(cells))

    def class_of(self, text: str) -> float:
        """The class that a text means: by one's name, else by its number from 0; NaN where it means none.

        Where names are numbers themselves, only names count, and `1.0` is the class `1`.
        """
        names, number = [name.casefold() for name in self.names], number_of(text)
        if text.casefold() in names:
            return names.index(text.casefold())
        numbers = [number_of(name) for name in names]
        if all(map(math.isnan, numbers)):
            return number
        return numbers.index(number) if number in numbers else math.nan

    def is_unknown(self, text: str) -> bool:
        """Whether a text says that there is no valid label: one of `unknown`, or the same number."""
        if text.casefold() in (name.casefold() for name in self.names):
            return False
        number = number_of(text)
        return any(text.casefold() == one.casefold() or number == number_of(one) for one in self.unknown)

    @property
    def unknown_numbers(self) -> tuple[float, ...]:
        """Those of `unknown` that are numbers."""
        return tuple(number for one in self.unknown if not math.isnan(number := number_of(one)))

    def order_of(self, other: LabelSpace) -> NDArray[np.int64]:
        """Columns of `other` in our order: `theirs[:, ours.order_of(theirs_space)]` is in our order.

        Raises:
            SpecError: one of our names is not in `other`.
        """
        missing = sorted(set(self.names) - set(other.names))
        if missing:
            raise SpecError(f"'{other.name}' has no column for {', '.join(missing)} of '{self.name}'.")
        return np.array([other.names.index(name) for name in self.names], np.int64)

    def definition(self) -> dict[str, Any]:
        """The space as plain values; `space_of` reads them back."""
        kind = next((name for name, kind in _KINDS.items() if kind is self.kind), "units")
        written: dict[str, Any] = {"kind": kind, "names": list(self.names)}
        if self.range:
            written["range"] = list(self.range)
        return {**written, "unknown": list(self.unknown), "revision": self.revision}

    def _fault(self) -> str:
        """What is wrong with the fields, or an empty text."""
        lowered = [name.casefold() for name in self.names]
        twice = next((name for name in self.names if lowered.count(name.casefold()) > 1), None)
        fewest = 2 if self.kind is SpaceKind.CLASSES else 1
        if twice is not None:
            return f"the name '{twice}' is there twice. Name each once"
        if not all(name.strip() == name and name for name in self.names):
            return "a name is empty, or begins or ends with a blank"
        if not fewest <= len(self.names) <= _MOST:
            return f"it needs {fewest} to {_MOST} names; found {len(self.names)}"
        if self.revision < 1:
            return f"its revision must be 1 or more; found {self.revision}"
        return self._range_fault()

    def _range_fault(self) -> str:
        ranged = self.kind in (SpaceKind.INTENSITIES, SpaceKind.VALUES)
        if not ranged or not self.range:
            return "classes and units that are present or absent have no range" if self.range else ""
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            return f"its range must go from a lower to a higher number; found {low:g} to {high:g}"
        levels = low == 0 and high == int(high) and high <= _MOST
        if self.kind is SpaceKind.INTENSITIES and not levels:
            return f"intensities go from 0 to a whole number up to {_MOST}; found {low:g} to {high:g}"
        return ""


def space_of(name: str, written: Any) -> LabelSpace:
    """A user's label space from plain values: `{kind: classes, names: [calm, tense]}`.

    Args:
        name: what it is called.
        written: `kind` (`classes`, `units` or `values`), `names`, and as need be `range` (units with one have
            intensities), `unknown` and `revision`.

    Raises:
        SpecError: something in it is wrong.
        UnknownNameError: the kind or a field is unknown; the message suggests the nearest.
    """
    if not isinstance(written, Mapping):
        raise SpecError(f"The label space '{name}' needs `kind` and `names`; found {excerpt(written)}.")
    for field in written:
        if field not in _FIELDS:
            raise UnknownNameError.of(f"field of the label space '{name}'", str(field), _FIELDS)
    kind_name = written.get("kind")
    if not isinstance(kind_name, str):
        raise SpecError(f"The label space '{name}' needs a `kind`: {', '.join(_KINDS)}; found {excerpt(kind_name)}.")
    if kind_name not in _KINDS:
        raise UnknownNameError.of(f"kind of the label space '{name}'", str(kind_name), _KINDS)
    names, unknown, limits = written.get("names"), written.get("unknown", ()), written.get("range")
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise SpecError(
            f"The label space '{name}' needs `names`, a list of texts; found {excerpt(names)}. Put each name that is a "
            "number, yes, no or a date into quotes, as names: ['1', '2']."
        )
    unknown = [unknown] if isinstance(unknown, str | int | float) else unknown
    if not isinstance(unknown, list | tuple):
        raise SpecError(f"The label space '{name}': `unknown` is how files write no label; found {excerpt(unknown)}.")
    revision = written.get("revision", 1)
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise SpecError(f"The label space '{name}': `revision` is a whole number; found {excerpt(revision)}.")
    kind = SpaceKind.INTENSITIES if kind_name == "units" and limits is not None else _KINDS[kind_name]
    return LabelSpace(name, kind, tuple(names), _limits(name, limits), tuple(map(str, unknown)), revision)


def _limits(name: str, limits: Any) -> tuple[float, float] | None:
    if limits is None:
        return None
    numbers = limits if isinstance(limits, list | tuple) else ()
    if len(numbers) != 2 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise SpecError(
            f"The label space '{name}': `range` is the lowest and the highest label; found {excerpt(limits)}."
        )
    return float(numbers[0]), float(numbers[1])


def number_of(text: str) -> float:
    """The finite number that a text is, or NaN."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


UNKNOWN_TEXTS = ("unknown", "?")
"""What an interval of a unit's tier says where nobody knows whether the unit is shown; see `unknown_text`."""


def unknown_text(unit: str) -> str:
    """The text of `UNKNOWN_TEXTS` that is not the unit's own name."""
    return next(text for text in UNKNOWN_TEXTS if text != unit.casefold())


def label_tier(space: LabelSpace, subject: str, name: str = "") -> str:
    """What the tier of a subject's labels of a space, or of one of its names, is called in affstore's exports."""
    return "/".join(part for part in ("label", space.name, subject, name) if part)


def space_from_fields(written: Mapping[str, Any]) -> LabelSpace:
    """A user's label space from its fields, as recipes and the records of heads hold them; those at defaults may lack.

    `space_of` reads what users write, whose `kind` has other words.
    """
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    return LabelSpace(**{**fields, "kind": SpaceKind(written["kind"])})


_CLASSES, _UNITS = SpaceKind.CLASSES, SpaceKind.UNITS

EXPR = LabelSpace(
    "expr",
    _CLASSES,
    ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other"),
    unknown=("-1",),
)
"""Expression of Aff-Wild2, ABAW 3 and later."""

EXPR_7 = LabelSpace("expr_7", _CLASSES, EXPR.names[:7])
"""Expression of ABAW 1 and 2, without Other."""

AU = LabelSpace(
    "au",
    _UNITS,
    ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26"),
    unknown=("-1",),
)
"""Action units of Aff-Wild2, ABAW 2 and later."""

AU_8 = LabelSpace("au_8", _UNITS, ("AU1", "AU2", "AU4", "AU6", "AU12", "AU15", "AU20", "AU25"))
"""Action units of ABAW 1."""

VA = LabelSpace("va", SpaceKind.VALUES, ("valence", "arousal"), unknown=("-5",))
"""Valence and arousal, each in [-1, 1]."""

AFFECTNET_8 = LabelSpace(
    "affectnet_8",
    _CLASSES,
    ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
)
"""The alphabetical order of EmotiEffNet's logits."""

AFFECTNET_7 = LabelSpace("affectnet_7", _CLASSES, tuple(n for n in AFFECTNET_8.names if n != "Contempt"))
"""The same without Contempt."""

AFFECTNET_8_NUMBERED = LabelSpace(
    "affectnet_8_numbered",
    _CLASSES,
    ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
)
"""The order of AffectNet's own numbers, and of the logits of DDAMFN's author."""

AFFECTNET_7_NUMBERED = LabelSpace("affectnet_7_numbered", _CLASSES, AFFECTNET_8_NUMBERED.names[:7])
"""The same without Contempt."""

FER_2013 = LabelSpace("fer_2013", _CLASSES, ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"))
"""The order of FER-2013's numbers, which its own files call angry, disgust, fear, happy, sad, surprise and neutral."""

SPEECH = LabelSpace("speech", _UNITS, ("Speech",))
"""Whether somebody speaks; a logit above 0 says so."""

IEMOCAP_4 = LabelSpace("iemocap_4", _CLASSES, ("Neutral", "Happiness", "Anger", "Sadness"))
"""The order of the logits of SUPERB's models for emotion: neu, hap, ang, sad of IEMOCAP."""

TASKS: dict[str, LabelSpace] = {"expr": EXPR, "au": AU, "va": VA}
"""The three ABAW tasks by name: affstore's own label spaces."""

type Task = str | LabelSpace
"""What a head predicts: one of affstore's own spaces by its name, or a user's space, which travels with the spec."""


def task_space(task: Task, own: Mapping[str, LabelSpace] | None = None) -> LabelSpace:
    """The label space that is meant.

    Args:
        task: a name, or a space itself.
        own: a user's spaces by name.

    Raises:
        UnknownNameError: there is no such space.
    """
    if isinstance(task, LabelSpace):
        return task
    known = TASKS | dict(own or {})
    if task not in known:
        raise UnknownNameError.of("task", task, known)
    return known[task]


def task_of(name: str, own: Mapping[str, LabelSpace]) -> Task:
    """What a spec holds for the space of that name: affstore's own by name, so that keys stay, and a user's whole.

    Raises:
        UnknownNameError: there is no such space.
    """
    space = task_space(name, own)
    return name if name in TASKS else space


def spaces_of(written: Any) -> dict[str, LabelSpace]:
    """A user's label spaces by name, as a configuration has them.

    Raises:
        SpecError: one is wrong, or has the name of one of affstore's own.
    """
    if not isinstance(written, Mapping):
        raise SpecError(f"`label_spaces` is a mapping of names to spaces; found {excerpt(written)}.")
    for name in written:
        if name in TASKS:
            raise SpecError(f"The label space '{name}' is one of affstore's own. Choose another name for yours.")
    return {str(name): space_of(str(name), one) for name, one in written.items()}


def counted_classes(task: Task, without: tuple[str, ...]) -> list[int]:
    """The classes of a task that count, by index.

    Raises:
        SpecError: `without` names what is no class of the task, or leaves none.
    """
    space = task_space(task)
    if without and space.kind is not SpaceKind.CLASSES:
        raise SpecError(f"Only classes can be left out; found {', '.join(without)} for '{task}'.")
    for name in without:
        if name not in space.names:
            raise UnknownNameError.of("class", name, space.names)
    classes = [index for index, name in enumerate(space.names) if name not in without]
    if not classes:
        raise SpecError(f"Every class of the task '{task}' is left out, so that nothing can be said.")
    return classes
