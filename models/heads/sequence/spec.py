"""What a head on sequences is: temporal convolutions a stream, a transformer encoder, a perceptron (ABAW6 §3.5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from affstore.models.heads.sequence.parts import EncoderSpec, OptimiserSpec, TcnSpec
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SpaceKind, Task, task_space
from affstore.store.contract.windows import WindowSpec

SequenceWeighting = Literal["none", "inverse_frequency", "balanced"]
SequenceSelection = Literal["best_accuracy", "best_f1", "lowest_loss", "last_epoch"]

_ALLOWED: dict[SpaceKind, tuple[tuple[SequenceWeighting, ...], tuple[SequenceSelection, ...]]] = {
    SpaceKind.CLASSES: (("none", "inverse_frequency"), ("best_accuracy", "best_f1", "lowest_loss", "last_epoch")),
    SpaceKind.UNITS: (("none", "balanced"), ("best_f1", "lowest_loss", "last_epoch")),
    SpaceKind.INTENSITIES: (("none",), ("lowest_loss", "last_epoch")),
    SpaceKind.VALUES: (("none",), ("lowest_loss", "last_epoch")),
}
"""By kind of label: weightings and selections that mean something there."""


@dataclass(frozen=True, slots=True)
class SequenceSpec:
    """A head that sees a video in windows: streams → TCN each → projection → transformer encoder → perceptron.

    The task decides outputs and loss: softmax and weighted cross-entropy (ABAW6 Eq. 1), sigmoid and weighted binary
    cross-entropy (Eq. 2, as the mean over action units instead of their sum), tanh and 1 − mean CCC, or, of
    intensities, sigmoid and the squared error; the last two are stretched to the space's range. A frame that lacks a
    label of the task is left out of losses and scores. What ABAW6 leaves open (here: the perceptron, batch,
    evaluations, standardisation) is as in CtyunAI's system; `as_ctyunai` takes over the rest of it too.

    Attributes:
        name: the head's name.
        task: what it predicts.
        weighting: `inverse_frequency`: a frame's loss is multiplied by its class's weight, and averaged over frames;
            `balanced`: each action unit's 0 and 1 weigh alike.
        selection: which evaluation's parameters are kept: of validation frames, each counted once. VA's `lowest_loss`
            is its best mean CCC.
        tcn: the convolutions.
        encoder: the projection and the encoder.
        hidden: units of the perceptron's hidden layer.
        hidden_norm: whether batches are normalised after it.
        hidden_activation: after that; CtyunAI has none.
        perceptrons: `joint`, or one for each output (CtyunAI's VA).
        window: windows in which a video is seen.
        standardise: whether features are z-scored by the mean and deviation of training frames.
        optimiser: how it is trained.
        batch: windows a step.
        epochs: passes over the training windows, each in another order. ABAW6: 100 to 200.
        evaluations: on validation frames in each epoch, evenly spread.
        mixed_precision: bfloat16 where autocast allows it, on a GPU; a CPU always computes in float32.
        seed: of initial parameters, orders and dropout.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "sequence"

    name: str
    task: Task
    weighting: SequenceWeighting
    selection: SequenceSelection
    tcn: TcnSpec = field(default_factory=TcnSpec)
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    hidden: int = 256
    hidden_norm: bool = True
    hidden_activation: Literal["none", "relu"] = "none"
    perceptrons: Literal["joint", "one_each"] = "joint"
    window: WindowSpec = field(default_factory=WindowSpec)
    standardise: bool = True
    optimiser: OptimiserSpec = field(default_factory=OptimiserSpec)
    batch: int = 32
    epochs: int = 100
    evaluations: int = 4
    mixed_precision: bool = True
    seed: int = 0
    version: int = 2  # 2: convolutions start as torch's own; the rate moves with every step

    def __post_init__(self) -> None:
        weightings, selections = _ALLOWED[task_space(self.task).kind]
        if self.weighting not in weightings or self.selection not in selections:
            raise SpecError(
                f"Head '{self.name}': for the task '{self.task}' the weighting is one of {', '.join(weightings)} and "
                f"the selection one of {', '.join(selections)}; found {self.weighting} and {self.selection}."
            )
        if min(self.hidden, self.batch, self.epochs, self.evaluations) < 1 or self.seed < 0:
            raise SpecError(
                f"Head '{self.name}': hidden, batch, epochs and evaluations must be 1 or more, the seed 0 or more."
            )

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""
        return len(task_space(self.task))


EXPR_SEQUENCE = SequenceSpec("expr_tcn_transformer", "expr", "inverse_frequency", "best_f1")
"""ABAW6's EXPR head on sequences; how its epoch was chosen is unpublished, so as in CtyunAI's system."""

AU_SEQUENCE = SequenceSpec("au_tcn_transformer", "au", "balanced", "best_f1")
"""ABAW6's AU head on sequences. Eq. 2 has one weight a unit; as in the papers' code, 0 and 1 have one each."""

VA_SEQUENCE = SequenceSpec("va_tcn_transformer", "va", "none", "lowest_loss", perceptrons="one_each")
"""The same for VA, which ABAW6 leaves out; outputs are bounded by tanh as in ABAW5's VA head."""

PAPER_SEQUENCES: dict[str, SequenceSpec] = {"expr": EXPR_SEQUENCE, "au": AU_SEQUENCE, "va": VA_SEQUENCE}
"""The head on sequences of each task."""


def default_sequence(task: Task) -> SequenceSpec:
    """The head on sequences of a task; of a user's space, the one for that kind of space."""
    if isinstance(task, str):
        return PAPER_SEQUENCES[task_space(task).name]
    if task.kind is SpaceKind.INTENSITIES:
        return SequenceSpec(f"{task}_tcn_transformer", task, "none", "lowest_loss")
    like = next(spec for spec in PAPER_SEQUENCES.values() if task_space(spec.task).kind is task.kind)
    return replace(like, name=f"{task}_tcn_transformer", task=task)


def as_ctyunai(spec: SequenceSpec) -> SequenceSpec:
    """The same head trained as in CtyunAI's ABAW5 system: AdamW at 3e-5 with warm-up, unweighted loss, 30 or 40 epochs.

    Its schedule restarts only after the last epoch, so it is one cosine. What is not taken over: it gives a frame
    without a face the last face's features (here a learnt vector), starts the encoder's layers as copies of one (here
    apart), leaves the last, smaller batch of an epoch out and keeps windows without any known label in its batches
    (here the other way round), and sees no frame after the last whole window (here all).
    """
    optimiser = OptimiserSpec("adamw", 3e-5, 1e-5, "warmup_cosine", warmup_epochs=2, lowest_rate=1e-8)
    return replace(spec, weighting="none", optimiser=optimiser, epochs=40 if spec.task == "va" else 30)
