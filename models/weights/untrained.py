"""Seeded, untrained parameters, so that everything can run before (and without) any download.

They show nothing about faces or voices and every record says so; but they are the same numbers every time, and what
they compute depends on the input as strongly as trained parameters do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import ExtractorSpec
from affstore.models.weights.architectures import Slot

if TYPE_CHECKING:
    import torch

SEED = 0
"""Seed of the untrained parameters that `--weights untrained` stands for."""

_RECIPE = 1
_GAIN, _KERNEL = (f"parametrizations.weight.original{part}" for part in (0, 1))
_GAINS = ("gamma", "scale", "alpha")


@dataclass(frozen=True, slots=True)
class UntrainedRecipe:
    """What untrained parameters depend on.

    Attributes:
        extractor: whose kind draws them.
        seed: of the draw.
        recipe: raised whenever the same seed would give other numbers.
    """

    KIND: ClassVar[str] = "untrained parameters"

    extractor: ExtractorSpec
    seed: int
    recipe: int = _RECIPE

    def __str__(self) -> str:
        return f"untrained: {self.extractor.name} {self.extractor.version}, recipe {self.recipe}, seed {self.seed}"


def draw(layout: Mapping[str, Slot], seed: int) -> dict[str, torch.Tensor]:
    """Seeded parameters of a network: normal kernels, unit gains, zero biases, neutral statistics.

    Convolutions keep the variance going backwards (He, fan out), as EfficientNets are initialised; linear layers keep
    it going forwards.

    Each tensor has a generator of its own, from the seed and its name, so nothing depends on order, threads or torch.
    """
    import torch

    return {name: torch.from_numpy(_draw_one(name, slot, seed)) for name, slot in layout.items()}


def unit_weight_norms(drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with the gain of each weight norm as long as its kernel, which then is the kernel as it was drawn."""
    import torch

    for gain in [name for name in drawn if name.endswith(_GAIN)]:
        squares = np.square(drawn[f"{gain.removesuffix(_GAIN)}{_KERNEL}"].numpy().astype(np.float64))
        over = tuple(i for i, length in enumerate(drawn[gain].shape) if length == 1)
        drawn[gain] = torch.from_numpy(np.sqrt(squares.sum(over, keepdims=True)).astype(np.float32))
    return drawn


def _draw_one(name: str, slot: Slot, seed: int) -> NDArray[np.generic]:
    if len(slot.shape) > 1:
        words = np.frombuffer(hashlib.sha256(f"{seed}\0{name}".encode()).digest(), np.uint32)
        values = np.random.Generator(np.random.PCG64(words)).standard_normal(slot.shape, np.float32)
        return values * np.float32(_scale(slot.shape))
    # A gain of 0, as LayerScale's `gamma` would get, would cut what the layer says out of the network.
    ones = name.endswith(("weight", "running_var")) or any(word in name for word in _GAINS)
    return np.full(slot.shape, 1 if ones else 0, slot.dtype)


def _scale(shape: tuple[int, ...]) -> float:
    """Standard deviation of a kernel's draw; a depthwise kernel `(channels, 1, h, w)` reaches its own channel only."""
    if len(shape) == 2:
        return 1 / sqrt(shape[1])
    reached = 1 if shape[1] == 1 else shape[0]
    return sqrt(2 / (reached * prod(shape[2:])))
