"""A whole face network, trained on by torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.heads.contract import CropDataset, CropFeatures, Fitted, HeadInput, HeadKind, last_epoch
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.kinds import HEADS
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import Task


class FineTuneKind(HeadKind[FineTuneSpec, CropDataset, CropFeatures]):
    """See `affstore.models.heads.finetuned.head`."""

    name = "finetuned"
    description = "a whole face network, trained on by torch"
    spec_type = FineTuneSpec
    takes = "crops"

    def default(self, task: Task) -> FineTuneSpec:
        """See `HeadKind.default`."""
        return FineTuneSpec("", task)

    def check(self, spec: FineTuneSpec, inputs: Sequence[HeadInput]) -> None:
        """It has one input: the network that is trained on."""
        face = isinstance(inputs[0].extractor, FaceExtractorSpec)
        if len(inputs) != 1 or inputs[0].array != "embedding" or not face:
            raise SpecError("A fine-tuned head has one input, the embedding of the face network that is fine-tuned.")

    def fit(
        self, spec: FineTuneSpec, train: CropDataset, validation: CropDataset | None, options: TrainerOptions
    ) -> Fitted:
        """See `HeadKind.fit`."""
        from affstore.models.heads.finetuned.fitted import Backbone
        from affstore.models.heads.finetuned.head import fit_finetuned

        head = fit_finetuned(spec, Backbone(train.extractor, train.parameters), train, validation, options)
        precision = "bfloat16" if spec.mixed_precision and options.device != "cpu" else "float32"
        return Fitted(
            head.parameters, head.curve, head.best_epoch, engine="torch", device=options.device, precision=precision
        )

    def predict(self, spec: FineTuneSpec, fitted: Fitted, features: CropFeatures, device: str) -> NDArray[np.float32]:
        """See `HeadKind.predict`."""
        from affstore.models.heads.finetuned.fitted import FittedFineTuned
        from affstore.models.heads.finetuned.head import predict_finetuned

        head = FittedFineTuned(spec, dict(fitted.parameters), {}, fitted.best_epoch)
        return predict_finetuned(head, features.extractor, features.batches, device)

    def without_validation(self, spec: FineTuneSpec, epochs: int | None = None) -> FineTuneSpec:
        """The last epoch is kept."""
        return last_epoch(spec, epochs)

    def shortened(self, spec: FineTuneSpec) -> FineTuneSpec:
        """One epoch over few frames."""
        return replace(spec, epochs=1, batch=16, train_stride=24, validation_stride=24)

    def memory_bytes(self, spec: FineTuneSpec, rows: int, width: int) -> int:
        """A batch with all that the layers keep for the way back, about 60 MB a crop, and the start's embeddings."""
        return spec.batch * (60 << 20) + 4 * min(rows, spec.start_frames) * width + (512 << 20)

    def describe(self, spec: FineTuneSpec) -> str:
        """See `HeadKind.describe`."""
        return "fine-tuned"


HEADS.register(FineTuneKind.name, FineTuneKind())
