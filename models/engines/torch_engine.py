"""Torch: the reference on a CPU, and the engine of GPUs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.extractors.specs import FaceExtractorSpec
from models.extractors.torch_network import device_of, forward_pass, normalised

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
        self._piece = self.batch
        self._alone = threading.Lock()

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Forward.__call__`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even the smallest batch.
        """
        if self._device.type == "cpu":
            return self._pass(crops)
        with self._alone:  # two threads' activations at once would need twice the memory and win no time
            return self._in_pieces(crops)

    def _in_pieces(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        while True:
            try:
                starts = range(0, len(crops), self._piece)
                return np.concatenate([self._pass(crops[start : start + self._piece]) for start in starts])
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if self._piece // 2 < _SMALLEST_BATCH:
                    raise _no_memory(self._spec.name, self._piece) from error
                self._piece //= 2

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


def _no_memory(name: str, batch: int) -> Exception:
    from store.contract.errors import DeviceMemoryError

    return DeviceMemoryError(
        f"The GPU has no memory left for '{name}', not even for {batch} crops. "
        "Stop what else runs on it, or choose fewer extractors a run."
    )
