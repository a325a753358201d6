"""Heads that learn nothing: what a pre-trained network itself says, in the terms of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import EXPR, EXPR_7, LabelSpace, SpaceKind, Task, task_space

NEVER = -1e9
"""The logit of a class that a network does not know: far below any that it says, and still a number."""

_CONTEMPT = "Contempt"


@dataclass(frozen=True, slots=True)
class PretrainedSpec:
    """A pre-trained network's own expressions, or its own valence and arousal.

    Attributes:
        name: the head's name.
        task: `expr` (from logits) or `va` (raw outputs as they are, "pre-trained VA only" of ABAW5 Table 1).
        gives: of `expr`: `probabilities`, softmax over all of the network's classes; or raw `logits`.
        contempt: how it is mapped, as Aff-Wild2 has none: it stands for `other` (ABAW6 Table 4), or its column is
            `dropped` before the softmax and Other is never said.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "pretrained"

    name: str
    task: Task
    gives: Literal["probabilities", "logits"] = "probabilities"
    contempt: Literal["other", "dropped"] = "other"
    version: int = 1

    def __post_init__(self) -> None:
        if self.task not in ("expr", "va"):
            raise SpecError(
                f"Head '{self.name}': pre-trained networks say 'expr' or 'va' as they are; found '{self.task}'. Train "
                "a head on them."
            )

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""
        return len(task_space(self.task))


def pretrained_scores(
    spec: PretrainedSpec, classes: tuple[str, ...], logits: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A network's own outputs for each frame, in the order of the task.

    Rows are taken by themselves: a frame without a face, whatever stands there, changes no other.

    Args:
        spec: which task, and how Contempt is mapped.
        classes: of `expr`: the names of the network's classes, in its order. Of `va` they say nothing.
        logits: `(frames, classes)`; of `va` `(frames, 2)`, its raw valence and arousal.

    Returns:
        `(frames, 8)` in the order of `EXPR`, or valence and arousal as they are. A class that the network does not know
        has probability 0, or the logit `NEVER`.

    Raises:
        SpecError: the network lacks an expression, or numbers do not fit its classes.
    """
    width = len(classes) if spec.task == "expr" else spec.outputs
    if logits.ndim != 2 or logits.shape[1] != width:
        raise SpecError(f"Head '{spec.name}' needs {width} numbers a frame from its network; found {logits.shape}.")
    if spec.task != "expr":
        return logits
    names = tuple(name for name in classes if name != _CONTEMPT or spec.contempt == "other")
    logits = logits[:, [classes.index(name) for name in names]]
    columns = EXPR_7.order_of(LabelSpace(f"the network of head {spec.name}", SpaceKind.CLASSES, names))
    if _CONTEMPT in names:
        columns = np.append(columns, names.index(_CONTEMPT))
    probabilities = spec.gives == "probabilities"
    scores = np.full((len(logits), len(EXPR)), 0 if probabilities else NEVER, np.float32)
    scores[:, : len(columns)] = (softmax(logits) if probabilities else logits)[:, columns]
    return scores


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities `(frames, classes)` over all classes of a row, taken row by row.

    The papers' code subtracts the maximum of the whole array, so that rows far below it become 0 / 0.
    """
    raised: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.divide(raised, raised.sum(axis=1, keepdims=True), dtype=np.float32)
