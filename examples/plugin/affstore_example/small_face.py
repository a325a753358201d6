"""An extractor: a small convolutional network on faces of 64 pixels, which torch and OpenVINO can run.

Its weights are nobody's: `--weights untrained` draws them, or `affstore weights import small_face FILE` takes yours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.networks.staged import Staged
from affstore.models.weights.architectures import Architecture
from affstore.models.weights.entry import WeightsEntry

if TYPE_CHECKING:
    from torch import nn

WIDTH = 32


def _network(outputs: int) -> nn.Module:
    from torch import nn

    def layer(inputs: int, channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.SiLU())

    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(layer(3, 8), layer(8, 16), layer(16, WIDTH), pool)


def _staged(network: Any) -> Staged:
    """The layers as stages; there is no classifier."""
    return Staged(tuple(network), None, WIDTH)


class SmallFaceKind(FaceNetworkKind):
    """The network `small_face`."""

    contract = 1
    description = "a small convolutional network, to show how an extractor is added"


EXTRACTOR = SmallFaceKind(
    FaceExtractorSpec("small_face", 1, WIDTH, 64, WeightsRef("small_face")),
    WeightsEntry("small_face", Architecture("small_face", _network, staged=_staged), where="it is only an example"),
)
