"""wav2vec 2.0 and HuBERT on torch: the reference on a CPU, and the engine of GPUs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.torch_network import device_of, forward_pass
from affstore.models.extractor_specs import SoundExtractorSpec
from affstore.models.extractors.audio.segments import one_segment_a_pass

if TYPE_CHECKING:
    from affstore.models.networks.speech import SpeechArchitecture

_SECONDS_A_PASS = 240
"""On a GPU: some 1.5 GiB of the first layer's outputs."""

Waves = NDArray[np.float32]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class SpeechOnTorch:
    """See `affstore.models.extractors.audio.network.SpeechForward`."""

    def __init__(self, network: Any, shape: SpeechArchitecture, spec: SoundExtractorSpec, device: str) -> None:
        self._spec, self._forward, self._device = spec, shape.forward, device_of(device)
        self._network = network.to(self._device)
        # On a CPU a batch is no faster than its segments one by one, takes more memory, and may have other last bits.
        on_cpu = self._device.type == "cpu"
        self.batch = 1 if on_cpu else max(1, _SECONDS_A_PASS // max(1, spec.segments.length_s))
        self._pieces = one_segment_a_pass(spec)
        self._alone = threading.Lock()

    def __call__(self, waves: Waves) -> Outputs:
        """See `SpeechForward.__call__`.

        Raises:
            DeviceMemoryError: the GPU has no memory for even one segment.
        """
        if self._device.type == "cpu":
            return self._pass(waves)
        with self._alone:  # two threads' activations at once would need twice the memory and win no time
            states, scores = self._pieces.run(self._pass, waves)
        return states, scores

    def _pass(self, waves: Waves) -> Outputs:
        import torch

        with forward_pass(self._device, self._spec.precision):
            states, scores = self._forward(self._network, torch.from_numpy(waves).to(self._device))
        nothing = np.empty((len(waves), 0), np.float32)
        return states.float().cpu().numpy(), nothing if scores is None else scores.float().cpu().numpy()
