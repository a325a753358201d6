"""An ensemble that LightAutoML finds on single frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.contract import Fitted, FrameFeatures, HeadKind
from affstore.models.heads.examples import in_memory
from affstore.models.heads.frame_dataset import FrameDataset
from affstore.models.heads.kinds import HEADS
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.labels import Task


class AutoMlKind(HeadKind[AutoMlSpec, FrameDataset, FrameFeatures]):
    """See `affstore.models.heads.automl.head`."""

    name = "lightautoml"
    description = "an ensemble that LightAutoML finds on single frames"
    spec_type = AutoMlSpec
    extra = "automl"

    def default(self, task: Task) -> AutoMlSpec:
        """See `HeadKind.default`."""
        return AutoMlSpec("", task)

    def fit(
        self, spec: AutoMlSpec, train: FrameDataset, validation: FrameDataset | None, options: TrainerOptions
    ) -> Fitted:
        """See `HeadKind.fit`."""
        from affstore.models.heads.automl.head import fit_automl

        chooses = in_memory(validation, "validation") if validation is not None and spec.uses_validation else None
        head = fit_automl(spec, in_memory(train, "training"), chooses)
        return Fitted(blob=head.model, report=head.report, engine="lightautoml", precision="float64")

    def predict(self, spec: AutoMlSpec, fitted: Fitted, features: FrameFeatures, device: str) -> NDArray[np.float32]:
        """See `HeadKind.predict`."""
        from affstore.models.heads.automl.head import FittedAutoMl, predict_automl

        return predict_automl(FittedAutoMl(spec, fitted.blob, dict(fitted.report)), features.x)

    def without_validation(self, spec: AutoMlSpec, epochs: int | None = None) -> AutoMlSpec:
        """Its own cross-validation is used; it has no epochs."""
        return replace(spec, uses_validation=False)

    def shortened(self, spec: AutoMlSpec) -> AutoMlSpec:
        """One linear model on one core."""
        return replace(spec, timeout_s=20, algorithms=("linear_l2",), folds=2, cpus=1)

    def memory_bytes(self, spec: AutoMlSpec, rows: int, width: int) -> int:
        """The examples here, in the search's process, and as the tables of its folds."""
        return 5 * 4 * rows * width + (1 << 30)

    def describe(self, spec: AutoMlSpec) -> str:
        """See `HeadKind.describe`."""
        return "LightAutoML on"


HEADS.register(AutoMlKind.name, AutoMlKind())
