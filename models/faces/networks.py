"""The three networks of MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878): their layers and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import ArchitectureError


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution without padding, and a PReLU with a slope for each channel."""

    channels_in: int
    channels_out: int
    kernel_px: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Max pooling by two.

    Attributes:
        kernel_px: side of its windows.
        partial: whether the last, incomplete window counts.
    """

    kernel_px: int
    partial: bool


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer, and a PReLU with a slope for each output; the first of them sees all maps in one row."""

    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class FaceNetwork:
    """One network of the cascade. All that it says is linear in what its last layer gives.

    Attributes:
        name: that the paper gives it.
        side_px: of the patches that it judges; None where it slides over pictures of any size.
        layers: one after the other.
        width: of the last layer.
        places: how many numbers it says of where a face is, each by a linear layer of its own; two scores come last,
            whose softmax is the probability of a face.
    """

    name: str
    side_px: int | None
    layers: tuple[Convolution | Pool | Dense, ...]
    width: int
    places: tuple[int, ...]

    @property
    def shapes(self) -> Iterator[tuple[int, ...]]:
        """Of the parameters, in their order: each layer's weight, bias and slopes, then weight and bias of the ends."""
        for layer in self.layers:
            if isinstance(layer, Convolution):
                yield layer.channels_out, layer.channels_in, layer.kernel_px, layer.kernel_px
                yield from ((layer.channels_out,), (layer.channels_out,))
            elif isinstance(layer, Dense):
                yield layer.outputs, layer.inputs
                yield from ((layer.outputs,), (layer.outputs,))
        for outputs in (*self.places, 2):
            yield outputs, self.width
            yield (outputs,)


# The 1×1 convolutions of the paper are linear layers: as convolutions their last bits follow the thread count.
PROPOSAL = FaceNetwork(
    "P-Net",
    None,
    (Convolution(3, 10, 3), Pool(2, partial=True), Convolution(10, 16, 3), Convolution(16, 32, 3)),
    width=32,
    places=(4,),
)
REFINEMENT = FaceNetwork(
    "R-Net",
    24,
    (
        *(Convolution(3, 28, 3), Pool(3, partial=True)),
        *(Convolution(28, 48, 3), Pool(3, partial=False)),
        *(Convolution(48, 64, 2), Dense(576, 128)),
    ),
    width=128,
    places=(4,),
)
OUTPUT = FaceNetwork(
    "O-Net",
    48,
    (
        *(Convolution(3, 32, 3), Pool(3, partial=True)),
        *(Convolution(32, 64, 3), Pool(3, partial=False)),
        *(Convolution(64, 64, 3), Pool(2, partial=True)),
        *(Convolution(64, 128, 2), Dense(1152, 256)),
    ),
    width=256,
    places=(4, 10),  # five x, five y
)


def parameters(network: FaceNetwork, file: Path) -> list[NDArray[np.float32]]:
    """A network's parameters from a weight file of `mtcnn`, whose digest has been checked, in the network's order.

    Raises:
        ArchitectureError: the arrays are another network's.
    """
    import joblib

    arrays: Sequence[NDArray[np.float32]] = joblib.load(file)
    shapes = list(network.shapes)
    # Each layer keeps its parameters in the order in which Keras lists them.
    if len(arrays) != len(shapes):
        raise ArchitectureError(f"{file.name} holds {len(arrays)} arrays, {network.name} needs {len(shapes)}.")
    read = [_from_keras(array, shape) for array, shape in zip(arrays, shapes, strict=True)]
    for array, shape in zip(read, shapes, strict=True):
        if array.shape != shape:
            raise ArchitectureError(f"{file.name} holds an array {array.shape} where {network.name} has {shape}.")
    return read


def _from_keras(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of Keras's layout (channels last) with channels first."""
    if len(shape) == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if len(shape) == 1:
        return np.ascontiguousarray(array.reshape(-1))
    return _dense_from_keras(array)


def _dense_from_keras(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A dense layer. Those after a convolution were trained on (column, row, channel), the reverse of our order."""
    array = array.reshape(-1, array.shape[-1])
    inputs, outputs = array.shape
    channels = {576: 64, 1152: 128}.get(inputs)
    if channels is None:
        return np.ascontiguousarray(array.T)
    side = round((inputs / channels) ** 0.5)
    grid = array.reshape(side, side, channels, outputs)
    return np.ascontiguousarray(grid.transpose(3, 2, 1, 0).reshape(outputs, inputs))
