"""A trained head on sequences, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.trainer_options import TrainerOptions as TrainerOptions
from affstore.store.contract.errors import ArchitectureError


@dataclass(frozen=True, slots=True, eq=False)
class FittedSequence:
    """A trained head; holds nothing of torch.

    Attributes:
        spec: what it was trained by.
        parameters: of the selected evaluation, float32, by the names of the network's modules; `streams_<i>_mean` and
            `streams_<i>_deviation` standardise features.
        curve: one value an evaluation each: `loss` (of the training frames since the last one, while it moves), and,
            with validation videos, `val_loss`, `val_accuracy` and `val_f1` as far as the task has them.
        best: 0-based, the evaluation whose parameters these are.
        best_epoch: 0-based, the epoch in which that was.
    """

    spec: SequenceSpec
    parameters: dict[str, NDArray[np.float32]]
    curve: dict[str, NDArray[np.float32]]
    best: int
    best_epoch: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers a frame of each stream it takes.

        Raises:
            ArchitectureError: the parameters are not those of a head on sequences.
        """
        streams = sum(name.startswith("streams_") and name.endswith("_mean") for name in self.parameters)
        if not streams or any(f"streams_{i}_mean" not in self.parameters for i in range(streams)):
            raise ArchitectureError(f"Head '{self.spec.name}' has no parameters of a head on sequences. Fit it again.")
        return tuple(len(self.parameters[f"streams_{i}_mean"]) for i in range(streams))
