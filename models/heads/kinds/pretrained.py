"""A pre-trained network's own expressions, or its own valence and arousal: nothing is learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.contract import Fitted, FrameFeatures, HeadInput, HeadKind
from affstore.models.heads.kinds import HEADS
from affstore.models.heads.pretrained import PretrainedSpec, pretrained_scores
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import Task


class PretrainedKind(HeadKind[PretrainedSpec, None, FrameFeatures]):
    """See `affstore.models.heads.pretrained`."""

    name = "pretrained"
    description = "a pre-trained network's own expressions, or its own valence and arousal: nothing is learnt"
    spec_type = PretrainedSpec
    takes = "nothing"

    def default(self, task: Task) -> PretrainedSpec:
        """See `HeadKind.default`."""
        return PretrainedSpec("", task)

    def check(self, spec: PretrainedSpec, inputs: Sequence[HeadInput]) -> None:
        """It has one input: what the network says."""
        array = "valence_arousal" if spec.task == "va" else "logits"
        if len(inputs) != 1 or inputs[0].array != array:
            raise SpecError(f"A pre-trained head of the task '{spec.task}' has one input, a network's {array}.")

    def fit(self, spec: PretrainedSpec, train: None, validation: None, options: TrainerOptions) -> Fitted:
        """There is nothing to fit."""
        return Fitted()

    def predict(
        self, spec: PretrainedSpec, fitted: Fitted, features: FrameFeatures, device: str
    ) -> NDArray[np.float32]:
        """See `HeadKind.predict`."""
        return pretrained_scores(spec, features.classes, features.x)

    def memory_bytes(self, spec: PretrainedSpec, rows: int, width: int) -> int:
        """Outputs and labels alone."""
        return 2 * 4 * rows * width

    def describe(self, spec: PretrainedSpec) -> str:
        """See `HeadKind.describe`."""
        dropped = " (Contempt dropped)" if spec.contempt == "dropped" and spec.task == "expr" else ""
        return ("logits of" if spec.gives == "logits" else "pre-trained") + dropped


HEADS.register(PretrainedKind.name, PretrainedKind())
