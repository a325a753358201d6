"""Torch's side of fine-tuning: the training loop. Imports torch."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affstore.models.engines.torch_network import normalised
from affstore.models.evaluation.metrics import accuracy, score
from affstore.models.evaluation.thresholds import decide
from affstore.models.heads.checkpoints import Progress, flatten, part_of, read_checkpoint, save_checkpoint
from affstore.models.heads.class_weights import class_weights
from affstore.models.heads.finetuned.crops import LabelledCrops, looked_at
from affstore.models.heads.finetuned.fitted import Backbone, FittedFineTuned
from affstore.models.heads.finetuned.network import Network, checked, smoothed_crossentropy, start_of, to_arrays
from affstore.models.heads.finetuned.sam import SharpnessAware
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.heads.sequence.windows import one_thread
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.media.prefetch import prefetch
from affstore.models.weights.parameters import digest_parameters
from affstore.store.contract.errors import DeviceMemoryError, SpecError
from affstore.store.contract.keys import digest_arrays, key_of

_LOG = logging.getLogger(__name__)
_BATCHES_AHEAD = 2


class Training:
    """One training: everything that changes while it goes on, and how."""

    def __init__(
        self,
        spec: FineTuneSpec,
        backbone: Backbone,
        crops: tuple[LabelledCrops, LabelledCrops | None],
        options: TrainerOptions,
    ) -> None:
        self.spec, self.options = spec, options
        self.train, self.validation = crops
        self.network = Network(spec, backbone.extractor, start_of(spec, backbone), options.device)
        self.rows = np.arange(0, len(self.train), spec.train_stride)
        self.classes = self.train.y[:, 0].astype(np.int64)
        weights = class_weights(np.bincount(self.classes[self.rows], minlength=spec.outputs))
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(self.network.device)
        adam = torch.optim.Adam(self.network.module.parameters(), spec.learning_rate)
        self.optimiser = SharpnessAware(adam, spec.rho)
        self.progress = Progress()
        self.best = to_arrays(self.network.module)
        self.key = self._key(backbone)

    def run(self) -> None:
        """Train from wherever a checkpoint says, to the end.

        Raises:
            SpecError: a loss is no number, crops are not what the network sees, or the checkpoint is of another
                training.
            DeviceMemoryError: the GPU cannot hold a batch.
        """
        resumed = self._resume()
        try:
            if not resumed and self.spec.start == "linear":
                self._fit_classifier()
            while self.progress.epoch < self.spec.epochs:
                self._epoch()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"The GPU cannot hold a training step of head '{self.spec.name}' with {self.spec.batch} crops. "
                "Stop what else runs on it, or choose a smaller batch."
            ) from error

    def _epoch(self) -> None:
        """Go through the rest of an epoch, and evaluate at its end."""
        progress, every = self.progress, self.options.every_steps
        steps = self._steps(progress.epoch)
        for crops, classes in prefetch(self._read(steps[progress.step :]), _BATCHES_AHEAD):
            self._step(crops, classes)
            progress.step += 1
            if every and not progress.step % every and progress.step < len(steps):
                self._save()
        self._evaluate()
        progress.epoch, progress.step = progress.epoch + 1, 0
        self._save()

    def _steps(self, epoch: int) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        """The rows of each step of an epoch, and which of them are mirrored."""
        generator = np.random.default_rng([self.spec.seed, epoch])
        order = generator.permutation(self.rows)
        mirrored = (generator.random(len(order)) < 0.5) & self.spec.flip
        ends = [*range(self.spec.batch, len(order) - 1, self.spec.batch)]
        return list(zip(np.split(order, ends), np.split(mirrored, ends), strict=True))

    def _read(
        self, steps: Iterable[tuple[NDArray[np.int64], NDArray[np.bool_]]]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Crops and classes of each step."""
        for rows, mirrored in steps:
            crops = np.array(checked(self.train.read(rows), self.network.extractor))
            crops[mirrored] = crops[mirrored, :, ::-1]
            yield crops, self.classes[rows]

    def _step(self, crops: NDArray[np.uint8], classes: NDArray[np.int64]) -> None:
        network, spec = self.network, self.spec
        mixed = spec.mixed_precision and network.device.type == "cuda"
        pictures = normalised(crops, network.extractor, network.device)
        truth = torch.from_numpy(classes).to(network.device)
        network.module.train()
        loss = self.optimiser.step(
            lambda: smoothed_crossentropy(network.scores(pictures, mixed), truth, self.weights, spec.label_smoothing)
        )
        self._check_finite({"loss": loss})
        self.progress.loss += loss * len(crops)
        self.progress.frames += len(crops)

    def _evaluate(self) -> None:
        """Add a point to the curve, and keep the parameters if it is the best."""
        progress = self.progress
        found = {"loss": progress.loss / progress.frames}
        progress.loss, progress.frames = 0.0, 0
        if self.validation is not None:
            found |= self._validate(self.validation)
        self._check_finite(found)
        progress.curve.append(found)
        last = self.spec.selection == "last_epoch"
        if progress.best < 0 or last or found["val_f1"] > progress.curve[progress.best]["val_f1"]:
            progress.best, self.best = len(progress.curve) - 1, to_arrays(self.network.module)
        _LOG.info("Head '%s', epoch %d of %d: %s", self.spec.name, progress.epoch + 1, self.spec.epochs, found)

    def _validate(self, crops: LabelledCrops) -> dict[str, float]:
        rows = looked_at(crops, self.spec.validation_stride)
        scores = np.concatenate([logits for _, logits in self.network.evaluate(self._ahead(crops, rows))])
        if not np.isfinite(scores).all():
            return {"val_loss": np.nan}
        truth, decision = crops.y[rows].astype(np.int64), decide(self.spec.task, scores)
        loss = smoothed_crossentropy(
            torch.from_numpy(scores), torch.from_numpy(truth[:, 0]), self.weights.cpu(), self.spec.label_smoothing
        )
        return {
            "val_loss": float(loss),
            "val_accuracy": accuracy(decision, truth),
            "val_f1": score(self.spec.task, decision, truth).value,
        }

    def _check_finite(self, found: Mapping[str, float]) -> None:
        if not all(math.isfinite(value) for value in found.values()):
            raise SpecError(
                f"Training of head '{self.spec.name}' diverged in epoch {self.progress.epoch + 1} of "
                f"{self.spec.epochs} at learning rate {self.spec.learning_rate:g}: found {dict(found)}. Lower the "
                "rate or rho, and check that the pre-trained parameters are those of this network."
            )

    def _fit_classifier(self) -> None:
        """Fit the new classifier on what the pre-trained network sees, as the papers fit heads on embeddings."""
        count = min(self.spec.start_frames, len(self.rows))
        rows = self.rows[np.linspace(0, len(self.rows) - 1, count).astype(np.int64)]
        batches = [embedding for embedding, _ in self.network.evaluate(self._ahead(self.train, rows))]
        embeddings, truth = torch.from_numpy(np.concatenate(batches)), torch.from_numpy(self.classes[rows])
        target = self.network.staged.trainable_classifier()
        classifier = copy.deepcopy(target).cpu()
        optimiser = torch.optim.Adam(classifier.parameters(), EXPR_MLP.learning_rate)
        generator = torch.Generator().manual_seed(self.spec.seed)
        for _ in range(self.spec.start_epochs):
            order = torch.randperm(count, generator=generator)
            for start in range(0, count, EXPR_MLP.batch):
                step = order[start : start + EXPR_MLP.batch]
                optimiser.zero_grad()
                loss = smoothed_crossentropy(classifier(embeddings[step]), truth[step], self.weights.cpu(), 0.0)
                loss = loss + self.spec.start_l2 * classifier.weight.square().sum()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        self._check_finite({"loss of the classifier alone": float(loss.detach())})
        target.load_state_dict(classifier.state_dict())

    def _ahead(self, crops: LabelledCrops, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """The crops of some rows, as many at once as the network evaluates, read before they are asked for."""
        size = self.network.batch
        parts = (rows[start : start + size] for start in range(0, len(rows), size))
        return prefetch((crops.read(part) for part in parts), _BATCHES_AHEAD)

    def _key(self, backbone: Backbone) -> str:
        """What a checkpoint must agree with. Crops are too many to be digested here: a folder is one training's."""
        labels = {"train": self.train.y} | ({"validation": self.validation.y} if self.validation is not None else {})
        recipe = {"spec": self.spec, "extractor": self.network.extractor, "device": self.network.device.type}
        parameters = digest_parameters({name: tensor.cpu() for name, tensor in backbone.parameters.items()})
        return key_of(recipe | {"parameters": parameters, "labels": digest_arrays(labels)})

    def _save(self) -> None:
        if self.options.checkpoints is None:
            return
        state: dict[int, dict[str, Tensor]] = self.optimiser.optimiser.state_dict()["state"]
        parts = {
            "network": self.network.module.state_dict(),
            "optimiser": flatten({str(i): moments for i, moments in state.items()}),
        }
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in flatten(parts).items()}
        save_checkpoint(self.options.checkpoints, self.key, arrays | flatten({"best": self.best}), self.progress)

    def _resume(self) -> bool:
        """Whether there was a checkpoint to go on from."""
        checkpoint = read_checkpoint(self.options.checkpoints, self.key) if self.options.checkpoints else None
        if checkpoint is None:
            return False
        arrays, self.progress = checkpoint
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.network.module.load_state_dict(part_of(tensors, "network"))
        self.best = part_of(arrays, "best")
        adam, moments = self.optimiser.optimiser, part_of(tensors, "optimiser")
        state = adam.state_dict()
        state["state"] = {
            i: {name: _laid_out_as(parameter, tensor) for name, tensor in part_of(moments, str(i)).items()}
            for i, parameter in enumerate(self.network.module.parameters())
        }
        adam.load_state_dict(state)
        return True


def train_finetuned(
    spec: FineTuneSpec,
    backbone: Backbone,
    train: LabelledCrops,
    validation: LabelledCrops | None,
    options: TrainerOptions,
) -> FittedFineTuned:
    """See `affstore.models.heads.finetuned.head.fit_finetuned`, which has checked labels."""
    with one_thread():
        training = Training(spec, backbone, (train, validation), options)
        training.run()
    return FittedFineTuned(spec, training.best, training.progress.as_curve(), training.progress.best)


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """An optimiser's moment in the memory order of its parameter; other orders may round differently."""
    if moment.shape != parameter.shape:
        return moment
    return torch.empty_like(parameter, requires_grad=False).copy_(moment)
