"""The forward passes of MTCNN's three networks, on torch or on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable

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
    of_engine = _on_openvino if spec.engine == "openvino" else _on_torch
    proposal, refinement, output = networks
    return (
        of_engine(spec, proposal, device, (1, -1, -1)),
        _padded(of_engine(spec, refinement, device, (-1, 24, 24))),
        _padded(of_engine(spec, output, device, (-1, 48, 48))),
    )


def _on_torch(_: DetectorSpec, network: nn.Module, device: torch.device, shape: tuple[int, int, int]) -> Pass:
    network.to(device).to(memory_format=torch.channels_last)

    def run(pictures: Tensor) -> list[NDArray[np.float32]]:
        return [output.cpu().numpy() for output in network(pictures)]

    return run


def _on_openvino(spec: DetectorSpec, network: nn.Module, device: torch.device, shape: tuple[int, int, int]) -> Pass:
    from affstore.models.engines.openvino_models import Chain, check_on_cpu, compiled, converted

    check_on_cpu(spec.name, device.type)
    count, height, width = shape
    example = torch.zeros(2 if count < 0 else count, 3, max(48, height), max(48, width))
    if height > 0:
        example = example[:, :, :height, :width]
    model = compiled(converted(network, [example], [[count, 3, height, width]]), spec.precision)
    chain = Chain(model)

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
