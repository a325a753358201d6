"""What wav2vec 2.0 and HuBERT share: a waveform goes in, embeddings come out, and what a head says of each segment.

A new one is a module of this folder that registers a `SpeechNetworkKind`: its spec, what is known of its weights, and a
network of `models/networks/speech.py`; see `wav2vec2.py`.

Clock: the convolutions have a stride of 320 samples and a receptive field of 400 (25 ms), so vector `i` is computed
around samples `[320 i, 320 i + 400)` and stands for `[i, i + 1) / 50` s; `n` samples give `(n - 80) // 320` vectors,
and the last 5 to 25 ms of a sound have none. A segment therefore hears the 80 samples that follow it as well, and no
vector is lost at a seam. Attention and normalisation see one segment, so a vector depends on the segment it lies in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import ENGINES, EngineName
from affstore.models.engines.footprint import PassBytes, Workload, sound_pass_bytes
from affstore.models.engines.torch_network import check_engine
from affstore.models.extractor_specs import SoundExtractorSpec
from affstore.models.extractors.audio.segments import Segment, check_waveform, cut
from affstore.models.extractors.base import OneExtractor, SoundExtractor, SoundOutput
from affstore.models.weights.architectures import Architecture
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

    from affstore.models.networks.speech import SpeechArchitecture

RATE_HZ = 16_000
VECTORS_HZ = Fraction(50)

_STRIDE, _FIELD = 320, 400
_AFFECT = 3
_NORMALISE_EPS = 1e-7
_UNTRAINED_ENCODER_GAIN = 0.3
_BYTES_A_SECOND = {"torch": 9 << 20, "openvino": 11 << 20}
"""For each second that a pass hears, in float32. Measured on torch: wav2vec2 base and HuBERT base 8.5 MiB, the large
networks 5 to 6; on OpenVINO, in bfloat16: HuBERT with emotion 4.9, a large network 2.5, wav2vec2 base 1.6, and 4.1 in
float32."""

Waves = NDArray[np.float32]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class SpeechForward(Protocol):
    """What runs the network. Any number of threads may call it at once.

    Attributes:
        batch: segments of the usual length a pass, always as many.
    """

    batch: int

    def __call__(self, waves: Waves) -> Outputs:
        """Waveforms `(batch, samples)` to embeddings `(batch, vectors, width)` and outputs `(batch, n)`, `n` ≥ 0."""


class SpeechNetwork(SoundExtractor):
    """The encoder of `transformers` without a recogniser's last layer. Any number of threads may call one."""

    def __init__(
        self, spec: SoundExtractorSpec, entry: WeightsEntry, parameters: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        """Load `parameters` into the network of `entry`.

        Raises:
            ArchitectureError: the parameters are another network's.
            SpecError: the network is not what the spec says.
        """
        check_engine(spec, ENGINES)
        self.spec = spec
        self._classes, self._scales = len(spec.logits or ()), _AFFECT if spec.affect else 0
        self._forward = _forward(lambda: _filled(spec, entry, parameters), spec, parameters, device)

    def embed(self, wave: NDArray[np.floating[Any]]) -> SoundOutput:
        """See `SoundExtractor.embed`. Sound shorter than 25 ms gives no vector.

        Raises:
            SpecError: the wave is not float32 `(samples,)`.
            DeviceMemoryError: the GPU has no memory for even one segment.
        """
        check_waveform(self.spec, wave)
        vectors = max(0, (len(wave) - _FIELD) // _STRIDE + 1)
        embedding = np.empty((vectors, self.spec.width), np.float32)
        outputs = np.empty((vectors, self._classes + self._scales), np.float32)
        segments = cut(vectors, self.spec.segments, self.spec.vectors_hz)
        for batch in self._batches(segments):
            states, scores = self._outputs([self._heard(wave, segment) for segment in batch])
            for segment, rows, score in zip(batch, states, scores, strict=True):
                embedding[segment.first : segment.last] = rows[
                    segment.first - segment.begin : segment.last - segment.begin
                ]
                outputs[segment.first : segment.last] = score
        return SoundOutput(
            embedding,
            logits=outputs[:, : self._classes] if self._classes else None,
            affect=outputs[:, self._classes :] if self._scales else None,
        )

    def _heard(self, wave: Waves, segment: Segment) -> Waves:
        samples = wave[_STRIDE * segment.begin : _STRIDE * (segment.end - 1) + _FIELD]
        return _normalised(samples) if self.spec.normalise else samples

    def _batches(self, segments: Sequence[Segment]) -> Iterator[Sequence[Segment]]:
        """Segments of the usual length several at a time; the last one, which may be shorter or longer, by itself."""
        length = self.spec.segments.length_s * self.spec.vectors_hz
        usual = [segment for segment in segments if segment.vectors == length]
        for start in range(0, len(usual), self._forward.batch):
            yield usual[start : start + self._forward.batch]
        yield from ([segment] for segment in segments if segment.vectors != length)

    def _outputs(self, waves: Sequence[Waves]) -> Outputs:
        """From waveforms of one length to embeddings `(segments, vectors, width)` and outputs `(segments, n)`.

        Batches of the usual length have one shape, so that a segment's bits do not depend on how many there are.
        """
        usual = len(waves[0]) == _STRIDE * self.spec.segments.length_s * self.spec.vectors_hz + _FIELD - _STRIDE
        padding = [waves[-1]] * (self._forward.batch - len(waves)) if usual else []
        states, scores = self._forward(np.stack([*waves, *padding]))
        return states[: len(waves)], scores[: len(waves)]


def _filled(
    spec: SoundExtractorSpec, entry: WeightsEntry, parameters: Mapping[str, Any]
) -> tuple[Any, SpeechArchitecture]:
    """The network of `entry` with its parameters.

    Raises:
        ArchitectureError: the parameters are another network's.
        SpecError: the network is not what the spec says.
    """
    from affstore.models.networks.speech import speech
    from affstore.models.weights import architectures

    shape = speech(entry.architecture.name if entry.architecture else "")
    _check(spec, shape.width, entry.outputs)
    architectures.check_layout(entry.name, parameters, entry.architecture, entry.outputs)
    network = architectures.build(entry.architecture, entry.outputs)
    network.load_state_dict(dict(parameters), assign=True)
    return network.requires_grad_(False), shape


def _forward(
    network: Callable[[], tuple[Any, SpeechArchitecture]],
    spec: SoundExtractorSpec,
    parameters: Mapping[str, Any],
    device: str,
) -> SpeechForward:
    """The engine that the spec names."""
    if spec.engine == "openvino":
        from affstore.models.extractors.audio.speech_openvino import SpeechOnOpenVino

        return SpeechOnOpenVino(network, spec, parameters, device)
    from affstore.models.extractors.audio.speech_torch import SpeechOnTorch

    return SpeechOnTorch(*network(), spec, device)


@dataclass(frozen=True, slots=True)
class SpeechNetworkKind(OneExtractor[SoundExtractorSpec]):
    """A network of `affstore.models.networks.speech`."""

    def build(self, spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str) -> SoundExtractor:
        """See `ExtractorKind.build`."""
        return SpeechNetwork(spec, self.entry, parameters, device)

    def untrained(self, spec: SoundExtractorSpec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`.

        Random attention takes the mean over all moments; small kernels in the encoder leave each moment its own.
        """
        from affstore.models.weights import architectures
        from affstore.models.weights.untrained import draw, unit_weight_norms

        drawn = draw(architectures.layout(self.entry.architecture, self.entry.outputs), seed)
        for name, tensor in drawn.items():
            if "encoder.layers." in name and tensor.ndim > 1:
                tensor.mul_(_UNTRAINED_ENCODER_GAIN)
        return unit_weight_norms(drawn)

    def engines(self, spec: SoundExtractorSpec) -> Sequence[EngineName]:
        """See `ExtractorKind.engines`."""
        return ENGINES

    def pass_bytes(self, spec: SoundExtractorSpec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`."""
        heard_s = min(workload.sound_s, spec.segments.length_s + 1)
        half = spec.engine == "openvino" and spec.precision == "bfloat16"
        return sound_pass_bytes(workload, round(_BYTES_A_SECOND[spec.engine] * heard_s / (1 + half)))


def speech_network(name: str) -> Architecture:
    """A network of `affstore.models.networks.speech`, which imports torch and transformers: when it is needed."""

    def found() -> Any:
        return importlib.import_module("affstore.models.networks.speech").speech(name)

    return Architecture(name, lambda outputs: found().build(outputs), lambda published: found().rename(published))


def _check(spec: SoundExtractorSpec, width: int, outputs: int) -> None:
    """See that the network is what the spec says.

    Raises:
        SpecError: it is not.
    """
    says = (spec.width, spec.rate_hz, spec.vectors_hz, spec.first_s, len(spec.logits or ()) + _AFFECT * spec.affect)
    found = (width, RATE_HZ, VECTORS_HZ, Fraction(0), outputs)
    if says != found or spec.resampler != "swresample" or spec.segments.mode == "whole":
        raise SpecError(
            f"The network of '{spec.weights.name}' hears blocks or windows at {RATE_HZ} Hz, resampled by swresample, "
            f"and gives {width} numbers and {outputs} outputs, {VECTORS_HZ} times a second from 0 s on. '{spec.name}' "
            f"says {spec.segments}, {spec.rate_hz} Hz, {spec.resampler}, {spec.width}, {says[4]}, {spec.vectors_hz} "
            f"times a second, {spec.first_s} s."
        )


def _normalised(samples: Waves) -> Waves:
    """Zero mean and unit variance, to the bit as the processor of `transformers` does it."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + _NORMALISE_EPS)
