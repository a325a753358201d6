"""The training loop of Keras' heads. Imports TensorFlow: import it inside functions only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.checkpoints import Progress, read_checkpoint, save_checkpoint
from affstore.models.heads.frame_dataset import FrameDataset, in_batches
from affstore.models.heads.mlp.keras_network import build, on_device, row_weights
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.shuffle_buffer import RowBatch, Shuffled
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.media.prefetch import prefetch
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import digest_arrays, key_of

_LOG = logging.getLogger(__name__)
_BATCHES_AHEAD = 16
"""As long as the network needs for these, the store may take for a block."""

Batch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]
Trained = tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]], int]


class MlpTraining:
    """One training: everything that changes while it goes on, and how. It lives on the device it was begun on."""

    def __init__(
        self, spec: MlpSpec, data: tuple[FrameDataset, FrameDataset | None], options: TrainerOptions, device: str
    ) -> None:
        self.spec, self.options = spec, options
        self.train, self.validation = data
        self.order = Shuffled(self.train, spec.batch, spec.shuffle_rows)
        self.weights = row_weights(spec, self.train.y)
        self.model = build(spec, self.train)
        self.progress = Progress()
        self.best: list[NDArray[np.float32]] = self.model.get_weights()
        self.key = self._key(device)

    def run(self) -> None:
        """Train from wherever a checkpoint says, to the end.

        Raises:
            SpecError: a loss or a feature is no number; or the checkpoint is of another training.
        """
        self._resume()
        while self.progress.epoch < self.spec.epochs:
            self._epoch()
            self._save()

    def _epoch(self) -> None:
        """Train for an epoch, add a point to the curve, and keep the parameters if it is the best."""
        spec, progress = self.spec, self.progress
        batches = self.order.epoch(spec.seed, progress.epoch)
        found = _pass(self.model, self.model.train_on_batch, _labelled(batches, self.train, self.weights))
        if self.validation is not None:
            rows = self.validation
            batches = in_batches(rows, range(len(rows.blocks)), spec.batch, "validation")
            measured = _pass(self.model, self.model.test_on_batch, _labelled(batches, rows))
            found |= {f"val_{name}": value for name, value in measured.items()}
        _check_finite(spec, progress.epoch, found)
        progress.curve.append(found)
        if progress.best < 0 or _better(spec, found, progress.curve[progress.best]):
            progress.best, self.best = progress.epoch, self.model.get_weights()
        progress.epoch += 1
        _LOG.info("Head '%s', epoch %d of %d: %s", spec.name, progress.epoch, spec.epochs, found)

    def _key(self, device: str) -> str:
        """What a checkpoint must agree with. Features are too large to be digested here: a folder is one training's."""
        labels = {
            f"{part}_{name}": array
            for part, rows in (("train", self.train), ("validation", self.validation))
            if rows is not None
            for name, array in (("value", rows.y), ("blocks", np.asarray(rows.blocks)))
        }
        recipe = {"spec": self.spec, "width": self.train.width, "device": device}
        return key_of(recipe | {"labels": digest_arrays(labels)})

    def _save(self) -> None:
        if self.options.checkpoints is None:
            return
        parts = {
            "network": self.model.get_weights(),
            "best": self.best,
            "optimiser": [variable.numpy() for variable in self.model.optimizer.variables],
        }
        arrays = {
            f"{part}.{i}": np.asarray(array) for part, weights in parts.items() for i, array in enumerate(weights)
        }
        save_checkpoint(self.options.checkpoints, self.key, arrays, self.progress)

    def _resume(self) -> None:
        """Take up what a checkpoint holds, if there is one."""
        checkpoint = read_checkpoint(self.options.checkpoints, self.key) if self.options.checkpoints else None
        if checkpoint is None:
            return
        arrays, self.progress = checkpoint
        self.model.set_weights([arrays[f"network.{i}"] for i in range(len(self.best))])
        self.best = [arrays[f"best.{i}"] for i in range(len(self.best))]
        for i, variable in enumerate(self.model.optimizer.variables):
            variable.assign(arrays[f"optimiser.{i}"])


def train_mlp(spec: MlpSpec, train: FrameDataset, validation: FrameDataset | None, options: TrainerOptions) -> Trained:
    """Train, and give the parameters of the selected epoch, the curve and that epoch's index."""
    with on_device(options.device) as device:
        training = MlpTraining(spec, (train, validation), options, device)
        training.run()
    progress, best = training.progress, training.best
    names = [f"dense_{i // 2}_{('kernel', 'bias')[i % 2]}" for i in range(len(best))]
    return dict(zip(names, best, strict=True)), progress.as_curve(), progress.best


def _labelled(
    batches: Iterable[RowBatch], rows: FrameDataset, weights: NDArray[np.float32] | None = None
) -> Iterator[Batch]:
    """Features with labels and weights; they are read while the network is busy with those before."""
    for x, numbers in prefetch(batches, _BATCHES_AHEAD):
        yield x, rows.y[numbers].astype(np.float32), None if weights is None else weights[numbers]


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
