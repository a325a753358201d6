"""What a multilayer perceptron on embeddings is: everything its numbers depend on, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SpaceKind, Task, task_space

Activation = Literal["softmax", "sigmoid", "tanh"]
Loss = Literal["sparse_crossentropy", "weighted_binary_crossentropy", "ccc", "squared_error"]
Weighting = Literal["none", "inverse_frequency", "balanced"]
Selection = Literal["best_accuracy", "lowest_loss", "last_epoch"]

_ALLOWED: dict[SpaceKind, tuple[Activation, Loss, tuple[Weighting, ...], tuple[Selection, ...]]] = {
    SpaceKind.CLASSES: (
        "softmax",
        "sparse_crossentropy",
        ("none", "inverse_frequency"),
        ("best_accuracy", "lowest_loss", "last_epoch"),
    ),
    SpaceKind.UNITS: (
        "sigmoid",
        "weighted_binary_crossentropy",
        ("none", "balanced"),
        ("lowest_loss", "last_epoch"),
    ),
    SpaceKind.INTENSITIES: ("sigmoid", "squared_error", ("none",), ("lowest_loss", "last_epoch")),
    SpaceKind.VALUES: ("tanh", "ccc", ("none",), ("lowest_loss", "last_epoch")),
}
"""By kind of label: output activation, loss, weightings and selections that mean something there."""


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """A perceptron with at most one hidden layer (ReLU), trained by Adam (betas .9 and .999, epsilon 1e-7).

    Attributes:
        name: the head's name.
        task: what it predicts; decides the number of outputs.
        hidden: units of the hidden layer; 0 for none.
        activation: of the outputs, stretched to the range of intensities or values.
        loss: minimised over each batch. `squared_error` is of intensities as shares of their range: a batch often has
            a unit at 0 throughout, where CCC says nothing.
        weighting: `inverse_frequency`: the loss of a frame is multiplied by its class's weight and averaged over the
            batch's size; `balanced`: each action unit's 0 and 1 weigh alike over the training frames.
        learning_rate: Adam's.
        batch: frames a step; the last batch of an epoch may be smaller.
        epochs: passes over the training frames, each in another order.
        l2: added to the loss times the sum of squared kernel entries; biases are free.
        selection: the epoch that is kept, of those seen on validation frames; `last_epoch` needs none.
        seed: of initial kernels (Glorot-uniform) and orders.
        shuffle_rows: frames that are in memory to be mixed. As many or fewer are permuted as a whole; of more, each
            batch is sampled from those in the buffer (docs/adr/0009).
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "mlp"

    name: str
    task: Task
    hidden: int
    activation: Activation
    loss: Loss
    weighting: Weighting
    learning_rate: float
    batch: int
    epochs: int
    selection: Selection
    l2: float = 0.0
    seed: int = 0
    shuffle_rows: int = 131_072
    version: int = 1

    def __post_init__(self) -> None:
        activation, loss, weightings, selections = _ALLOWED[task_space(self.task).kind]
        if (self.activation, self.loss) != (activation, loss):
            found = f"{self.activation} and {self.loss}"
            raise SpecError(f"Head '{self.name}': the task '{self.task}' needs {activation} and {loss}; found {found}.")
        if self.weighting not in weightings or self.selection not in selections:
            raise SpecError(
                f"Head '{self.name}': for the task '{self.task}' the weighting is one of {', '.join(weightings)} and "
                f"the selection one of {', '.join(selections)}; found {self.weighting} and {self.selection}."
            )
        if self.hidden < 0 or self.seed < 0 or min(self.batch, self.epochs, self.shuffle_rows) < 1:
            raise SpecError(
                f"Head '{self.name}': batch, epochs and shuffle_rows must be 1 or more, hidden and seed 0 or more."
            )
        if not (0 < self.learning_rate < float("inf") and 0 <= self.l2 < float("inf")):
            raise SpecError(f"Head '{self.name}': the learning rate must be positive and l2 0 or more, both finite.")

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""
        return len(task_space(self.task))


EXPR_MLP = MlpSpec(
    name="expr_mlp",
    task="expr",
    hidden=128,
    activation="softmax",
    loss="sparse_crossentropy",
    weighting="inverse_frequency",
    learning_rate=1e-3,
    batch=256,
    epochs=10,
    selection="best_accuracy",
)
"""Both papers' EXPR head on embeddings; their notebooks keep the epoch of the best accuracy, not F1."""

AU_MLP = MlpSpec(
    name="au_mlp",
    task="au",
    hidden=128,
    activation="sigmoid",
    loss="weighted_binary_crossentropy",
    weighting="balanced",
    learning_rate=1e-3,
    batch=512,
    epochs=5,
    selection="lowest_loss",
)
"""Both papers' AU head on embeddings. Eq. 2 of ABAW6 has one weight a unit; the code has one for 0 and one for 1."""

VA_MLP = MlpSpec(
    name="va_mlp",
    task="va",
    hidden=0,
    activation="tanh",
    loss="ccc",
    weighting="none",
    learning_rate=1e-3,
    batch=1024,
    epochs=20,
    selection="lowest_loss",
    l2=1 / 1024,
)
"""ABAW5's VA head on raw, unpermuted logits, or on logits and raw VA."""

PAPER_HEADS: dict[str, MlpSpec] = {"expr": EXPR_MLP, "au": AU_MLP, "va": VA_MLP}
"""The papers' head of each task."""


def default_mlp(task: Task) -> MlpSpec:
    """The papers' head of a task; of a user's space, the one that the papers have for that kind of space."""
    if isinstance(task, str):
        return PAPER_HEADS[task_space(task).name]
    if task.kind is SpaceKind.INTENSITIES:
        return replace(AU_MLP, name=f"{task}_mlp", task=task, loss="squared_error", weighting="none")
    like = next(spec for spec in PAPER_HEADS.values() if task_space(spec.task).kind is task.kind)
    return replace(like, name=f"{task}_mlp", task=task)
