"""A perceptron of Keras': its layers, losses and optimiser. Imports TensorFlow: import it inside functions only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.before_tensorflow import import_triton
from affstore.models.heads.class_weights import class_weights, unit_weights
from affstore.models.heads.frame_dataset import FrameDataset
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.outputs import stretch_of
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import task_space

import_triton()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

_LOG = logging.getLogger(__name__)
_THREADS = 1
"""TensorFlow splits sums by its number of threads; on one, a head has the same bits on any number of cores."""
_EPSILON = 1e-7


@contextmanager
def on_device(name: str) -> Iterator[str]:
    """TensorFlow on a device: the GPU that is named, if there is one that it can use, and the CPU else.

    Args:
        name: `cpu`, `cuda`, `cuda:0` …

    Returns:
        `cpu` or `cuda`: what it runs on.
    """
    if keras.backend.backend() != "tensorflow":
        raise SpecError(f"Heads need Keras on TensorFlow; found '{keras.backend.backend()}'. Unset KERAS_BACKEND.")
    kind, place = _place(name)
    _limit_threads()
    with tf.device(place), _no_tracing_advice():
        yield kind


def kind_of_device(name: str) -> str:
    """`cpu` or `cuda`: what `on_device` runs on where `name` is asked for."""
    return _place(name)[0]


def _place(name: str) -> tuple[str, str]:
    """The kind of a device and what TensorFlow calls it."""
    kind, _, index = name.partition(":")
    gpus = tf.config.list_physical_devices("GPU") if kind == "cuda" else []
    number = int(index or 0)
    if number < len(gpus):
        _share_memory(gpus)
        return kind, f"/GPU:{number}"
    if kind == "cuda":
        _LOG.info("TensorFlow has no GPU %d here, so this head is trained on the CPU.", number)
    return "cpu", "/CPU:0"


def _share_memory(gpus: list[Any]) -> None:
    """Have TensorFlow take GPU memory as it needs it; it takes that only before its first use of a GPU."""
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        _LOG.info("TensorFlow has the GPU's memory already.")


def _limit_threads() -> None:
    """Give TensorFlow one thread; it takes that only before its first operation in the process."""
    if tf.config.threading.get_intra_op_parallelism_threads() == _THREADS:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(_THREADS)
    except RuntimeError:
        _LOG.warning(
            "TensorFlow was already running on more threads than one: this head is the same at every fit in this "
            "process, but its last bits may differ from those of another. Train heads before other TensorFlow work."
        )


@contextmanager
def _no_tracing_advice() -> Iterator[None]:
    """Keep back the advice to trace less often: every head is a new network, and traced once for each batch size."""

    def other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    tf.get_logger().addFilter(other)
    try:
        yield
    finally:
        tf.get_logger().removeFilter(other)


def build(spec: MlpSpec, train: FrameDataset) -> Any:
    """The network with its initial parameters and its optimiser, ready to fit."""
    hidden = [spec.hidden] if spec.hidden else []
    widths = [train.width, *hidden, spec.outputs]
    activations = ["relu"] * (len(widths) - 2) + [spec.activation]
    decay = keras.regularizers.L2(spec.l2) if spec.l2 else None
    layers = [
        keras.layers.Dense(width, activation, kernel_initializer="zeros", kernel_regularizer=decay, dtype="float32")
        for width, activation in zip(widths[1:], activations, strict=True)
    ]
    stretch = stretch_of(spec.task, spec.activation)
    layers += [keras.layers.Rescaling(*stretch, dtype="float32")] if stretch else []
    model = keras.Sequential([keras.Input((widths[0],)), *layers])
    model.set_weights(initial_parameters(widths, np.random.default_rng(spec.seed)))
    model.compile(
        keras.optimizers.Adam(spec.learning_rate, epsilon=_EPSILON),
        _loss(spec, train.y),
        metrics=["accuracy"] if spec.loss == "sparse_crossentropy" else None,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def initial_parameters(widths: list[int], generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Glorot-uniform kernels and zero biases, Keras' own rule, from our generator."""
    parameters: list[NDArray[np.float32]] = []
    for inputs, outputs in pairwise(widths):
        limit = np.sqrt(6 / (inputs + outputs))
        parameters.append(generator.uniform(-limit, limit, (inputs, outputs)).astype(np.float32))
        parameters.append(np.zeros(outputs, np.float32))
    return parameters


def row_weights(spec: MlpSpec, y: NDArray[Any]) -> NDArray[np.float32] | None:
    """`(rows,)`: what Keras' `class_weight` gives each frame; Keras averages over the batch, not over the weights."""
    if spec.weighting != "inverse_frequency":
        return None
    classes = y[:, 0].astype(np.int64)
    return class_weights(np.bincount(classes, minlength=spec.outputs))[classes].astype(np.float32)


def _loss(spec: MlpSpec, y: NDArray[Any]) -> str | Callable[[Any, Any], Any]:
    if spec.loss == "sparse_crossentropy":
        return "sparse_categorical_crossentropy"
    if spec.loss == "ccc":
        return concordance_loss
    if spec.loss == "squared_error":
        return _squared_error(task_space(spec.task).high)
    weights = unit_weights(y) if spec.weighting == "balanced" else np.ones((2, spec.outputs))
    return _weighted_crossentropy(weights.astype(np.float32))


def _weighted_crossentropy(weights: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Mean over action units of `w_{k,y} · BCE`, by frame."""

    def loss(truth: Any, probability: Any) -> Any:
        weight = tf.where(truth > 0, weights[1], weights[0])
        return tf.reduce_mean(weight * keras.ops.binary_crossentropy(truth, probability), axis=-1)

    return loss


def _squared_error(high: float) -> Callable[[Any, Any], Any]:
    """Mean over units of the squared difference as a share of the range, by frame."""

    def loss(truth: Any, prediction: Any) -> Any:
        return tf.reduce_mean(((prediction - truth) / high) ** 2, axis=-1)

    return loss


def concordance_loss(truth: Any, prediction: Any) -> Any:
    """`1 − mean CCC` within the batch; a batch without any spread, as one of a single frame, has CCC 0."""
    x, y = prediction - tf.reduce_mean(prediction, axis=0), truth - tf.reduce_mean(truth, axis=0)
    shift = tf.reduce_mean(prediction - truth, axis=0)
    spread = tf.reduce_mean(x * x + y * y, axis=0) + shift * shift
    return 1 - tf.reduce_mean(2 * tf.reduce_mean(x * y, axis=0) / (spread + _EPSILON))
