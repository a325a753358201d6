"""The forward passes of MTCNN's three networks, on torch or on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affstore.models.faces.networks import OutputNet, ProposalNet, RefinementNet, load
from affstore.models.faces.specs import DetectorSpec, weights_files

type Pass = Callable[[Tensor], list[NDArray[np.float32]]]
"""From pictures or patches `(n, 3, h, w)` to a network's outputs."""


def load_passes(spec: DetectorSpec, device: torch.device) -> tuple[Pass, Pass, Pass]:
    """P-Net, which takes pictures of any size one by one, and R-Net and O-Net, which take patches in any number.

    Raises:
        WeightsError: the parameters are missing or damaged.
        SpecError: the engine does not run on the device.
    """
    networks = ProposalNet(), RefinementNet(), OutputNet()
    for network, file in zip(networks, weights_files(), strict=True):
        load(network, file)
        network.eval().requires_grad_(False)

    def run(network: nn.Module, *shape: int) -> Pass:
        return _on_openvino(spec, network, device, shape) if spec.engine == "openvino" else _on_torch(network, device)

    proposal, refinement, output = networks
    return (
        run(proposal, 1, 3, -1, -1),
        _padded(run(refinement, -1, 3, 24, 24)),
        _padded(run(output, -1, 3, 48, 48)),
    )


def _on_torch(network: nn.Module, device: torch.device) -> Pass:
    network.to(device).to(memory_format=torch.channels_last)

    def run(pictures: Tensor) -> list[NDArray[np.float32]]:
        return [output.cpu().numpy() for output in network(pictures)]

    return run


def _on_openvino(spec: DetectorSpec, network: nn.Module, device: torch.device, shape: Sequence[int]) -> Pass:
    from affstore.models.engines.kept_models import Converted
    from affstore.models.engines.openvino_models import Chain, check_on_cpu, converted

    check_on_cpu(spec.name, device.type)
    example = torch.zeros([length if length > 0 else 48 for length in shape])
    chain = Chain(Converted((converted(network, [example], [shape]),), (spec.precision,)))

    def run(pictures: Tensor) -> list[NDArray[np.float32]]:
        return chain(pictures.numpy())

    return run


def _padded(run: Pass) -> Pass:
    """A pass in batches of a round number.

    In other batches the last bits of the dense layers follow the number of threads; on some processors they do in any,
    which is why tasks give torch one thread (docs/adr/0005).
    """

    def padded(patches: Tensor) -> list[NDArray[np.float32]]:
        step = 2 if len(patches) <= 4 else 8
        more = -len(patches) % step if len(patches) else step  # OpenVINO takes no empty batch
        filled = nn.functional.pad(patches, (0, 0, 0, 0, 0, 0, 0, more))
        return [output[: len(patches)] for output in run(filled)]

    return padded
