"""Fine-tuning of whole face networks as plain arrays: trained by torch on crops, and applied to crops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractors.specs import FaceExtractorSpec
from affstore.models.heads.examples import Examples, check, check_varied
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch


class LabelledCrops(Protocol):
    """Labelled frames as a face network sees them; no more crops are in memory than are asked for."""

    @property
    def y(self) -> NDArray[np.int8]:
        """The class of each, `(rows, 1)`."""

    @property
    def frame(self) -> NDArray[np.int64]:
        """The number of each in its video, from 0, `(rows,)`."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The crops of some rows, RGB `(n, size_px, size_px, 3)`, in that order."""


@dataclass(frozen=True, slots=True, eq=False)
class MemoryCrops:
    """Labelled crops of one video, of all its frames, that lie in memory.

    Attributes:
        crops: `(rows, size_px, size_px, 3)`.
        y: `(rows, 1)`.
    """

    crops: NDArray[np.uint8]
    y: NDArray[np.int8]

    def __post_init__(self) -> None:
        if len(self.crops) != len(self.y):
            raise SpecError(f"There must be a label for each crop; found {len(self.y)} for {len(self.crops)}.")

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def frame(self) -> NDArray[np.int64]:
        """See `LabelledCrops.frame`."""
        return np.arange(len(self.crops))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `LabelledCrops.read`."""
        return self.crops[rows]


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """What fine-tuning starts from.

    Attributes:
        extractor: of the pre-trained network.
        parameters: the network's, by name.
    """

    extractor: FaceExtractorSpec
    parameters: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class FittedFineTuned:
    """A fine-tuned network; holds nothing of torch.

    Attributes:
        spec: what it was trained by.
        parameters: of the selected epoch, float32, by the names of the network's state dict. Whole numbers (how many
            batches a norm has seen) are left out: no output depends on them.
        curve: one value an epoch each: `loss` (of the training frames, while it moves), and, with validation frames,
            `val_loss`, `val_accuracy` and `val_f1`.
        best_epoch: 0-based, the epoch whose parameters these are.
    """

    spec: FineTuneSpec
    parameters: dict[str, NDArray[np.float32]]
    curve: dict[str, NDArray[np.float32]]
    best_epoch: int


def fit_finetuned(  # noqa: PLR0913 - a pre-trained network is two things: what it is, and its parameters
    spec: FineTuneSpec,
    extractor: FaceExtractorSpec,
    parameters: Mapping[str, torch.Tensor],
    train: LabelledCrops,
    validation: LabelledCrops | None = None,
    conduct: TrainerOptions | None = None,
) -> FittedFineTuned:
    """Train a pre-trained face network on, with a new classifier.

    The engine is torch, whatever the extractor's, in float32 but for mixed precision. All that is drawn by lot comes
    from the spec's seed through generators of this call's own: the same crops give the same bits on a CPU, on one
    thread, undisturbed or killed and gone on.

    Args:
        spec: what to train.
        extractor: the pre-trained network.
        parameters: its own, by name; they are not changed.
        train: at least two different labels. A class may be absent: it weighs 0.
        validation: chooses the epoch; with `selection="last_epoch"` it is optional and only measured.
        conduct: how; on the CPU without checkpoints if None.

    Raises:
        SpecError: crops are not what the network sees, validation frames are missing, the loss is no number, or
            checkpoints are of another training.
        AnnotationError: there is no crop, a label is outside the task's space, or all labels are the same.
        ArchitectureError: the parameters are those of another network.
        WeightsError: a checkpoint is damaged.
        DeviceMemoryError: the GPU cannot hold a batch.
    """
    labels = _labels(train, slice(None, None, spec.train_stride))
    check(spec.task, labels, "training")
    check_varied(spec.task, labels)
    if validation is not None:
        check(spec.task, _labels(validation, looked_at(validation, spec.validation_stride)), "validation")
    elif spec.selection != "last_epoch":
        raise SpecError(
            f"Head '{spec.name}' keeps the epoch of {spec.selection.replace('_', ' ')} on validation frames, and there "
            "are none. Give some, or choose the selection `last_epoch`."
        )
    from affstore.models.heads.finetuned.training import train_finetuned

    return train_finetuned(spec, Backbone(extractor, parameters), train, validation, conduct or TrainerOptions())


def predict_finetuned(
    head: FittedFineTuned, extractor: FaceExtractorSpec, crops: Iterable[NDArray[np.uint8]], device: str = "cpu"
) -> NDArray[np.float32]:
    """What a fine-tuned network says of crops, in float32; on a CPU a row depends on its crop alone.

    Args:
        head: trained.
        extractor: the network that it was trained from.
        crops: RGB `(n, size_px, size_px, 3)`, batch by batch, of any sizes; one batch at a time is in memory.
        device: `cpu`, `cuda` …

    Returns:
        `(rows, classes)`: logits, or probabilities that sum to 1, as the spec says.

    Raises:
        SpecError: the crops are not what the network sees.
        ArchitectureError: the parameters are not those of this network with the head's classifier.
    """
    from affstore.models.heads.finetuned.network import outputs_of

    scores = outputs_of(head, extractor, crops, device)
    if head.spec.gives == "logits" or not len(scores):
        return scores
    powers: NDArray[np.float32] = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.divide(powers, powers.sum(axis=1, keepdims=True), dtype=np.float32)


def looked_at(crops: LabelledCrops, stride: int) -> NDArray[np.int64]:
    """The rows of the frames that choose the epoch; see `FineTuneSpec.validation_stride`."""
    return np.flatnonzero((crops.frame + 1) % stride == stride - 1)


def _labels(crops: LabelledCrops, rows: slice | NDArray[np.int64]) -> Examples:
    """The labels that will be looked at, alone, for checks that every head shares."""
    y = crops.y[rows]
    return Examples(np.empty((len(y), 0), np.float32), y)
