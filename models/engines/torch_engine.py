"""Torch: the reference on a CPU, and the engine of GPUs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.cuda_graph import Recorded, Recorder, Staging, record_on_gpu, to_host
from affstore.models.engines.torch_network import Pieces, device_of, forward_pass, scaled, scales
from affstore.models.extractor_specs import FaceExtractorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from affstore.models.networks.staged import Staged

_CPU_BATCH = 32
"""Below 16 crops, oneDNN's float32 kernels depend on a crop's place in the batch."""

_GPU_BATCH = 256
_SMALLEST_BATCH = 16


class TorchForward:
    """See `affstore.models.engines.base.Forward`. A GPU that runs out of memory gets half the batch from then on.

    Args:
        staged: the network, on its device.
        spec: what it is.
        device: `cpu` or `cuda`.
        record: how its passes are recorded; by default as a CUDA graph on a GPU, and not at all on a CPU.
    """

    def __init__(self, staged: Staged, spec: FaceExtractorSpec, device: str, record: Recorder | None = None) -> None:
        self._staged, self._spec, self._device = staged, spec, device_of(device)
        on_gpu = self._device.type != "cpu"
        self.batch = _GPU_BATCH if on_gpu else _CPU_BATCH
        self._scales = scales(spec, self._device)
        self._pieces = Pieces(
            _SMALLEST_BATCH,
            f"The GPU has no memory left for '{spec.name}', not even for {_SMALLEST_BATCH} crops. "
            "Stop what else runs on it, or choose fewer extractors a run.",
        )
        record = record_on_gpu if record is None and on_gpu else record
        self._recorded = Recorded(self._step, record, self._device) if record else None
        self._staging = Staging((self.batch, spec.size_px, spec.size_px, 3), on_gpu) if record else None
        self._alone = threading.Lock()

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Forward.__call__`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even the smallest batch.
        """
        if self._staging is None:
            return self._pass(crops)
        # Two threads' activations at once would need twice the memory and win no time.
        with self._staging.holding(crops) as staged, self._alone:
            return self._pieces.run(lambda piece: (self._pass(piece),), staged)[0]

    def _pass(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        pixels = torch.from_numpy(crops)
        return to_host(self._recorded(pixels) if self._recorded else self._step(pixels.to(self._device)))

    def _step(self, pixels: Tensor) -> Tensor:
        """The classifier always runs in float32, and so do the spec's first stages."""
        import torch

        first = self._spec.float32_stages
        with forward_pass(self._device, "float32"):
            pictures = self._staged.run(scaled(pixels, *self._scales), 0, first)
        with forward_pass(self._device, self._spec.precision):
            embedding = self._staged.run(pictures, first).float()
        with torch.inference_mode():
            return self._staged.with_outputs(embedding)
