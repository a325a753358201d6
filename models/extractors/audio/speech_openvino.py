"""wav2vec 2.0 and HuBERT on OpenVINO: convolutions over two seconds at a time, then the transformer over a segment.

All convolutions see pieces of one shape, so that only the features are as long as the sound. Where the first layer
normalises each channel over the whole segment, what that comes to is computed of the segment's samples beforehand.
What a head says of the states is always computed in float32: rounded, its few numbers would be off by thousandths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.kept_models import Converted, converted_once
from affstore.models.engines.openvino_models import Chain, check_on_cpu, converted
from affstore.models.extractor_specs import Precision, SoundExtractorSpec
from affstore.models.networks.channel_norm import ChannelNorm

if TYPE_CHECKING:
    from affstore.models.networks.speech import SpeechArchitecture

_PIECE = 100
"""Features a pass of the convolutions: 2 s."""

_EXAMPLE = 200

_NORM = ("kernel", "weight", "bias")
"""The arrays of a `ChannelNorm`."""

Waves = NDArray[np.float32]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class SpeechOnOpenVino:
    """See `affstore.models.extractors.audio.network.SpeechForward`.

    Attributes:
        batch: one segment: a second one beside it would be no faster.
    """

    batch = 1

    def __init__(
        self,
        network: Callable[[], tuple[Any, SpeechArchitecture]],
        spec: SoundExtractorSpec,
        parameters: Mapping[str, Any],
        device: str,
    ) -> None:
        """Convert a network, or take what was converted before; then `network`, which builds it, is not called."""
        check_on_cpu(spec.name, device)
        whole = converted_once(spec, parameters, lambda: _converted(*network(), spec.precision))
        numbers = whole.numbers
        self._stride, self._field, self._channels = numbers["shape"].tolist()
        self._samples = self._stride * (_PIECE - 1) + self._field
        self._normalised: ChannelNorm | None = None
        if "kernel" in numbers:
            kernel, weight, bias = (numbers[name] for name in _NORM)
            self._normalised = ChannelNorm(kernel, weight, bias, float(numbers["eps"]), int(numbers["stride"]))
        self._convolutions = Chain(Converted(whole.models[:1], whole.precisions[:1]))
        self._body = Chain(Converted(whole.models[1:], whole.precisions[1:]))

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


def _converted(network: Any, shape: SpeechArchitecture, precision: Precision) -> Converted:
    """The convolutions, the transformer, and what a head says of its states, with what the passes go by."""
    from affstore.models.networks import speech

    layers = speech.convolutions_taken_from(network)
    norm, (stride, field), channels = speech.channel_norm(layers[0]), speech.reach(layers), layers[-1].conv.out_channels
    numbers: dict[str, NDArray[Any]] = {"shape": np.array([stride, field, channels])}
    if norm is not None:
        numbers |= {name: getattr(norm, name) for name in _NORM}
        numbers |= {"eps": np.array(norm.eps), "stride": np.array(norm.stride)}
    front = _convolutions(layers, stride * (_PIECE - 1) + field, norm is not None)
    body = _body(network, shape, channels)
    exact: Precision = "float32" if shape.exact_features else precision
    return Converted((front, *body), (exact, precision, "float32")[: 1 + len(body)], numbers)


def _convolutions(layers: Sequence[Any], samples: int, normalised: bool) -> Any:
    """From a piece of sound, and how its first channels are normalised, to features."""
    import torch

    from affstore.models.networks.speech import Convolutions

    scales = [torch.zeros(1, layers[0].conv.out_channels, 1)] * 2 if normalised else []
    return converted(Convolutions(layers).eval(), [torch.zeros(1, 1, samples), *scales])


def _body(network: Any, shape: SpeechArchitecture, channels: int) -> list[Any]:
    """From features to states, and from those to embeddings and what a head says, which is always in float32."""
    import torch

    class Part(torch.nn.Module):
        def __init__(self, run: Callable[[Any, torch.Tensor], Any]) -> None:
            super().__init__()
            self.network, self.run = network, run

        def forward(self, signal: torch.Tensor) -> Any:
            return self.run(self.network, signal)

    encoder, features = Part(shape.encode).eval(), torch.zeros(1, channels, _EXAMPLE)
    models = [converted(encoder, [features], [[1, channels, -1]])]
    if shape.head is not None:
        with torch.inference_mode():
            states = torch.zeros(encoder(features).shape)
        models.append(converted(Part(shape.head).eval(), [states], [[1, -1, states.shape[2]]]))
    return models
