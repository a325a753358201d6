"""Torch's side of heads on sequences: the training loop. Imports torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from affstore.models.engines.torch_network import device_of
from affstore.models.evaluation.metrics import accuracy, score
from affstore.models.evaluation.thresholds import decide
from affstore.models.heads.checkpoints import Progress, flatten, part_of, read_checkpoint, save_checkpoint
from affstore.models.heads.sequence.fitted import FittedSequence
from affstore.models.heads.sequence.labelled_videos import LabelledVideos
from affstore.models.heads.sequence.losses import Objective
from affstore.models.heads.sequence.moments import moments_of
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.sequence.tcn_transformer import build, initialise, load_arrays, to_arrays
from affstore.models.heads.sequence.windows import Batch, one_thread, outputs_of_known, stack
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.media.prefetch import prefetch
from affstore.store.contract.errors import AnnotationError, DeviceMemoryError, SpecError
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.labels import SpaceKind, task_space

_LOG = logging.getLogger(__name__)
_BATCHES_AHEAD = 2


class Training:
    """One training: everything that changes while it goes on, and how."""

    def __init__(
        self, spec: SequenceSpec, train: LabelledVideos, validation: LabelledVideos | None, options: TrainerOptions
    ) -> None:
        self.spec, self.train, self.validation, self.options = spec, train, validation, options
        self.device = device_of(options.device)
        self.windows = train.windows(spec.window)
        self.objective = Objective(spec, train.known_values, self.device)
        self.network = build(spec, train.source.widths)
        generator = torch.Generator().manual_seed(spec.seed)
        initialise(self.network, generator)
        self.network.to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(spec.seed + 1)
        self.network.draw_from(self.generator)
        self.optimiser = self._optimiser()
        self.progress = Progress()
        self.best = to_arrays(self.network)
        self.key = self._key()

    def run(self) -> None:
        """Train from wherever a checkpoint says, to the end.

        Raises:
            SpecError: a loss is no number; a feature is none; or the checkpoint is of another training.
            DeviceMemoryError: the GPU cannot hold a batch.
        """
        if not self._resume():
            self._standardise()
        try:
            while self.progress.epoch < self.spec.epochs:
                self._epoch()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"The GPU cannot hold a training step of head '{self.spec.name}' with {self.spec.batch} windows. "
                "Stop what else runs on it, or choose a smaller batch."
            ) from error

    def _epoch(self) -> None:
        """Go through the rest of an epoch, with its evaluations."""
        spec, progress = self.spec, self.progress
        order = np.random.default_rng([spec.seed, progress.epoch]).permutation(len(self.windows))
        batches = [order[i : i + spec.batch] for i in range(0, len(order), spec.batch)]
        ends = {len(batches) * (i + 1) // spec.evaluations for i in range(spec.evaluations)}
        for batch, truth, known in prefetch(self._read(batches[progress.step :]), _BATCHES_AHEAD):
            done = progress.epoch * len(batches) + progress.step
            for group in self.optimiser.param_groups:
                group["lr"] = spec.optimiser.rate(done, len(batches), spec.epochs)
            self._step(batch.to(self.device), truth.to(self.device), known.to(self.device))
            progress.step += 1
            if progress.step in ends:
                self._evaluate()
            if progress.step == len(batches):
                progress.epoch, progress.step = progress.epoch + 1, 0
            if not progress.step or (self.options.every_steps and not progress.step % self.options.every_steps):
                self._save()

    def _read(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Batch, torch.Tensor, torch.Tensor]]:
        """Batches with the labels of their real frames, one window after the other, and which of these are known."""
        length = self.spec.window.length
        for rows in batches:
            windows = [self.windows[row] for row in rows]
            truths = [self.train.truth(window, length) for window in windows]
            streams = self.train.read(windows, length)
            value = np.concatenate([value for value, _ in truths]).astype(np.float32)
            known = np.concatenate([known for _, known in truths])
            yield stack(streams, length, len(windows)), torch.from_numpy(value), torch.from_numpy(known)

    def _step(self, batch: Batch, truth: torch.Tensor, known: torch.Tensor) -> None:
        mixed = self.spec.mixed_precision and self.device.type == "cuda"
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            scores = self.network(batch.streams, batch.present, batch.real)
        loss = self.objective(scores[known], truth[known])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.spec.optimiser.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.spec.optimiser.clip_norm)
        self.optimiser.step()
        frames = int(known.sum())
        self.progress.loss += float(loss.detach()) * frames
        self.progress.frames += frames

    def _evaluate(self) -> None:
        """Add a point to the curve, and keep the parameters if it is the best."""
        progress = self.progress
        found = {"loss": progress.loss / progress.frames}
        progress.loss, progress.frames = 0.0, 0
        if self.validation is not None:
            found |= self._validate(self.validation)
        if not all(np.isfinite(value) for value in found.values()):
            raise SpecError(
                f"Training of head '{self.spec.name}' diverged in epoch {progress.epoch + 1} of {self.spec.epochs} at "
                f"learning rate {self.spec.optimiser.learning_rate:g}: found {found}. Lower the rate, or standardise."
            )
        progress.curve.append(found)
        if progress.best < 0 or _better(self.spec, found, progress.curve[progress.best]):
            progress.best, self.best = len(progress.curve) - 1, to_arrays(self.network)
        _LOG.info("Head '%s', epoch %d of %d: %s", self.spec.name, progress.epoch + 1, self.spec.epochs, found)

    def _validate(self, videos: LabelledVideos) -> dict[str, float]:
        outputs = outputs_of_known(self.network, videos, self.device)
        if not np.isfinite(outputs).all():
            return {"val_loss": np.nan}
        truth = videos.known_values
        loss = self.objective.of_outputs(
            torch.from_numpy(outputs).to(self.device), torch.from_numpy(truth.astype(np.float32)).to(self.device)
        )
        found = {"val_loss": float(loss)}
        space = task_space(self.spec.task)
        if space.kind is SpaceKind.CLASSES:
            found["val_accuracy"] = accuracy(decide(space, outputs), truth)
        if space.kind in (SpaceKind.CLASSES, SpaceKind.UNITS):
            found["val_f1"] = score(space, decide(space, outputs), truth).value
        return found

    def _standardise(self) -> None:
        """Read all training features once: for their moments, and to see that they are numbers."""
        streams = moments_of(self.train, self.spec.window.length)
        if not any(stream.count for stream in streams):
            raise AnnotationError(f"No training frame for head '{self.spec.name}' has any feature: nothing is present.")
        if self.spec.standardise:
            with torch.no_grad():
                for i, stream in enumerate(streams):
                    self.network.get_buffer(f"streams.{i}.mean").copy_(torch.from_numpy(stream.mean))
                    self.network.get_buffer(f"streams.{i}.deviation").copy_(torch.from_numpy(stream.deviation))

    def _optimiser(self) -> torch.optim.Optimizer:
        spec = self.spec.optimiser
        if spec.name == "adamw":
            return torch.optim.AdamW(self.network.parameters(), spec.learning_rate, weight_decay=spec.weight_decay)
        return torch.optim.Adam(self.network.parameters(), spec.learning_rate)

    def _key(self) -> str:
        """What a checkpoint must agree with. Features are too large to be digested here: a folder is one training's."""
        labels = {
            f"{part}_{i}_{name}": array
            for part, videos in (("train", self.train), ("validation", self.validation))
            for i, one in enumerate(videos.labels if videos else ())
            for name, array in (("value", one.value), ("known", one.known))
        }
        recipe = {"spec": self.spec, "widths": self.train.source.widths, "device": self.device.type}
        return key_of(recipe | {"labels": digest_arrays(labels)})

    def _save(self) -> None:
        if self.options.checkpoints is None:
            return
        state: dict[int, dict[str, torch.Tensor]] = self.optimiser.state_dict()["state"]
        moments = flatten({str(i): moments for i, moments in state.items()})
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "network": to_arrays(self.network),
            "best": self.best,
            "optimiser": {name: tensor.cpu().numpy() for name, tensor in moments.items()},
            "generator": {"state": self.generator.get_state().numpy()},
        }
        save_checkpoint(self.options.checkpoints, self.key, flatten(parts), self.progress)

    def _resume(self) -> bool:
        """Whether there was a checkpoint to go on from."""
        checkpoint = read_checkpoint(self.options.checkpoints, self.key) if self.options.checkpoints else None
        if checkpoint is None:
            return False
        arrays, self.progress = checkpoint
        load_arrays(self.network, part_of(arrays, "network"))
        self.best = part_of(arrays, "best")
        state = self.optimiser.state_dict()
        moments = {name: torch.from_numpy(array) for name, array in part_of(arrays, "optimiser").items()}
        state["state"] = {i: part_of(moments, str(i)) for i in state["param_groups"][0]["params"]}
        self.optimiser.load_state_dict(state)
        self.generator.set_state(torch.from_numpy(arrays["generator.state"]))
        return True


def train_sequence(
    spec: SequenceSpec, train: LabelledVideos, validation: LabelledVideos | None, options: TrainerOptions
) -> FittedSequence:
    """See `affstore.models.heads.sequence.head.fit_sequence`, which has checked everything but features."""
    with one_thread():
        training = Training(spec, train, validation, options)
        training.run()
    progress = training.progress
    best_epoch = progress.best * spec.epochs // len(progress.curve)
    return FittedSequence(spec, training.best, progress.as_curve(), progress.best, best_epoch)


def _better(spec: SequenceSpec, new: dict[str, float], best: dict[str, float]) -> bool:
    """Whether an evaluation replaces the best one so far; of equal ones the first stays."""
    if spec.selection in ("best_accuracy", "best_f1"):
        name = "val_f1" if spec.selection == "best_f1" else "val_accuracy"
        return new[name] > best[name]
    return spec.selection == "last_epoch" or new["val_loss"] < best["val_loss"]
