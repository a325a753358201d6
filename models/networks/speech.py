"""wav2vec 2.0 and HuBERT as `transformers` builds them, with the heads of the models for emotion.

Their convolutions turn 80,000 samples a second into 50 features through layers as long as the sound: 16 to 22 MiB for
each second. Here they run over a few seconds at a time, on inputs that overlap as far as the kernels reach, so that
only the features are as long as the sound; the numbers are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import HubertConfig, HubertForSequenceClassification, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from affstore.models.networks.channel_norm import ChannelNorm
from affstore.store.contract.errors import ArchitectureError

Heard = tuple[Tensor, Tensor | None]
"""Embeddings `(segments, vectors, width)`, and what a head says of each segment `(segments, outputs)`."""

_PIECE = 100
"""Features at a time: 2 s. A last piece of fewer than some 30 would get other kernels, whose bits differ."""

_CHANNELS = 64
"""Channels of the first layer at a time, where each one is normalised over the whole sound."""

_POSITION = "encoder.pos_conv_embed.conv."
_PRESENT = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    # No masking: it is for training only, and not every published file has its parameter.
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "attn_implementation": "sdpa",
}
_LARGE: dict[str, Any] = _BASE | {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}


@dataclass(frozen=True, slots=True)
class SpeechArchitecture:
    """A speech network without parameters.

    Attributes:
        width: of its embeddings.
        build: makes it with so many outputs.
        encode: waveforms `(segments, samples)` to states `(segments, vectors, n)`.
        head: states to embeddings, and a head's outputs.
        inside: what published names begin with and ours do not; a network with a head keeps them as they are.
        exact_features: whether convolutions stay in float32 where the rest is in bfloat16: their rounded weights move
            all states the same way, so that the mean of a segment's, which an affect head sees, is as far off as each.
    """

    width: int
    build: Callable[[int], nn.Module]
    encode: Callable[[Any, Tensor], Tensor]
    head: Callable[[Any, Tensor], Heard] | None = None
    inside: str = ""
    exact_features: bool = False

    def forward(self, network: Any, waves: Tensor) -> Heard:
        """Run the network on waveforms `(segments, samples)`."""
        states = self.encode(network, waves)
        return (states, None) if self.head is None else self.head(network, states)

    def rename(self, name: str) -> str | None:
        """A published parameter's name as ours; None for a recogniser's last layer and for the training mask."""
        name = name.removeprefix(self.inside)
        if name.startswith("lm_head.") or name.endswith("masked_spec_embed"):
            return None
        front, position, last = name.rpartition(_POSITION)
        return front + position + _PRESENT.get(last, last)


class Features(nn.Module):
    """The convolutions of wav2vec 2.0 and HuBERT: waveforms `(n, samples)` to features `(n, 512, vectors)`."""

    def __init__(self, conv_layers: nn.ModuleList) -> None:
        super().__init__()
        self.conv_layers = conv_layers

    def forward(self, waves: Tensor) -> Tensor:
        """The features, a piece at a time."""
        layers: list[Any] = list(self.conv_layers)
        if isinstance(getattr(layers[0], "layer_norm", None), nn.GroupNorm):
            return _in_pieces(layers[1:], _channelwise(layers[0], waves[:, None]))
        return _in_pieces(layers, waves[:, None])


class Convolutions(nn.Module):
    """The convolutions over one piece of sound: `(1, 1, samples)` to features `(1, 512, vectors)`.

    Where the first layer normalises over the whole sound, what that comes to is given to it; see `ChannelNorm`.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.first, self.others = layers[0], nn.Sequential(*layers[1:])

    def forward(self, signal: Tensor, *scale_and_shift: Tensor) -> Tensor:
        """The piece's features."""
        if scale_and_shift:
            scale, shift = scale_and_shift
            signal = self.first.activation(self.first.conv(signal) * scale + shift)
        else:
            signal = self.first(signal)
        features: Tensor = self.others(signal)
        return features


def channel_norm(layer: Any) -> ChannelNorm | None:
    """How a network's first layer normalises; None for one that normalises each moment by itself."""
    norm = getattr(layer, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    kernel, weight, bias = (
        tensor.detach().double().numpy() for tensor in (layer.conv.weight[:, 0], norm.weight, norm.bias)
    )
    return ChannelNorm(kernel, weight, bias, norm.eps, layer.conv.stride[0])


def convolutions_taken_from(network: nn.Module) -> list[Any]:
    """The convolutions of a network, layer by layer; the network is given their features from now on."""
    encoder: Any = next(
        part for part in network.modules() if isinstance(getattr(part, "feature_extractor", None), Features)
    )
    layers = list(encoder.feature_extractor.conv_layers)
    encoder.feature_extractor = nn.Identity()
    return layers


def speech(architecture: str) -> SpeechArchitecture:
    """The speech network of that name.

    Raises:
        ArchitectureError: there is none.
    """
    if architecture not in _SPEECH:
        raise ArchitectureError(f"'{architecture}' is no speech network; those are {', '.join(sorted(_SPEECH))}.")
    return _SPEECH[architecture]


def _channelwise(layer: Any, waves: Tensor) -> Tensor:
    """The first layer where it normalises each channel over all of the sound, some channels at a time."""
    kernel, norm = layer.conv.weight, layer.layer_norm
    whole: Tensor | None = None
    for first in range(0, len(kernel), _CHANNELS):
        some = slice(first, first + _CHANNELS)
        part = functional.conv1d(waves, kernel[some], stride=layer.conv.stride)
        part = functional.group_norm(part, len(kernel[some]), norm.weight[some], norm.bias[some], norm.eps)
        part = layer.activation(part)
        whole = part.new_empty((len(waves), len(kernel), part.shape[2])) if whole is None else whole
        whole[:, some] = part
    return waves if whole is None else whole


def _in_pieces(layers: Sequence[Any], signal: Tensor) -> Tensor:
    """Layers that see no further than their kernels reach, over some outputs at a time; the last piece is longer."""
    stride, field = reach(layers)
    outputs = (signal.shape[2] - field) // stride + 1
    starts = range(0, max(outputs - _PIECE, 0) + 1, _PIECE)
    parts = []
    for first, end in pairwise((*starts, outputs)):
        part = signal[:, :, stride * first : stride * (end - 1) + field]
        for layer in layers:
            part = layer(part)
        parts.append(part)
    return torch.cat(parts, 2)


def reach(layers: Sequence[Any]) -> tuple[int, int]:
    """From one output of a chain of convolutions to the next, and how much one output sees, in inputs."""
    stride, field = 1, 1
    for layer in layers:
        field += stride * (layer.conv.kernel_size[0] - 1)
        stride *= layer.conv.stride[0]
    return stride, field


def _piecewise(encoder: Any) -> Any:
    encoder.feature_extractor = Features(encoder.feature_extractor.conv_layers)
    return encoder


def _emotion(outputs: int) -> nn.Module:
    head = {"use_weighted_layer_sum": True, "classifier_proj_size": 256, "num_labels": outputs}
    network: nn.Module = HubertForSequenceClassification(HubertConfig(**_BASE | head))
    _piecewise(network.hubert)
    return network


def _affect(outputs: int) -> nn.Module:
    width = _LARGE["hidden_size"]
    head = nn.ModuleDict({"dense": nn.Linear(width, width), "out_proj": nn.Linear(width, outputs)})
    return nn.ModuleDict({"wav2vec2": _piecewise(Wav2Vec2Model(Wav2Vec2Config(**_LARGE))), "classifier": head})


def _last_states(network: Any, waves: Tensor) -> Tensor:
    states: Tensor = network(waves).last_hidden_state
    return states


def _mean_states(network: Any, waves: Tensor) -> Tensor:
    """The learned mean of the states before and after every layer.

    The arithmetic, and its order, are those of `HubertForSequenceClassification`.
    """
    states = torch.stack(network.hubert(waves, output_hidden_states=True).hidden_states, 1)
    shares = functional.softmax(network.layer_weights, -1).view(-1, 1, 1)
    return (states * shares).sum(1)


def _projected(network: Any, states: Tensor) -> Heard:
    """The states projected; the classifier sees their mean over time."""
    vectors = network.projector(states)
    return vectors, network.classifier(vectors.mean(1))


def _with_affect(network: Any, states: Tensor) -> Heard:
    head = network["classifier"]
    return states, head["out_proj"](torch.tanh(head["dense"](states.mean(1))))


_SPEECH: dict[str, SpeechArchitecture] = {
    "wav2vec2_base": SpeechArchitecture(
        768, lambda _: _piecewise(Wav2Vec2Model(Wav2Vec2Config(**_BASE))), _last_states, inside="wav2vec2."
    ),
    "hubert_large": SpeechArchitecture(
        1024,
        lambda _: _piecewise(HubertModel(HubertConfig(**_LARGE | {"num_hidden_layers": 24}))),
        _last_states,
        inside="hubert.",
    ),
    "hubert_base_emotion": SpeechArchitecture(256, _emotion, _mean_states, _projected),
    "wav2vec2_large_12_affect": SpeechArchitecture(
        1024,
        _affect,
        lambda network, waves: _last_states(network["wav2vec2"], waves),
        _with_affect,
        exact_features=True,
    ),
}
