"""DDAMFN (Zhang et al., 2023, doi:10.3390/electronics12173595): mixed kernels, and attention in two directions.

The names of the parameters are those of the original author's checkpoints, which also hold parameters that nothing is
computed with; `rename` leaves them out.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish

from affstore.models.networks.staged import Staged, chain

WIDTH = 512
"""Of the embedding."""

_UNUSED = re.compile(r"bn\.\w+|cat_head\d\.CoordAtt\.Linear\..+|features\..+\.conv_dw\.(bn|prelu)\.\w+")
"""Leftovers of the original: norms and activations that its forward pass never calls."""


def network(outputs: int) -> nn.Module:
    """Pictures `(n, 3, 112, 112)` to `(n, outputs)`."""
    return DDAMFN(outputs)


def rename(name: str) -> str | None:
    """Names are kept; None for a parameter that takes no part in the forward pass.

    So parameters that differ only in what nobody uses have one digest, and a file may lack them.
    """
    return None if _UNUSED.fullmatch(name) else name


def staged(network: Any) -> Staged:
    """Stem, six stages of blocks by falling resolution, the last convolution, attention and pooling."""
    trunk = network.features
    stem = chain(trunk[0], trunk[1])
    return Staged((stem, *trunk[2:], lambda maps: network.embed(maps)), network.fc, WIDTH)


class DDAMFN(nn.Module):
    """The trunk (MixedFeatureNet), two attention heads, a depthwise pooling and the classifier."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, 64, 3, stride=2),
            _convolution(64, 64, 3, groups=64),
            MixedBottleneck(64, 64, {3: 64, 5: 32, 7: 32}, stride=2),
            _residuals(64, {3: 96, 5: 32}, 9),
            MixedBottleneck(64, 128, {3: 128, 5: 64, 7: 64}, stride=2),
            _residuals(128, {3: 192, 5: 64}, 16),
            MixedBottleneck(128, 256, {3: 256, 5: 256, 7: 256, 9: 256}, stride=2),
            _residuals(256, {3: 172, 5: 170, 7: 170}, 6),
            _convolution(256, WIDTH, 1),
        )
        self.cat_head0, self.cat_head1 = _head(), _head()
        self.Linear = _linear(WIDTH, WIDTH, (7, 7), groups=WIDTH)
        self.fc = nn.Linear(WIDTH, outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        """See `network`."""
        outputs: Tensor = self.fc(self.embed(self.features(pictures)))
        return outputs

    def embed(self, maps: Tensor) -> Tensor:
        """Maps of the trunk `(n, 512, 7, 7)` to embeddings `(n, 512)`: at each place, the head that attends most."""
        attention = torch.maximum(self.cat_head0(maps), self.cat_head1(maps))
        embedding: Tensor = self.Linear(maps * attention).flatten(1)
        return embedding


class CoordinateAttention(nn.Module):
    """Factors in (0, 1), of the input's shape: one a row times one a column (Hou et al., 2021, arXiv:2103.02907)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(8, width // 32)
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.conv3 = nn.Conv2d(inner, width, 1), nn.Conv2d(inner, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps `(n, channels, height, width)` to factors of the same shape."""
        rows, columns = self._along_rows(maps), self._along_columns(maps).transpose(2, 3)
        both = hardswish(self.bn1(self.conv1(torch.cat([rows, columns], 2))))
        rows, columns = torch.split(both, [rows.shape[2], columns.shape[2]], 2)
        attention: Tensor = self.conv2(rows).sigmoid() * self.conv3(columns.transpose(2, 3)).sigmoid()
        return attention

    def _along_rows(self, maps: Tensor) -> Tensor:
        """What a row is known by, its mean: `(n, channels, height, 1)`."""
        return maps.mean(3, keepdim=True)

    def _along_columns(self, maps: Tensor) -> Tensor:
        """What a column is known by, its mean: `(n, channels, 1, width)`."""
        return maps.mean(2, keepdim=True)


class DirectedAttention(CoordinateAttention):
    """The same with learnt weights for each place in a row or column of maps `(n, channels, 7, 7)`, not means."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.Linear_h = _linear(width, width, (1, 7), groups=width)
        self.Linear_w = _linear(width, width, (7, 1), groups=width)

    def _along_rows(self, maps: Tensor) -> Tensor:
        weighted: Tensor = self.Linear_h(maps)
        return weighted

    def _along_columns(self, maps: Tensor) -> Tensor:
        weighted: Tensor = self.Linear_w(maps)
        return weighted


class MixedConvolution(nn.Module):
    """Depthwise convolutions of several kernel sizes, each over its share of the channels."""

    def __init__(self, shares: dict[int, int], stride: int) -> None:
        super().__init__()
        self.shares = list(shares.values())
        self.mixed_depthwise_conv = nn.ModuleList(
            nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
            for kernel, width in shares.items()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        parts = torch.split(maps, self.shares, 1)
        return torch.cat([conv(part) for conv, part in zip(self.mixed_depthwise_conv, parts, strict=True)], 1)


class MixedBottleneck(nn.Module):
    """Up to as many channels as the shares add up to, mixed convolution, attention, down again."""

    def __init__(self, channels: int, width: int, shares: dict[int, int], stride: int = 1) -> None:
        super().__init__()
        inner = sum(shares.values())
        self.conv = _convolution(channels, inner, 1)
        self.conv_dw = MixedConvolution(shares, stride)
        self.CA = CoordinateAttention(inner)
        self.project = _linear(inner, width)
        self.residual = stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        """With its input added, unless it halves the resolution."""
        mixed = self.conv_dw(self.conv(maps))
        found: Tensor = self.project(mixed * self.CA(mixed))
        return maps + found if self.residual else found


def _residuals(width: int, shares: dict[int, int], count: int) -> nn.Sequential:
    blocks = nn.Sequential(*(MixedBottleneck(width, width, shares) for _ in range(count)))
    return nn.Sequential(OrderedDict(model=blocks))


def _head() -> nn.Sequential:
    return nn.Sequential(OrderedDict(CoordAtt=DirectedAttention(WIDTH)))


def _convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, bn=nn.BatchNorm2d(width), prelu=nn.PReLU(width)))


def _linear(channels: int, width: int, kernel: tuple[int, int] = (1, 1), groups: int = 1) -> nn.Sequential:
    """A convolution without padding and without an activation."""
    convolution = nn.Conv2d(channels, width, kernel, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, bn=nn.BatchNorm2d(width)))
