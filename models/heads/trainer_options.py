"""How a training is carried out, as apart from what is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """How a training is carried out. On one kind of device, nothing of this changes a number.

    Attributes:
        device: `cpu`, `cuda`, `cuda:0` …
        checkpoints: a folder of this training's own, from which it goes on after it was killed; none if None.
        every_steps: a checkpoint is written after so many steps too, beside that after each epoch; 0 for no others.
            A head on single frames has those after each epoch alone.
    """

    device: str = "cpu"
    checkpoints: Path | None = None
    every_steps: int = 0
