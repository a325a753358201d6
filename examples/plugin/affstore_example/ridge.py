"""A head: ridge regression on single frames, in closed form; classes as one-hot columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.contract import Fitted, FrameFeatures, HeadKind
from affstore.models.heads.frame_dataset import FrameDataset
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SpaceKind, Task, task_space


@dataclass(frozen=True, slots=True)
class RidgeSpec:
    """What is fitted.

    Attributes:
        name: the head's name; no number depends on it.
        task: whose classes it predicts.
        alpha: the penalty on squared weights.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "ridge"

    name: str
    task: Task
    alpha: float = 1.0
    version: int = 1

    @property
    def outputs(self) -> int:
        """A score for each class."""
        return len(task_space(self.task))


class RidgeKind(HeadKind[RidgeSpec, FrameDataset, FrameFeatures]):
    """A least-squares classifier."""

    contract = 1
    name = "ridge"
    description = "ridge regression on single frames, in closed form"
    spec_type = RidgeSpec

    def default(self, task: Task) -> RidgeSpec:
        """A penalty of 1.

        Raises:
            SpecError: the task is not to tell classes apart.
        """
        if task_space(task).kind is not SpaceKind.CLASSES:
            raise SpecError(f"A ridge head tells classes apart, and '{task}' has none. Use the head 'mlp'.")
        return RidgeSpec("", task)

    def fit(
        self, spec: RidgeSpec, train: FrameDataset, validation: FrameDataset | None, options: TrainerOptions
    ) -> Fitted:
        """Solve the normal equations; nothing is chosen on validation data."""
        x = np.concatenate([train.read(block) for block in range(len(train.blocks))]).astype(np.float64)
        mean = x.mean(axis=0)
        targets = np.eye(spec.outputs)[train.y[:, 0]]
        inverse = (x - mean).T @ (x - mean) + spec.alpha * np.eye(train.width)
        weights = np.linalg.solve(inverse, (x - mean).T @ targets)
        parameters = {"weights": weights, "bias": targets.mean(axis=0) - mean @ weights}
        return Fitted({name: value.astype(np.float32) for name, value in parameters.items()}, precision="float64")

    def predict(self, spec: RidgeSpec, fitted: Fitted, features: FrameFeatures, device: str) -> NDArray[np.float32]:
        """A score for each class."""
        return features.x @ fitted.parameters["weights"] + fitted.parameters["bias"]


HEAD = RidgeKind()
