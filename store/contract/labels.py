"""The label spaces of AffectNet and of the three ABAW tasks, and the maps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError, UnknownNameError


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What the columns of a label, a logit or a prediction mean.

    Attributes:
        name: short name.
        kind: `one_of` (one class a frame), `any_of` (independent yes/no a column), `scale` (real numbers).
        names: the columns' names, in order.
    """

    KIND: ClassVar[str] = "label space"

    name: str
    kind: Literal["one_of", "any_of", "scale"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def order_of(self, other: LabelSpace) -> NDArray[np.int64]:
        """Columns of `other` in our order: `theirs[:, ours.order_of(theirs_space)]` is in our order.

        Raises:
            SpecError: one of our names is not in `other`.
        """
        missing = sorted(set(self.names) - set(other.names))
        if missing:
            raise SpecError(f"'{other.name}' has no column for {', '.join(missing)} of '{self.name}'.")
        return np.array([other.names.index(name) for name in self.names], np.int64)


EXPR = LabelSpace(
    "expr", "one_of", ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
)
"""Expression of Aff-Wild2, ABAW 3 and later."""

EXPR_7 = LabelSpace("expr_7", "one_of", EXPR.names[:7])
"""Expression of ABAW 1 and 2, without Other."""

AU = LabelSpace(
    "au",
    "any_of",
    ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26"),
)
"""Action units of Aff-Wild2, ABAW 2 and later."""

AU_8 = LabelSpace("au_8", "any_of", ("AU1", "AU2", "AU4", "AU6", "AU12", "AU15", "AU20", "AU25"))
"""Action units of ABAW 1."""

VA = LabelSpace("va", "scale", ("valence", "arousal"))
"""Valence and arousal, each in [-1, 1]."""

AFFECTNET_8 = LabelSpace(
    "affectnet_8",
    "one_of",
    ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
)
"""The alphabetical order of EmotiEffNet's logits."""

AFFECTNET_7 = LabelSpace("affectnet_7", "one_of", tuple(n for n in AFFECTNET_8.names if n != "Contempt"))
"""The same without Contempt."""

AFFECTNET_8_NUMBERED = LabelSpace(
    "affectnet_8_numbered",
    "one_of",
    ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
)
"""The order of AffectNet's own numbers, and of the logits of DDAMFN's author."""

AFFECTNET_7_NUMBERED = LabelSpace("affectnet_7_numbered", "one_of", AFFECTNET_8_NUMBERED.names[:7])
"""The same without Contempt."""

IEMOCAP_4 = LabelSpace("iemocap_4", "one_of", ("Neutral", "Happiness", "Anger", "Sadness"))
"""The order of the logits of SUPERB's models for emotion: neu, hap, ang, sad of IEMOCAP."""

TASKS: dict[str, LabelSpace] = {"expr": EXPR, "au": AU, "va": VA}
"""The three ABAW tasks by name."""


def task_space(task: str) -> LabelSpace:
    """The label space of an ABAW task.

    Raises:
        UnknownNameError: there is no such task.
    """
    if task not in TASKS:
        raise UnknownNameError.of("task", task, TASKS)
    return TASKS[task]


def kept_classes(task: str, without: tuple[str, ...]) -> list[int]:
    """The classes of a task that count, by index.

    Raises:
        SpecError: `without` names what is no class of the task, or leaves none.
    """
    space = task_space(task)
    if without and space.kind != "one_of":
        raise SpecError(f"Only classes of expressions can be left out; found {', '.join(without)} for '{task}'.")
    for name in without:
        if name not in space.names:
            raise UnknownNameError.of("class", name, space.names)
    kept = [index for index, name in enumerate(space.names) if name not in without]
    if not kept:
        raise SpecError(f"Every class of the task '{task}' is left out, so that nothing can be said.")
    return kept
