"""What LightAutoML searches, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SpaceKind, Task, task_space

Algorithm = Literal["linear_l2", "lgb", "lgb_tuned", "cb", "cb_tuned", "rf"]

JOINT_ALGORITHMS = ("linear_l2", "cb", "cb_tuned", "rf")
"""Those with a loss for several outputs at once; LightAutoML passes over the others without a word."""


@dataclass(frozen=True, slots=True)
class AutoMlSpec:
    """An ensemble that LightAutoML finds on tabular features (ABAW5 §2: logits, valence and arousal).

    Attributes:
        name: the head's name.
        task: what it predicts.
        columns: `one_each`: a search of its own for each output (valence, then arousal); `joint`: one search for all
            (LightAutoML's multi-output regression and multilabel tasks). `expr` is always one multiclass search.
        algorithms: what is tried, all in one level; LightAutoML decides the order. Of a joint search, those that know
            several outputs at once.
        timeout_s: for a search; what is ready then is used.
        patience: LightAutoML never stops its first model. After so many times `timeout_s` the search is ended from
            outside, and there is no model.
        cpus: threads.
        memory_gb: the limit that LightAutoML is told. It does not hold itself to it.
        folds: of its inner cross-validation, when no validation frames are given to it.
        uses_validation: whether the validation frames replace that cross-validation (the papers' second VA variant).
        seed: of every random choice that can be seeded.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "lightautoml"

    name: str
    task: Task
    columns: Literal["one_each", "joint"] = "joint"
    algorithms: tuple[Algorithm, ...] = ("linear_l2", "lgb", "cb")
    timeout_s: int = 600
    patience: float = 4.0
    cpus: int = 4
    memory_gb: int = 16
    folds: int = 5
    uses_validation: bool = False
    seed: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        task_space(self.task)
        if min(self.timeout_s, self.cpus, self.memory_gb) < 1 or self.folds < 2 or self.seed < 0 or not self.algorithms:
            raise SpecError(
                f"Head '{self.name}': time, cores and memory must be 1 or more, folds 2, the seed 0, and at least one "
                "algorithm must be named."
            )
        if not 1 <= self.patience < float("inf"):
            raise SpecError(f"Head '{self.name}': the patience must be 1 or more, and finite; found {self.patience:g}.")
        if not self.tried:
            raise SpecError(
                f"Head '{self.name}': a joint search over the task '{self.task}' can try "
                f"{', '.join(JOINT_ALGORITHMS)}; found only {', '.join(self.algorithms)}."
            )

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""
        return len(task_space(self.task))

    @property
    def tried(self) -> tuple[Algorithm, ...]:
        """Those of the algorithms that the kind of search knows."""
        space = task_space(self.task)
        joint = self.columns == "joint" and space.kind is not SpaceKind.CLASSES and len(space) > 1
        return tuple(name for name in self.algorithms if not joint or name in JOINT_ALGORITHMS)
