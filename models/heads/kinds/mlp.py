"""The papers' perceptron on single frames, trained by Keras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.contract import Fitted, FrameFeatures, HeadKind, last_epoch
from affstore.models.heads.frame_dataset import FrameDataset
from affstore.models.heads.kinds import HEADS
from affstore.models.heads.mlp.spec import MlpSpec, default_mlp
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.labels import Task


class MlpKind(HeadKind[MlpSpec, FrameDataset, FrameFeatures]):
    """See `affstore.models.heads.mlp.keras_mlp`."""

    name = "mlp"
    description = "the papers' perceptron on single frames, trained by Keras"
    spec_type = MlpSpec
    extra = "heads"

    def default(self, task: Task) -> MlpSpec:
        """The papers' head of the task, or of that kind of label space."""
        return replace(default_mlp(task), name="")

    def fit(
        self, spec: MlpSpec, train: FrameDataset, validation: FrameDataset | None, options: TrainerOptions
    ) -> Fitted:
        """See `HeadKind.fit`."""
        from affstore.models.heads.mlp.keras_mlp import fit

        head = fit(spec, train, validation, options)
        from affstore.models.heads.mlp.keras_network import kind_of_device  # `fit` has imported TensorFlow by now

        device = kind_of_device(options.device)
        return Fitted(head.parameters, head.curve, head.best_epoch, engine="keras", device=device)

    def predict(self, spec: MlpSpec, fitted: Fitted, features: FrameFeatures, device: str) -> NDArray[np.float32]:
        """See `HeadKind.predict`; numpy does it, on any device."""
        from affstore.models.heads.mlp.keras_mlp import FittedHead, predict

        return predict(FittedHead(spec, dict(fitted.parameters), {}, fitted.best_epoch), features.x)

    def without_validation(self, spec: MlpSpec, epochs: int | None = None) -> MlpSpec:
        """The last epoch is kept."""
        return last_epoch(spec, epochs)

    def memory_bytes(self, spec: MlpSpec, rows: int, width: int) -> int:
        """Only so many rows as are mixed are in memory, and a batch as it is read and as it is copied."""
        return 2 * 4 * min(rows, spec.shuffle_rows) * width

    def describe(self, spec: MlpSpec) -> str:
        """See `HeadKind.describe`."""
        return "MLP on"


HEADS.register(MlpKind.name, MlpKind())
