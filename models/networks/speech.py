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
        hear: runs it on waveforms `(segments, samples)`.
        inside: what published names begin with and ours do not; a network with a head keeps them as they are.
    """

    width: int
    build: Callable[[int], nn.Module]
    hear: Callable[[Any, Tensor], Heard]
    inside: str = ""

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
    stride, field = _reach(layers)
    outputs = (signal.shape[2] - field) // stride + 1
    starts = range(0, max(outputs - _PIECE, 0) + 1, _PIECE)
    parts = []
    for first, end in pairwise((*starts, outputs)):
        part = signal[:, :, stride * first : stride * (end - 1) + field]
        for layer in layers:
            part = layer(part)
        parts.append(part)
    return torch.cat(parts, 2)


def _reach(layers: Sequence[Any]) -> tuple[int, int]:
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


def _last_states(network: Any, waves: Tensor) -> Heard:
    return network(waves).last_hidden_state, None


def _projected(network: Any, waves: Tensor) -> Heard:
    """The learned mean of the states before and after every layer, projected; the classifier sees its mean over time.

    The arithmetic, and its order, are those of `HubertForSequenceClassification`.
    """
    states = torch.stack(network.hubert(waves, output_hidden_states=True).hidden_states, 1)
    shares = functional.softmax(network.layer_weights, -1).view(-1, 1, 1)
    vectors = network.projector((states * shares).sum(1))
    return vectors, network.classifier(vectors.mean(1))


def _last_states_and_affect(network: Any, waves: Tensor) -> Heard:
    states = network["wav2vec2"](waves).last_hidden_state
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
    "hubert_base_emotion": SpeechArchitecture(256, _emotion, _projected),
    "wav2vec2_large_12_affect": SpeechArchitecture(1024, _affect, _last_states_and_affect),
}
