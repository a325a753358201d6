"""The three networks of MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878) as torch modules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affstore.store.contract.errors import ArchitectureError


def _convolution(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, kernel), nn.PReLU(channels_out)]


def _pool(kernel: int, partial: bool) -> nn.Module:
    """Max pooling by two; `partial` keeps the last, incomplete window."""
    return nn.MaxPool2d(kernel, 2, ceil_mode=partial)


class ProposalNet(nn.Module):
    """P-Net: slides a 12 px window with stride 2 over a picture."""

    def __init__(self) -> None:
        super().__init__()
        first = [*_convolution(3, 10, 3), _pool(2, partial=True)]
        self.trunk = nn.Sequential(*first, *_convolution(10, 16, 3), *_convolution(16, 32, 3))
        # The 1×1 convolutions of the paper as linear layers: as convolutions their last bits follow the thread count.
        self.heads = nn.ModuleList([nn.Linear(32, 4), nn.Linear(32, 2)])

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """From `(1, 3, h, w)` to offsets `(rows, columns, 4)` and scores `(rows, columns)`."""
        features = self.trunk(picture)[0].permute(1, 2, 0)
        return self.heads[0](features), self.heads[1](features).softmax(2)[:, :, 1]


class RefinementNet(nn.Module):
    """R-Net: judges 24 px candidates."""

    def __init__(self) -> None:
        super().__init__()
        first = [*_convolution(3, 28, 3), _pool(3, partial=True)]
        second = [*_convolution(28, 48, 3), _pool(3, partial=False)]
        dense = [nn.Flatten(), nn.Linear(576, 128), nn.PReLU(128)]
        self.trunk = nn.Sequential(*first, *second, *_convolution(48, 64, 2), *dense)
        self.heads = nn.ModuleList([nn.Linear(128, 4), nn.Linear(128, 2)])

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """From `(n, 3, 24, 24)` to offsets `(n, 4)` and scores `(n,)`."""
        features = self.trunk(patches)
        return self.heads[0](features), self.heads[1](features).softmax(1)[:, 1]


class OutputNet(nn.Module):
    """O-Net: judges 48 px candidates and places five landmarks."""

    def __init__(self) -> None:
        super().__init__()
        first = [*_convolution(3, 32, 3), _pool(3, partial=True)]
        second = [*_convolution(32, 64, 3), _pool(3, partial=False)]
        third = [*_convolution(64, 64, 3), _pool(2, partial=True)]
        dense = [nn.Flatten(), nn.Linear(1152, 256), nn.PReLU(256)]
        self.trunk = nn.Sequential(*first, *second, *third, *_convolution(64, 128, 2), *dense)
        self.heads = nn.ModuleList([nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)])

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From `(n, 3, 48, 48)` to offsets `(n, 4)`, landmarks `(n, 10)` (five x, five y) and scores `(n,)`."""
        features = self.trunk(patches)
        return self.heads[0](features), self.heads[1](features), self.heads[2](features).softmax(1)[:, 1]


def load(network: nn.Module, file: Path) -> None:
    """Fill a network with the arrays of a weight file of `mtcnn`, whose digest has been checked.

    Raises:
        ArchitectureError: the arrays are another network's.
    """
    import joblib

    arrays: Sequence[NDArray[np.float32]] = joblib.load(file)
    state = network.state_dict()
    # Each layer keeps its parameters in the order in which Keras lists them.
    if len(arrays) != len(state):
        raise ArchitectureError(f"{file.name} holds {len(arrays)} arrays, {type(network).__name__} needs {len(state)}.")
    for (name, ours), theirs in zip(state.items(), arrays, strict=True):
        array = _from_keras(theirs, tuple(ours.shape))
        if array.shape != tuple(ours.shape):
            raise ArchitectureError(f"{file.name}: '{name}' is {theirs.shape}, which does not fit {tuple(ours.shape)}.")
        ours.copy_(torch.from_numpy(array))


def _from_keras(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of Keras's layout (channels last) in torch's (channels first)."""
    if len(shape) == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if len(shape) == 1:
        return np.ascontiguousarray(array.reshape(-1))
    return _dense_from_keras(array)


def _dense_from_keras(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A dense layer. Those after a convolution were trained on (column, row, channel), the reverse of torch's order."""
    array = array.reshape(-1, array.shape[-1])
    inputs, outputs = array.shape
    channels = {576: 64, 1152: 128}.get(inputs)
    if channels is None:
        return np.ascontiguousarray(array.T)
    side = round((inputs / channels) ** 0.5)
    grid = array.reshape(side, side, channels, outputs)
    return np.ascontiguousarray(grid.transpose(3, 2, 1, 0).reshape(outputs, inputs))
