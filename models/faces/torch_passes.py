"""MTCNN's networks on torch: on a GPU, and what those on OpenVINO are held to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affstore.models.faces.networks import Convolution, Dense, FaceNetwork, Pool


class TorchPass:
    """See `passes.Pass`."""

    def __init__(self, network: FaceNetwork, parameters: Sequence[NDArray[np.float32]], device: torch.device) -> None:
        self._module = _Module(network)
        self._module.load_state_dict(
            dict(zip(self._module.state_dict(), map(torch.from_numpy, parameters), strict=True))
        )
        self._module.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        self._device = device

    @torch.inference_mode()
    def __call__(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """See `passes.Pass`."""
        outputs = self._module(torch.from_numpy(pictures).to(self._device))
        return [output.cpu().numpy() for output in outputs]


class _Module(nn.Module):
    """The network; its parameters are in the order of `FaceNetwork.shapes`."""

    def __init__(self, network: FaceNetwork) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(module for layer in network.layers for module in _modules(layer)))
        self.ends = nn.ModuleList([nn.Linear(network.width, outputs) for outputs in (*network.places, 2)])
        self._slides = network.side_px is None

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        features = self.trunk(pictures)
        if self._slides:
            features = features[0].permute(1, 2, 0)
        *places, scores = (end(features) for end in self.ends)
        return *places, scores.softmax(-1)[..., 1]


def _modules(layer: Convolution | Pool | Dense) -> list[nn.Module]:
    match layer:
        case Convolution(channels_in, channels_out, kernel_px):
            return [nn.Conv2d(channels_in, channels_out, kernel_px), nn.PReLU(channels_out)]
        case Pool(kernel_px, partial):
            return [nn.MaxPool2d(kernel_px, 2, ceil_mode=partial)]
        case Dense(inputs, outputs):
            return [nn.Flatten(), nn.Linear(inputs, outputs), nn.PReLU(outputs)]
