"""OpenL3's audio network (Cramer et al. 2019): a small VGG over the spectrogram of one second of sound."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch
from torch import nn

LAYERS = (
    "normalise",
    *(f"{kind}{block}{half}" for block in (1, 2, 3) for half in "ab" for kind in ("conv", "norm")),
    *("conv4a", "norm4a", "audio_embedding_layer"),
)
"""The layers that have parameters, in the order in which the published files hold them."""

_CHANNELS = (1, 64, 128, 256, 512)
_EPS = 1e-3
_KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def network(outputs: int = 0) -> nn.Sequential:
    """From spectrograms `(n, 1, bins, frames)` in dB to features `(n, 512, bins // 8, frames // 8)`.

    Args:
        outputs: there is no classifier, so none.
    """
    layers: list[tuple[str, nn.Module]] = [("normalise", _norm(_CHANNELS[0]))]
    for block, (before, after) in enumerate(pairwise(_CHANNELS[:-1]), 1):
        layers += [*_convolution(f"{block}a", before, after), *_convolution(f"{block}b", after, after)]
        layers.append((f"pool{block}", nn.MaxPool2d(2)))
    layers += _convolution("4a", *_CHANNELS[-2:])
    layers.append(("audio_embedding_layer", nn.Conv2d(_CHANNELS[-1], _CHANNELS[-1], 3, padding=1)))
    return nn.Sequential(OrderedDict(layers))


def rename(name: str) -> str | None:
    """The name of a parameter for one like `3.gamma`, of the fourth layer of a Keras file that has parameters."""
    at, _, kind = name.partition(".")
    known = at.isdecimal() and int(at) < len(LAYERS)
    return f"{LAYERS[int(at)]}.{_KINDS.get(kind, kind)}" if known else name


def pooled(features: torch.Tensor, width: int) -> torch.Tensor:
    """The largest feature of each cell of a grid as embeddings `(n, width)`, in the order bin, frame, channel.

    Keras pads such a pooling to `same`, but every map of OpenL3 divides by its grid, so that there is nothing to pad.

    Args:
        features: `(n, 512, bins, frames)`.
        width: 512 for one cell, 6144 for 4 × 3.
    """
    bins, frames = (4, 3) if width == 6144 else (1, 1)
    cell = (features.shape[2] // bins, features.shape[3] // frames)
    return nn.functional.max_pool2d(features, cell).permute(0, 2, 3, 1).flatten(1)


def folded(trained: nn.Sequential) -> nn.Sequential:
    """The same network with each batch norm but the first inside the convolution before it."""
    layers: dict[str, Any] = dict(trained.named_children())
    for half in [name.removeprefix("norm") for name in layers if name.startswith("norm") and name != "normalise"]:
        layers[f"conv{half}"] = nn.utils.fuse_conv_bn_eval(layers[f"conv{half}"], layers.pop(f"norm{half}"))
    return nn.Sequential(OrderedDict(layers))


def _convolution(name: str, before: int, after: int) -> list[tuple[str, nn.Module]]:
    convolution = nn.Conv2d(before, after, 3, padding=1)
    return [(f"conv{name}", convolution), (f"norm{name}", _norm(after)), (f"relu{name}", nn.ReLU(inplace=True))]


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=_EPS)
    norm.num_batches_tracked = None  # Keras does not count batches
    return norm
