"""Keras' side of the heads. Imports TensorFlow: import it inside functions only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.heads.examples import Examples
from models.heads.specs import MlpSpec
from models.heads.weights import class_weights, unit_weights
from store.contract.errors import SpecError

_LOG = logging.getLogger(__name__)
_THREADS = 1
"""TensorFlow splits sums by its number of threads; on one, a head has the same bits on any number of cores."""
_EPSILON = 1e-7

Batch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]
Trained = tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]], int]


def train_mlp(spec: MlpSpec, train: Examples, validation: Examples | None) -> Trained:
    """Train, and give the parameters of the selected epoch, the curve and that epoch's index."""
    if keras.backend.backend() != "tensorflow":
        raise SpecError(f"Heads need Keras on TensorFlow; found '{keras.backend.backend()}'. Unset KERAS_BACKEND.")
    _limit_threads()
    generator = np.random.default_rng(spec.seed)
    with tf.device("/CPU:0"), _no_tracing_advice():
        model = _model(spec, train, generator)
        weights = _frame_weights(spec, train)
        epochs: list[dict[str, float]] = []
        best, best_epoch = model.get_weights(), -1
        for epoch in range(spec.epochs):
            order = generator.permutation(len(train))
            epochs.append(_pass(model, model.train_on_batch, _batches(train, order, spec.batch, weights)))
            if validation is not None:
                seen = _pass(model, model.test_on_batch, _batches(validation, np.arange(len(validation)), spec.batch))
                epochs[epoch] |= {f"val_{name}": value for name, value in seen.items()}
            _check_finite(spec, epoch, epochs[epoch])
            if best_epoch < 0 or _better(spec, epochs[epoch], epochs[best_epoch]):
                best, best_epoch = model.get_weights(), epoch
    names = [f"dense_{i // 2}_{('kernel', 'bias')[i % 2]}" for i in range(len(best))]
    curve = {name: np.array([one[name] for one in epochs], np.float32) for name in epochs[0]}
    return dict(zip(names, best, strict=True)), curve, best_epoch


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


def _batches(
    examples: Examples, order: NDArray[np.int64], batch: int, weights: NDArray[np.float32] | None = None
) -> Iterator[Batch]:
    """Features, labels and weights of the frames in that order, batch by batch; the last one may be smaller."""
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        yield examples.x[rows], examples.y[rows].astype(np.float32), None if weights is None else weights[rows]


def _pass(model: Any, step: Callable[..., dict[str, Any]], batches: Iterable[Batch]) -> dict[str, float]:
    """Run every batch through Keras' `step`; the means over frames of what it reports, as Keras' `fit` has them."""
    frames, totals = 0, dict[str, float]()
    for x, y, weights in batches:
        model.reset_metrics()
        for name, mean in step(x, y, sample_weight=weights, return_dict=True).items():
            totals[name] = totals.get(name, 0.0) + float(mean) * len(x)
        frames += len(x)
    return {name: total / frames for name, total in totals.items()}


def _check_finite(spec: MlpSpec, epoch: int, means: dict[str, float]) -> None:
    if not all(np.isfinite(mean) for mean in means.values()):
        raise SpecError(
            f"Training of head '{spec.name}' diverged in epoch {epoch + 1} of {spec.epochs} at learning rate "
            f"{spec.learning_rate:g}: found {means}. Lower the rate, or scale the features."
        )


def _better(spec: MlpSpec, new: dict[str, float], best: dict[str, float]) -> bool:
    """Whether an epoch replaces the best one so far; of equal ones the first stays."""
    if spec.selection == "best_accuracy":
        return new["val_accuracy"] > best["val_accuracy"]
    return spec.selection == "last_epoch" or new["val_loss"] < best["val_loss"]


def _model(spec: MlpSpec, train: Examples, generator: np.random.Generator) -> Any:
    """The network with its initial parameters, ready to fit."""
    widths = [train.x.shape[1], *([spec.hidden] if spec.hidden else []), spec.outputs]
    activations = ["relu"] * (len(widths) - 2) + [spec.activation]
    decay = keras.regularizers.L2(spec.l2) if spec.l2 else None
    layers = [
        keras.layers.Dense(width, activation, kernel_initializer="zeros", kernel_regularizer=decay, dtype="float32")
        for width, activation in zip(widths[1:], activations, strict=True)
    ]
    model = keras.Sequential([keras.Input((widths[0],)), *layers])
    model.set_weights(initial_parameters(widths, generator))
    model.compile(
        keras.optimizers.Adam(spec.learning_rate, epsilon=_EPSILON),
        _loss(spec, train),
        metrics=["accuracy"] if spec.loss == "sparse_crossentropy" else None,
        jit_compile=False,
    )
    return model


def initial_parameters(widths: list[int], generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Glorot-uniform kernels and zero biases, Keras' own rule, from our generator."""
    parameters: list[NDArray[np.float32]] = []
    for inputs, outputs in pairwise(widths):
        limit = np.sqrt(6 / (inputs + outputs))
        parameters.append(generator.uniform(-limit, limit, (inputs, outputs)).astype(np.float32))
        parameters.append(np.zeros(outputs, np.float32))
    return parameters


def _frame_weights(spec: MlpSpec, train: Examples) -> NDArray[np.float32] | None:
    """`(rows,)`: what Keras' `class_weight` gives each frame; Keras averages over the batch, not over the weights."""
    if spec.weighting != "inverse_frequency":
        return None
    classes = train.y[:, 0].astype(np.int64)
    return class_weights(np.bincount(classes, minlength=spec.outputs))[classes].astype(np.float32)


def _loss(spec: MlpSpec, train: Examples) -> str | Callable[[Any, Any], Any]:
    if spec.loss == "sparse_crossentropy":
        return "sparse_categorical_crossentropy"
    if spec.loss == "ccc":
        return concordance_loss
    weights = unit_weights(train.y) if spec.weighting == "balanced" else np.ones((2, spec.outputs))
    return _weighted_crossentropy(weights.astype(np.float32))


def _weighted_crossentropy(weights: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Mean over action units of `w_{k,y} · BCE`, by frame."""

    def loss(truth: Any, probability: Any) -> Any:
        weight = tf.where(truth > 0, weights[1], weights[0])
        return tf.reduce_mean(weight * keras.ops.binary_crossentropy(truth, probability), axis=-1)

    return loss


def concordance_loss(truth: Any, prediction: Any) -> Any:
    """`1 − mean CCC` within the batch; a batch without any spread, as one of a single frame, has CCC 0."""
    x, y = prediction - tf.reduce_mean(prediction, axis=0), truth - tf.reduce_mean(truth, axis=0)
    shift = tf.reduce_mean(prediction - truth, axis=0)
    spread = tf.reduce_mean(x * x + y * y, axis=0) + shift * shift
    return 1 - tf.reduce_mean(2 * tf.reduce_mean(x * y, axis=0) / (spread + _EPSILON))
