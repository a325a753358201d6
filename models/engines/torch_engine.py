"""Torch: the reference on a CPU, and the engine of GPUs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.extractors.specs import FaceExtractorSpec
from models.extractors.torch_network import Pieces, device_of, forward_pass, normalised

if TYPE_CHECKING:
    from models.networks.staged import Staged

_CPU_BATCH = 32
"""Below 16 crops, oneDNN's float32 kernels depend on a crop's place in the batch."""

_GPU_BATCH = 256
_SMALLEST_BATCH = 16


class TorchForward:
    """See `models.engines.base.Forward`. A GPU that runs out of memory gets half the batch from then on."""

    def __init__(self, staged: Staged, spec: FaceExtractorSpec, device: str) -> None:
        self._staged, self._spec, self._device = staged, spec, device_of(device)
        self.batch = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH
        self._pieces = Pieces(
            _SMALLEST_BATCH,
            f"The GPU has no memory left for '{spec.name}', not even for {_SMALLEST_BATCH} crops. "
            "Stop what else runs on it, or choose fewer extractors a run.",
        )
        self._alone = threading.Lock()

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Forward.__call__`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even the smallest batch.
        """
        if self._device.type == "cpu":
            return self._pass(crops)
        with self._alone:  # two threads' activations at once would need twice the memory and win no time
            return self._pieces.run(lambda piece: (self._pass(piece),), crops)[0]

    def _pass(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The classifier always runs in float32, and so do the spec's first stages."""
        import torch

        pictures = normalised(crops, self._spec, self._device)
        first = self._spec.float32_stages
        with forward_pass(self._device, "float32"):
            pictures = self._staged.run(pictures, 0, first)
        with forward_pass(self._device, self._spec.precision):
            embedding = self._staged.run(pictures, first).float()
        with torch.inference_mode():
            both = torch.cat([embedding, self._staged.classifier(embedding)], 1)
        array: NDArray[np.float32] = both.cpu().numpy()
        return array
