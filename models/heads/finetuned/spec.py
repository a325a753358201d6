"""What fine-tuning a whole face network is, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SpaceKind, Task, task_space


@dataclass(frozen=True, slots=True)
class FineTuneSpec:
    """A face network trained on, from its pre-trained parameters, with a new classifier (ABAW5, Table 2).

    Sharpness-aware minimisation around Adam, cross-entropy with smoothed labels and class weights averaged over the
    batch, horizontal flips. The new classifier starts from one that is fitted on the embeddings first.

    Attributes:
        name: the head's name.
        task: what it predicts, a space of classes.
        gives: raw `logits`, as the papers blend them, or `probabilities`.
        start: of the classifier: a `linear` one fitted on the pre-trained network's embeddings, or `random`.
        start_frames: training frames that a linear start is fitted on at most, evenly spaced; their embeddings are in
            memory together, 5 KB a frame.
        start_epochs: passes over them (Adam at 1e-3 in batches of 256, as the papers' heads on embeddings). The last
            one's is taken; the notebook takes the best of 10 on validation frames.
        start_l2: added to the loss of a linear start times the sum of squared kernel entries.
        learning_rate: Adam's, of all layers.
        rho: of sharpness-aware minimisation; 0 for plain Adam.
        label_smoothing: of the cross-entropy.
        flip: whether half of the crops are mirrored, drawn again in every epoch.
        batch: crops a step; one that would be left alone joins the step before, as a batch norm needs two.
        epochs: passes over the training frames, each in another order.
        train_stride: every how many labelled training frames are learnt from; the papers' 1.
        validation_stride: of how many frames one is looked at for choosing the epoch, by their numbers in each video:
            of 5 those with the numbers 3, 8, 13 … from 0, if they are labelled (the ABAW5 notebook, cell 54).
        selection: the epoch that is kept; `last_epoch` needs no validation.
        mixed_precision: bfloat16 where autocast allows it, on a GPU.
        seed: of orders, flips and the classifier.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "finetuned"

    name: str
    task: Task = "expr"
    gives: Literal["logits", "probabilities"] = "logits"
    start: Literal["linear", "random"] = "linear"
    start_frames: int = 1 << 17
    start_epochs: int = 10
    start_l2: float = 1 / 256
    learning_rate: float = 1e-4
    rho: float = 0.05
    label_smoothing: float = 0.1
    flip: bool = True
    batch: int = 64
    epochs: int = 5
    train_stride: int = 1
    validation_stride: int = 5
    selection: Literal["best_f1", "last_epoch"] = "best_f1"
    mixed_precision: bool = True
    seed: int = 0
    version: int = 3  # 2: the linear start's penalty; validation frames by their numbers. 3: folders that count from 0

    def __post_init__(self) -> None:
        if task_space(self.task).kind is not SpaceKind.CLASSES:
            raise SpecError(f"Head '{self.name}': networks are fine-tuned for expressions; found '{self.task}'.")
        if self.batch < 2 or min(self.start_frames, self.start_epochs, self.epochs) < 1:
            raise SpecError(f"Head '{self.name}': a batch has 2 crops or more, a start and a training 1 epoch or more.")
        if min(self.train_stride, self.validation_stride) < 1 or self.seed < 0:
            raise SpecError(f"Head '{self.name}': strides must be 1 or more, the seed 0 or more.")
        if not (0 < self.learning_rate < float("inf") and 0 <= min(self.rho, self.start_l2) < float("inf")):
            raise SpecError(f"Head '{self.name}': the rate must be positive, rho and L2 0 or more, all finite.")
        if not 0 <= self.label_smoothing < 1:
            raise SpecError(f"Head '{self.name}': labels are smoothed by [0, 1); found {self.label_smoothing}.")

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""
        return len(task_space(self.task))
