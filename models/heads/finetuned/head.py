"""Fine-tuning of whole face networks as plain arrays: trained by torch on crops, and applied to crops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.heads.examples import Examples, check
from affstore.models.heads.finetuned.crops import LabelledCrops, looked_at
from affstore.models.heads.finetuned.fitted import Backbone, FittedFineTuned
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.frame_dataset import check_varied
from affstore.models.heads.pretrained import softmax
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import SpecError


def fit_finetuned(
    spec: FineTuneSpec,
    backbone: Backbone,
    train: LabelledCrops,
    validation: LabelledCrops | None = None,
    options: TrainerOptions | None = None,
) -> FittedFineTuned:
    """Train a pre-trained face network on, with a new classifier.

    The engine is torch, whatever the extractor's, in float32 but for mixed precision. Every random choice comes
    from the spec's seed through generators of this call's own: the same crops give the same bits on a CPU, on one
    thread, undisturbed or killed and gone on.

    Args:
        spec: what to train.
        backbone: the pre-trained network; its parameters are not changed.
        train: at least two different labels. A class may be absent: it weighs 0.
        validation: chooses the epoch; with `selection="last_epoch"` it is optional and only measured.
        options: how; on the CPU without checkpoints if None.

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

    return train_finetuned(spec, backbone, train, validation, options or TrainerOptions())


def predict_finetuned(
    head: FittedFineTuned, extractor: FaceExtractorSpec, crops: Iterable[NDArray[np.uint8]], device: str = "cpu"
) -> NDArray[np.float32]:
    """A fine-tuned network's outputs for crops, in float32; on a CPU a row depends on its crop alone.

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
    return softmax(scores)


def _labels(crops: LabelledCrops, rows: slice | NDArray[np.int64]) -> Examples:
    """The labels that will be looked at, alone, for checks that every head shares."""
    y = crops.y[rows]
    return Examples(np.empty((len(y), 0), np.float32), y)
