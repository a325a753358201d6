"""What every engine owes a face network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import Precision
from affstore.store.contract.usable import usable_cores

EngineName = Literal["torch", "openvino"]
ENGINES: tuple[EngineName, ...] = ("torch", "openvino")


class Forward(Protocol):
    """A network ready to run on batches of one shape. Any number of threads may call it at once.

    Attributes:
        batch: crops a pass: a row's bits depend on its crop alone because the shape never changes.
    """

    batch: int

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB crops `(batch, size_px, size_px, 3)` to embedding and outputs side by side, `(batch, width + n)`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the precision it runs in."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


def forward_threads() -> int:
    """Cores that the passes of face networks may use in this process: all, or as many as `AFFSTORE_THREADS` says."""
    return int(os.environ.get("AFFSTORE_THREADS") or usable_cores())
