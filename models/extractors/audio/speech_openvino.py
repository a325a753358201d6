"""wav2vec 2.0 and HuBERT on OpenVINO: convolutions over two seconds at a time, then the transformer over a segment.

All convolutions see pieces of one shape, so that only the features are as long as the sound. Where the first layer
normalises each channel over the whole segment, what that comes to is computed of the segment's samples beforehand.
What a head says of the states is always computed in float32: rounded, its few numbers would be off by thousandths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.openvino_models import Chain, check_on_cpu, compiled, converted
from affstore.models.extractor_specs import Precision, SoundExtractorSpec

if TYPE_CHECKING:
    from affstore.models.networks.speech import SpeechArchitecture

_PIECE = 100
"""Features a pass of the convolutions: 2 s."""

_EXAMPLE = 200

Waves = NDArray[np.float32]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class SpeechOnOpenVino:
    """See `affstore.models.extractors.audio.network.SpeechForward`.

    Attributes:
        batch: one segment: a second one beside it would be no faster.
    """

    batch = 1

    def __init__(self, network: Any, shape: SpeechArchitecture, spec: SoundExtractorSpec, device: str) -> None:
        from affstore.models.networks import speech

        check_on_cpu(spec.name, device)
        layers = speech.convolutions_taken_from(network)
        self._normalised = speech.ChannelNorm.of(layers[0])
        self._stride, self._field = speech.reach(layers)
        self._channels = layers[-1].conv.out_channels
        self._samples = self._stride * (_PIECE - 1) + self._field
        self._convolutions = _convolutions(layers, self._samples, "float32" if shape.exact_features else spec.precision)
        self._body = _body(network, shape, self._channels, spec.precision)

    def __call__(self, waves: Waves) -> Outputs:
        """See `SpeechForward.__call__`."""
        (wave,) = waves
        outputs = self._body(self._features(wave))
        return outputs[0], outputs[1] if len(outputs) > 1 else np.empty((1, 0), np.float32)

    def _features(self, wave: Waves) -> NDArray[np.float32]:
        """`(1, channels, vectors)`."""
        scales = self._normalised.scales(wave) if self._normalised else ()
        features = np.empty((1, self._channels, (len(wave) - self._field) // self._stride + 1), np.float32)
        for first in range(0, features.shape[2], _PIECE):
            heard = wave[self._stride * first :][: self._samples]
            piece = np.pad(heard, (0, self._samples - len(heard)))[None, None]
            rows = features[:, :, first : first + _PIECE]
            rows[:] = self._convolutions(piece, *scales)[0][:, :, : rows.shape[2]]
        return features


def _convolutions(layers: Sequence[Any], samples: int, precision: Precision) -> Chain:
    """From a piece of sound, and how its first channels are normalised, to features."""
    import torch

    from affstore.models.networks.speech import ChannelNorm, Convolutions

    scales = [torch.zeros(1, layers[0].conv.out_channels, 1)] * 2 if ChannelNorm.of(layers[0]) else []
    return Chain(compiled(converted(Convolutions(layers).eval(), [torch.zeros(1, 1, samples), *scales]), precision))


def _body(network: Any, shape: SpeechArchitecture, channels: int, precision: Precision) -> Chain:
    """From features to embeddings, and to what a head says, which is always in float32."""
    import torch

    class Part(torch.nn.Module):
        def __init__(self, run: Callable[[Any, torch.Tensor], Any]) -> None:
            super().__init__()
            self.network, self.run = network, run

        def forward(self, signal: torch.Tensor) -> Any:
            return self.run(self.network, signal)

    encoder, features = Part(shape.encode).eval(), torch.zeros(1, channels, _EXAMPLE)
    models = [compiled(converted(encoder, [features], [[1, channels, -1]]), precision)]
    if shape.head is not None:
        with torch.inference_mode():
            states = torch.zeros(encoder(features).shape)
        head = converted(Part(shape.head).eval(), [states], [[1, -1, states.shape[2]]])
        models.append(compiled(head, "float32"))
    return Chain(*models)
