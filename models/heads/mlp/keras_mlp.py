"""The papers' heads: a small perceptron trained by Keras, and read back as plain arrays."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.frame_dataset import FrameDataset, check_rows, check_varied
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.outputs import stretched
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import ArchitectureError, SpecError
from affstore.store.contract.extras import require_extra

Parameters = dict[str, NDArray[np.float32]]

_ROWS = 8192
_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A trained head; holds nothing of Keras.

    Attributes:
        spec: what it was trained by.
        parameters: `dense_<i>_kernel` `(inputs, outputs)` and `dense_<i>_bias` `(outputs,)`, from input to output.
        curve: one value an epoch each: `loss`, `val_loss`, `accuracy`, `val_accuracy`; those that the task and the
            presence of validation frames allow. Losses are Keras': means over batches, training loss while it moves.
        best_epoch: 0-based, the epoch whose parameters these are.
    """

    spec: MlpSpec
    parameters: Parameters
    curve: dict[str, NDArray[np.float32]]
    best_epoch: int


def fit(
    spec: MlpSpec, train: FrameDataset, validation: FrameDataset | None = None, options: TrainerOptions | None = None
) -> FittedHead:
    """Train a head.

    Features are read piece by piece, ahead of the network; `spec.shuffle_rows` of them are in memory. Initial kernels
    and the order of frames come from the spec's seed through generators of this call's own, so no global seed is
    touched, and threads do not disturb each other: the same rows in the same blocks give the same bits on a CPU,
    undisturbed or killed and gone on.

    Args:
        spec: what to train.
        train: at least two different labels. A class, or one side of an action unit, may be absent: it weighs 0.
        validation: chooses the epoch; with `selection="last_epoch"` it is optional and only measured.
        options: how; on the CPU without checkpoints if None.

    Raises:
        SpecError: shapes do not fit, a feature is not finite, validation frames are missing, or a checkpoint is of
            another training.
        AnnotationError: there is no example, a label is outside the task's space, or all labels are the same.
        WeightsError: a checkpoint is damaged.
    """
    check_rows(spec.task, train, "training")
    check_varied(spec.task, train)
    if validation is not None:
        check_rows(spec.task, validation, "validation")
        if validation.width != train.width:
            raise SpecError(
                f"Training and validation features must be of one width; found {train.width} and {validation.width}."
            )
    elif spec.selection != "last_epoch":
        raise SpecError(
            f"Head '{spec.name}' keeps the epoch of {spec.selection.replace('_', ' ')} on validation frames, and there "
            "are none. Give some, or choose the selection `last_epoch`."
        )
    require_extra("heads", f"Training head '{spec.name}'")
    # Read by TensorFlow when it is imported: its other kernels would sum in another order.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with _hushed():
        from affstore.models.heads.mlp.training import train_mlp

    parameters, curve, best_epoch = train_mlp(spec, train, validation, options or TrainerOptions())
    return FittedHead(spec, parameters, curve, best_epoch)


def predict(head: FittedHead, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The head's outputs for each row, without TensorFlow.

    Args:
        head: trained.
        x: `(rows, width)`.

    Returns:
        `(rows, outputs)` float32: probabilities that sum to 1 (classes), a probability each (units), or numbers
        within the range (intensities, values).

    Raises:
        SpecError: the width is not the one it was trained on.
        ArchitectureError: the parameters are not those of the head's spec.
    """
    layers = _layers(head)
    if x.ndim != 2 or x.shape[1] != len(layers[0][0]):
        raise SpecError(f"Head '{head.spec.name}' takes features (rows, {len(layers[0][0])}); found {x.shape}.")
    blocks = [_outputs(head, layers, x[begin : begin + _ROWS]) for begin in range(0, len(x), _ROWS)]
    return np.concatenate(blocks) if blocks else np.empty((0, head.spec.outputs), np.float32)


def _outputs(
    head: FittedHead, layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    # In float64, so that the order in which a BLAS sums, which its threads decide, is lost in rounding to float32.
    values = x.astype(np.float64)
    for kernel, bias in layers[:-1]:
        values = np.maximum(values @ kernel + bias, 0)
    kernel, bias = layers[-1]
    activated = _activate(values @ kernel + bias, head.spec.activation)
    return stretched(activated, head.spec.task, head.spec.activation).astype(np.float32)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what TensorFlow's libraries print on import, before any log level is read, off a person's screen."""
    with _IMPORTING:
        if "tensorflow" in sys.modules:
            yield
            return
        with _to_nowhere():
            yield


@contextmanager
def _to_nowhere() -> Iterator[None]:
    screen = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _layers(head: FittedHead) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Kernel and bias of each layer, checked against the spec."""
    spec, parameters = head.spec, head.parameters
    widths = [spec.hidden, spec.outputs] if spec.hidden else [spec.outputs]
    names = {f"dense_{i}_{part}" for i in range(len(widths)) for part in ("kernel", "bias")}
    if set(parameters) != names or any(
        parameters[f"dense_{i}_kernel"].shape[-1] != width for i, width in enumerate(widths)
    ):
        shapes = {name: array.shape for name, array in sorted(parameters.items())}
        raise ArchitectureError(f"Head '{spec.name}' has layers of {widths} units; found parameters {shapes}.")
    return [(parameters[f"dense_{i}_kernel"], parameters[f"dense_{i}_bias"]) for i in range(len(widths))]


def _activate(values: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    if activation == "tanh":
        return np.tanh(values)
    if activation == "sigmoid":
        return np.exp(-np.logaddexp(0, -values))  # does not overflow
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
