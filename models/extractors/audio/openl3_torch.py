"""OpenL3 on torch, which is imported when a network is built: every module of this folder is scanned for its specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.torch_network import Pieces, device_of, forward_pass
from affstore.models.extractors.audio.openl3_spec import NETWORK, OpenL3Spec
from affstore.models.networks.spectrogram import Samples, openl3_spectrogram, spectrogram
from affstore.models.weights.architectures import build, check_layout
from affstore.models.weights.calibration import settle_batch_norms

if TYPE_CHECKING:
    import torch


_BATCH_ON_GPU = 64
_SMALLER = 512


class OpenL3Torch:
    """Spectrogram, network and pooling; any number of threads may call one.

    Attributes:
        batch: windows a pass. On a CPU one by one: together they are no faster and take more memory.
    """

    def __init__(self, spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> None:
        import torch

        from affstore.models.networks.openl3 import folded

        check_layout(spec.weights.name, parameters, NETWORK, 0)
        self._spec, self._device = spec, device_of(device)
        network: Any = build(NETWORK, 0)
        # The layout is checked; torch itself would add a count of batches to what is loaded.
        network.load_state_dict(dict(parameters), strict=False, assign=True)
        network = folded(network).requires_grad_(False)
        self._network = network.to(self._device, memory_format=torch.channels_last)
        self._spectrogram = openl3_spectrogram(spec.representation, spec.front_end, spec.rate_hz)
        fault = f"The GPU has no memory for one second of sound in '{spec.name}'. Stop what else runs on it."
        self._pieces = Pieces(1, fault)
        self.batch = 1 if self._device.type == "cpu" else _BATCH_ON_GPU

    def __call__(self, windows: Samples) -> NDArray[np.float32]:
        """Windows `(batch, 48000)` to embeddings `(batch, width)`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even one window.
        """
        # One at a time: in one product for all, rounding would depend on where in the batch a window lies.
        spectrograms = np.stack([spectrogram(window, self._spectrogram) for window in windows])[:, None]
        return self._pieces.run(lambda piece: (self._pass(piece),), spectrograms)[0]

    def _pass(self, spectrograms: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        from affstore.models.networks.openl3 import pooled

        with forward_pass(self._device, self._spec.precision):
            features = self._network(torch.from_numpy(spectrograms).to(self._device, memory_format=torch.channels_last))
            embedding: NDArray[np.float32] = pooled(features, self._spec.width).float().cpu().numpy()
        return embedding


def calibrated(drawn: Mapping[str, torch.Tensor], heard: Samples, representation: str) -> dict[str, torch.Tensor]:
    """Drawn parameters with the statistics of seconds of sound, and embeddings that are 0 for them on average.

    Without, every embedding would be nearly parallel to every other.

    Args:
        drawn: by name.
        heard: `(n, 48000)`.
        representation: of the network.
    """
    import torch

    from affstore.models.networks.openl3 import pooled

    settings = openl3_spectrogram(representation, "kapre", heard.shape[1])
    network: Any = build(NETWORK, 0)
    network.load_state_dict(dict(drawn), strict=False, assign=True)
    spectrograms = torch.from_numpy(np.stack([spectrogram(second, settings) for second in heard])[:, None])
    features: list[torch.Tensor] = []
    network.register_forward_hook(lambda *call: features.append(call[-1]))
    settle_batch_norms(network, spectrograms)
    return {**network.state_dict(), "audio_embedding_layer.bias": -pooled(features[0], _SMALLER).mean(0)}
