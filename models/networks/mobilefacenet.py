"""MobileFaceNet (Chen et al., 2018, arXiv:1804.07573), twice as wide, with blocks (1, 4, 6, 2): MT-EmotiMobileFaceNet.

The names of the parameters are those of the published file.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from affstore.models.networks.staged import Staged, chain

WIDTH = 512
"""Of the embedding."""


def network(outputs: int) -> nn.Module:
    """The trunk and its classifier: pictures `(n, 3, 112, 112)` to `(n, outputs)`."""
    return nn.Sequential(OrderedDict(features=MobileFaceNet(), fc=nn.Linear(WIDTH, outputs)))


def staged(network: Any) -> Staged:
    """Stem, six stages of blocks by falling resolution, top."""
    trunk = network.features
    stem, blocks = chain(trunk.layers[0], trunk.layers[1]), trunk.layers[2:]
    return Staged((stem, *blocks, chain(trunk.conv_sep, trunk.features)), network.fc, WIDTH)


class MobileFaceNet(nn.Module):
    """Pictures `(n, 3, 112, 112)` to embeddings `(n, 512)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(3, 128, 3, stride=2),
            # Two channels a group: the published network doubled the channels of this layer but not its groups.
            _convolution(128, 128, 3, groups=64),
            _bottleneck(128, 128, 128),
            _residuals(128, 128, 4),
            _bottleneck(128, 256, 256),
            _residuals(256, 256, 6),
            _bottleneck(256, 256, 512),
            _residuals(256, 256, 2),
        )
        self.conv_sep = _convolution(256, WIDTH, 1)
        self.features = _depthwise_pooling(WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        """One after the other."""
        embedding: Tensor = self.features(self.conv_sep(self.layers(pictures)))
        return embedding


class Layers(nn.Module):
    """Layers one after the other, with or without their input added to what comes out."""

    def __init__(self, *layers: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.layers(maps)
        return maps + found if self.residual else found


def _convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> Layers:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return Layers(convolution, nn.BatchNorm2d(width), nn.PReLU(width))


def _linear(channels: int, width: int, kernel: int = 1, groups: int = 1) -> Layers:
    """A convolution without padding and without an activation."""
    return Layers(nn.Conv2d(channels, width, kernel, groups=groups, bias=False), nn.BatchNorm2d(width))


def _bottleneck(channels: int, width: int, inner: int, residual: bool = False) -> Layers:
    """Up to `inner` channels, a depthwise convolution, down to `width`; at half the resolution unless residual."""
    return Layers(
        _convolution(channels, inner, 1),
        _convolution(inner, inner, 3, stride=1 if residual else 2, groups=inner),
        _linear(inner, width),
        residual=residual,
    )


def _residuals(width: int, inner: int, count: int) -> Layers:
    return Layers(*(_bottleneck(width, width, inner, residual=True) for _ in range(count)))


def _depthwise_pooling(width: int) -> Layers:
    """Maps `(n, width, 7, 7)` to the embedding: a weight for each place of each channel, then a linear layer."""
    return Layers(
        _linear(width, width, 7, groups=width),
        nn.Flatten(),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
    )
