"""Silero VAD: whether somebody speaks, a vector every 32 ms (Silero Team; the weights lie in their package's wheel).

Clock: vector `i` is computed of samples `[512 i, 512 (i + 1))` and the 64 before them, and stands for that time; the
last one is filled up with silence. The network hears the sound as it is, from its beginning on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.footprint import PassBytes, Workload, sound_pass_bytes
from affstore.models.engines.torch_network import check_engine, device_of, forward_pass
from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, whole
from affstore.models.extractors.audio.segments import check_waveform
from affstore.models.extractors.base import OneExtractor, SoundExtractor, SoundOutput
from affstore.models.extractors.registry import register
from affstore.models.weights.architectures import build, check_layout, layout, own_network
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.untrained import draw
from affstore.models.weights.wheel import Wheel
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import SPEECH

if TYPE_CHECKING:
    import torch

_WINDOW, _CONTEXT, _WIDTH, _RATE_HZ = 512, 64, 128, 16_000
_WINDOWS_A_PASS = 512
_PASS_BYTES = 16 << 20

SILERO_VAD = SoundExtractorSpec(
    "silero_vad",
    version=1,
    width=_WIDTH,
    rate_hz=_RATE_HZ,
    vectors_hz=Fraction(_RATE_HZ, _WINDOW),
    weights=WeightsRef("silero_vad"),
    segments=whole(),
    normalise=False,
    logits=SPEECH,
)
"""The embedding is the state of its LSTM; `sigmoid(logits)` is the probability of speech."""


class SileroVad(SoundExtractor):
    """The network with its parameters. Any number of threads may call one."""

    def __init__(
        self, spec: SoundExtractorSpec, entry: WeightsEntry, parameters: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        """Load the parameters.

        Raises:
            ArchitectureError: they are another network's.
            SpecError: the network is not what the spec says.
        """
        check_engine(spec)
        says = (spec.width, spec.rate_hz, spec.vectors_hz, spec.first_s, spec.segments, spec.normalise, spec.resampler)
        plain = SILERO_VAD
        does = (plain.width, plain.rate_hz, plain.vectors_hz, plain.first_s, plain.segments, False, plain.resampler)
        if says != does:
            raise SpecError(
                f"'{plain.name}' hears the whole sound at {_RATE_HZ} Hz as it is, resampled by swresample, and gives "
                f"{_WIDTH} numbers every {_WINDOW} samples; '{spec.name}' says otherwise. Use it without a variant."
            )
        check_layout(entry.name, parameters, entry.architecture, entry.outputs)
        network: Any = build(entry.architecture, entry.outputs)
        network.load_state_dict(dict(parameters), assign=True)
        self.spec, self._device = spec, device_of(device)
        self._network = network.requires_grad_(False).to(self._device)

    def embed(self, wave: NDArray[np.floating[Any]]) -> SoundOutput:
        """See `SoundExtractor.embed`.

        Raises:
            SpecError: the wave is not float32 `(samples,)`.
        """
        import torch

        from affstore.models.networks.silero_vad import silence

        check_waveform(self.spec, wave)
        count = -(-len(wave) // _WINDOW)
        padded = np.pad(wave, (_CONTEXT, count * _WINDOW - len(wave)))
        windows = (
            np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + _WINDOW)[::_WINDOW][:count] if count else ()
        )
        embedding, logits = np.empty((count, _WIDTH), np.float32), np.empty((count, 1), np.float32)
        state = silence(self._device)
        for start in range(0, count, _WINDOWS_A_PASS):
            some = slice(start, start + _WINDOWS_A_PASS)
            with forward_pass(self._device, self.spec.precision):
                heard = torch.from_numpy(np.ascontiguousarray(windows[some], np.float32)).to(self._device)
                states, scores, state = self._network(heard, state)
            embedding[some], logits[some] = states.float().cpu().numpy(), scores.float().cpu().numpy()
        return SoundOutput(embedding, logits=logits)


@dataclass(frozen=True, slots=True)
class SileroVadKind(OneExtractor[SoundExtractorSpec]):
    """The kind of the one extractor of this file."""

    def build(self, spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str) -> SoundExtractor:
        """See `ExtractorKind.build`."""
        return SileroVad(spec, self.entry, parameters, device)

    def untrained(self, spec: SoundExtractorSpec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`."""
        return draw(layout(self.entry.architecture, self.entry.outputs), seed)

    def pass_bytes(self, spec: SoundExtractorSpec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`."""
        return sound_pass_bytes(workload, _PASS_BYTES)


register(
    SileroVadKind(
        SILERO_VAD,
        WeightsEntry(
            "silero_vad",
            own_network("silero_vad", face=False),
            outputs=1,
            file="silero_vad_16k.safetensors",
            wheel=Wheel(
                "silero-vad",
                "6.2.3",
                "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
                "silero_vad/data/silero_vad_16k.safetensors",
            ),
            sha256="c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1",
            licence="MIT",
            source="silero-vad of the Silero Team",
        ),
    ),
)
