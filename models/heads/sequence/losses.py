"""What a head on sequences minimises, and what its scores say. Imports torch."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from affstore.models.heads.class_weights import class_weights, unit_weights
from affstore.models.heads.outputs import stretched
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.store.contract.labels import SpaceKind, task_space

_EPSILON = 1e-7
"""Keras'; for the spread of a batch without any, and for the logarithm of a probability that was rounded to 0."""


_ACTIVATIONS: dict[SpaceKind, Literal["softmax", "sigmoid", "tanh"]] = {
    SpaceKind.CLASSES: "softmax",
    SpaceKind.UNITS: "sigmoid",
    SpaceKind.INTENSITIES: "sigmoid",
    SpaceKind.VALUES: "tanh",
}


class Objective:
    """The task's loss of some frames whose labels are known; its mean over frames (and units) is minimised.

    Calling it takes scores `(frames, outputs)` before the activation and labels `(frames, columns)`, and gives one
    number. Classes: `−w_y · log p_y` (ABAW6 Eq. 1). Units: `−w_{k,y} · log p_{k,y}` (Eq. 2). Values: 1 − mean CCC of
    the frames. Intensities: the squared difference as a share of the range.
    """

    def __init__(self, spec: SequenceSpec, train: NDArray[Any], device: torch.device) -> None:
        """Take the weights from all known training labels `(frames, columns)`, each frame once."""
        self._spec, self._space = spec, task_space(spec.task)
        weights = _weights(spec, train)
        self._weights = torch.from_numpy(weights.astype(np.float32)).to(device)

    def __call__(self, scores: Tensor, truth: Tensor) -> Tensor:
        """The loss of these frames, of which there is one or more."""
        if self._space.kind is SpaceKind.CLASSES:
            classes = truth[:, 0].long()
            return (self._weights[classes] * functional.cross_entropy(scores, classes, reduction="none")).mean()
        if self._space.kind is SpaceKind.UNITS:
            weight = torch.where(truth > 0, self._weights[1], self._weights[0])
            return (weight * functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")).mean()
        return self._of_numbers(activated(self._spec, scores), truth)

    def of_outputs(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """The same of outputs after the activation, as they are when windows have been merged."""
        inside = outputs.double()
        if self._space.kind is SpaceKind.CLASSES:
            return self((inside + _EPSILON).log().float(), truth)
        if self._space.kind is SpaceKind.UNITS:
            return self(torch.logit(inside, _EPSILON).float(), truth)
        return self._of_numbers(inside, truth.double())

    def _of_numbers(self, outputs: Tensor, truth: Tensor) -> Tensor:
        if self._space.kind is SpaceKind.VALUES:
            return concordance_loss(outputs, truth)
        return (((outputs - truth) / self._space.high) ** 2).mean()


def activated(spec: SequenceSpec, scores: Tensor) -> Tensor:
    """Outputs: probabilities that sum to 1 (classes), one each (units), or numbers within the space's range."""
    activation = _ACTIVATIONS[task_space(spec.task).kind]
    values = scores.softmax(dim=1) if activation == "softmax" else getattr(scores, activation)()
    return stretched(values, spec.task, activation)


def concordance_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """`1 − mean CCC` over the columns of `(frames, columns)`; frames without any spread have CCC 0."""
    x, y = prediction - prediction.mean(dim=0), truth - truth.mean(dim=0)
    shift = prediction.mean(dim=0) - truth.mean(dim=0)
    spread = (x * x).mean(dim=0) + (y * y).mean(dim=0) + shift * shift
    return 1 - (2 * (x * y).mean(dim=0) / (spread + _EPSILON)).mean()


def _weights(spec: SequenceSpec, value: NDArray[Any]) -> NDArray[np.float64]:
    """`(classes,)`, or `(2, units)` for 0 and 1."""
    if spec.weighting == "inverse_frequency":
        return class_weights(np.bincount(value[:, 0].astype(np.int64), minlength=spec.outputs))
    if spec.weighting == "balanced":
        return unit_weights(value)
    return np.ones(spec.outputs if task_space(spec.task).kind is SpaceKind.CLASSES else (2, spec.outputs))
