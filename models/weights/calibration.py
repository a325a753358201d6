"""Statistics for untrained networks, from pictures that need no download.

A deep network with random kernels and neutral batch norms tells no two pictures apart: its embeddings vary by 1e-5.
Batch norms that know their inputs' statistics undo that, but then what is stranger than the pictures they know grows
from layer to layer; biases that keep SiLU near its straight part undo that in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    import torch

_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""In the public domain or CC0, and part of the scikit-image distribution."""

_NOISE = (0, 2, 8, 20, 40)
"""Standard deviations, in steps of 1/255, taken in turn."""

_BIAS = 0.7
"""Of all batch norms but the last, in standard deviations. With 0, a picture of noise has a 100 times longer embedding
than a face; with 2, all pictures' embeddings are nearly parallel."""

_SLOPE = 0.25
"""Of PReLU for negative numbers, as torch initialises it. With 1 the network would be linear."""


def pictures(count: int, size_px: int, seed: int) -> NDArray[np.uint8]:
    """Seeded RGB pictures `(count, size_px, size_px, 3)`: crops of photographs under other light, with noise."""
    from skimage import data

    random = np.random.Generator(np.random.PCG64(seed))
    photographs = [Image.fromarray(getattr(data, name)()) for name in _PHOTOGRAPHS]
    crops = np.stack([_crop(photographs[i % len(photographs)], size_px, random) for i in range(count)])
    noise = np.resize(_NOISE, count)[:, None, None, None] / 255 * random.standard_normal(crops.shape, np.float32)
    return np.rint((crops + noise).clip(0, 1) * 255).astype(np.uint8)


def _crop(photograph: Image.Image, size_px: int, random: np.random.Generator) -> NDArray[np.floating]:
    """A square of 15 % to all of the short side, with another gamma, colour balance and brightness."""
    side = min(photograph.size) * np.exp(random.uniform(np.log(0.15), 0))
    x, y = (random.uniform(0, length - side) for length in photograph.size)
    crop = photograph.resize((size_px, size_px), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
    light = (np.asarray(crop, np.float32) / 255) ** random.uniform(0.5, 2)
    return (light * random.uniform(0.6, 1.4, 3) + random.uniform(-0.2, 0.2)).clip(0, 1)


def settle_batch_norms(network: torch.nn.Module, batch: torch.Tensor) -> None:
    """Set every batch norm's statistics to those of its own input on `batch`, all biases but the last, PReLU's slopes.

    On one thread: sums over a batch would otherwise depend on how many there are.
    """
    import torch

    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    norms = [module for module in network.modules() if isinstance(module, kinds)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the running statistics become those of this one batch
    for norm in norms[:-1]:
        torch.nn.init.constant_(norm.bias, _BIAS)
    for module in network.modules():
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.constant_(module.weight, _SLOPE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            network(batch)
    finally:
        torch.set_num_threads(threads)
    network.eval()
