"""What fine-tuning starts from, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.heads.finetuned.spec import FineTuneSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """What fine-tuning starts from.

    Attributes:
        extractor: of the pre-trained network.
        parameters: the network's, by name.
    """

    extractor: FaceExtractorSpec
    parameters: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class FittedFineTuned:
    """A fine-tuned network; holds nothing of torch.

    Attributes:
        spec: what it was trained by.
        parameters: of the selected epoch, float32, by the names of the network's state dict. Whole numbers (how many
            batches a norm has seen) are left out: no output depends on them.
        curve: one value an epoch each: `loss` (of the training frames, while it moves), and, with validation frames,
            `val_loss`, `val_accuracy` and `val_f1`.
        best_epoch: 0-based, the epoch whose parameters these are.
    """

    spec: FineTuneSpec
    parameters: dict[str, NDArray[np.float32]]
    curve: dict[str, NDArray[np.float32]]
    best_epoch: int
