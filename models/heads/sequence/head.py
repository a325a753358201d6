"""Heads on sequences as plain arrays: trained by torch, and applied to a video frame by frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.examples import Examples
from affstore.models.heads.frame_dataset import check_varied
from affstore.models.heads.sequence.dataset import Sequences, Streams, check_finite, check_widths
from affstore.models.heads.sequence.fitted import FittedSequence
from affstore.models.heads.sequence.labelled_videos import LabelledVideos
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.trainer_options import TrainerOptions as TrainerOptions
from affstore.store.contract.errors import SpecError


def fit_sequence(
    spec: SequenceSpec, train: Sequences, validation: Sequences | None = None, options: TrainerOptions | None = None
) -> FittedSequence:
    """Train a head on videos.

    Every random choice comes from the spec's seed, through generators of this call: the same videos give the same
    bits on a CPU, on one thread, undisturbed or killed and gone on.

    Args:
        spec: what to train.
        train: at least two different labels. A class, or one side of an action unit, may be absent: it weighs 0.
        validation: chooses the evaluation; with `selection="last_epoch"` it is optional and only measured.
        options: how; on the CPU without checkpoints if None.

    Raises:
        SpecError: shapes do not fit, a feature is not finite where it is present, validation videos are missing, or
            checkpoints are of another training.
        AnnotationError: no label is known, one is outside the task's space, or all are the same.
        WeightsError: a checkpoint is damaged.
    """
    videos = LabelledVideos.of(spec.task, train, "training")
    check_varied(spec.task, Examples(np.empty((len(videos.known_values), 0), np.float32), videos.known_values))
    held_out = None
    if validation is not None:
        held_out = LabelledVideos.of(spec.task, validation, "validation")
        check_widths("The validation set", tuple(validation.widths), tuple(train.widths))
    elif spec.selection != "last_epoch":
        raise SpecError(
            f"Head '{spec.name}' keeps the epoch of {spec.selection.replace('_', ' ')} on validation videos, and there "
            "are none. Give some, or choose the selection `last_epoch`."
        )
    from affstore.models.heads.sequence.training import train_sequence

    return train_sequence(spec, videos, held_out, options or TrainerOptions())


def predict_sequence(head: FittedSequence, streams: Streams, device: str = "cpu") -> NDArray[np.float32]:
    """The head's outputs for every frame of a video, in float32.

    The video is seen in the spec's windows, and overlaps are averaged once. On a CPU the result has the same bits
    whatever else is predicted.

    Args:
        head: trained.
        streams: of the whole video; also frames in which nothing is present are given outputs, from those around them.
        device: `cpu`, `cuda` …

    Returns:
        `(frames, outputs)` float32: probabilities that sum to 1 (classes), a probability each (units), or numbers
        within the range (intensities, values).

    Raises:
        SpecError: streams have other widths than it was trained on, or are not finite where present.
        ArchitectureError: the parameters are not those of the head's spec.
    """
    check_widths("The video", streams.widths, head.widths)
    check_finite("to predict", 0, streams)
    if not len(streams):
        return np.empty((0, head.spec.outputs), np.float32)
    from affstore.models.heads.sequence.windows import predict

    return predict(head.spec, head.parameters, streams, device)
