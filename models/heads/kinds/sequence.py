"""Temporal convolutions and a transformer on windows of videos, trained by torch."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.contract import Fitted, HeadKind, last_epoch
from affstore.models.heads.kinds import HEADS
from affstore.models.heads.sequence.dataset import Sequences, Streams
from affstore.models.heads.sequence.spec import SequenceSpec, as_ctyunai, default_sequence
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.labels import Task


class SequenceKind(HeadKind[SequenceSpec, Sequences, Streams]):
    """See `affstore.models.heads.sequence.head`."""

    name = "sequence"
    description = "temporal convolutions and a transformer on windows of videos, trained by torch"
    spec_type = SequenceSpec
    takes = "sequences"
    presets = MappingProxyType({"ctyunai": as_ctyunai})

    def default(self, task: Task) -> SequenceSpec:
        """ABAW6's head of the task."""
        return replace(default_sequence(task), name="")

    def fit(
        self, spec: SequenceSpec, train: Sequences, validation: Sequences | None, options: TrainerOptions
    ) -> Fitted:
        """See `HeadKind.fit`."""
        from affstore.models.heads.sequence.head import fit_sequence

        head = fit_sequence(spec, train, validation, options)
        precision = "bfloat16" if spec.mixed_precision and options.device != "cpu" else "float32"
        return Fitted(
            head.parameters, head.curve, head.best_epoch, engine="torch", device=options.device, precision=precision
        )

    def predict(self, spec: SequenceSpec, fitted: Fitted, features: Streams, device: str) -> NDArray[np.float32]:
        """See `HeadKind.predict`."""
        from affstore.models.heads.sequence.fitted import FittedSequence
        from affstore.models.heads.sequence.head import predict_sequence

        head = FittedSequence(spec, dict(fitted.parameters), {}, 0, fitted.best_epoch)
        return predict_sequence(head, features, device)

    def without_validation(self, spec: SequenceSpec, epochs: int | None = None) -> SequenceSpec:
        """The last epoch is kept."""
        return last_epoch(spec, epochs)

    def shortened(self, spec: SequenceSpec) -> SequenceSpec:
        """A small encoder and at most three epochs."""
        encoder = replace(spec.encoder, layers=min(spec.encoder.layers, 2))
        return replace(spec, encoder=encoder, epochs=min(spec.epochs, 3), evaluations=1, batch=4)

    def memory_bytes(self, spec: SequenceSpec, rows: int, width: int) -> int:
        """The windows of a batch with all that the layers keep for the way back; features are read window by window."""
        return spec.batch * spec.window.length * 4 * (4 * width + 64 * 512) + (256 << 20)

    def describe(self, spec: SequenceSpec) -> str:
        """See `HeadKind.describe`."""
        return "TCN + transformer on" if spec.encoder.layers else "TCN + MLP on"


HEADS.register(SequenceKind.name, SequenceKind())
