"""OpenL3 on OpenVINO.

Windows share nothing but their samples: frames of the spectrogram begin every 242 samples of a window and windows every
4,800, which 242 does not divide, and each window's decibels are those below its own loudest cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.kept_models import Converted, converted_once
from affstore.models.engines.openvino_models import Chain, check_on_cpu, converted
from affstore.models.extractors.audio.openl3_spec import NETWORK, OpenL3Spec
from affstore.models.networks.spectrogram import Samples, openl3_spectrogram, quick_spectrogram
from affstore.models.weights.architectures import build, check_layout

if TYPE_CHECKING:
    import torch

_BATCH = 4


class OpenL3OnOpenVino:
    """Spectrogram, network and pooling; any number of threads may call one.

    Attributes:
        batch: windows a pass.
    """

    batch = _BATCH

    def __init__(self, spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> None:
        check_on_cpu(spec.name, device)
        self._spectrogram = openl3_spectrogram(spec.representation, spec.front_end, spec.rate_hz)
        seen = quick_spectrogram(np.zeros(spec.rate_hz, np.float32), self._spectrogram)
        self._chain = Chain(converted_once(spec, parameters, lambda: _converted(spec, parameters, seen.shape)))

    def __call__(self, windows: Samples) -> NDArray[np.float32]:
        """Windows `(batch, 48000)` to embeddings `(batch, width)`."""
        spectrograms = [quick_spectrogram(window, self._spectrogram) for window in windows]
        return self._chain(np.stack(spectrograms)[:, None])[0]


def _converted(spec: OpenL3Spec, parameters: Mapping[str, Any], shape: Sequence[int]) -> Converted:
    """Network and pooling over a batch of spectrograms of that shape."""
    import torch

    from affstore.models.networks.openl3 import folded, pooled

    check_layout(spec.weights.name, parameters, NETWORK, 0)
    network: Any = build(NETWORK, 0)
    # The layout is checked; torch itself would add a count of batches to what is loaded.
    network.load_state_dict(dict(parameters), strict=False, assign=True)
    network = folded(network).requires_grad_(False)

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
            return pooled(self.network(spectrograms), spec.width)

    return Converted((converted(Pooled().eval(), [torch.zeros(_BATCH, 1, *shape)]),), (spec.precision,))
