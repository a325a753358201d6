"""The forward passes of MTCNN's three networks, on torch or on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.networks import OUTPUT, PROPOSAL, REFINEMENT, FaceNetwork, parameters
from affstore.models.faces.specs import DetectorSpec, weights_files

Arrays = NDArray[np.float32]
type Pass = Callable[[Arrays], list[Arrays]]
"""From pictures or patches `(n, 3, h, w)` to what a network says of where faces are, and to its scores."""


def load_passes(spec: DetectorSpec, device: str) -> tuple[Pass, Pass, Pass]:
    """P-Net, which takes pictures of any size one by one, and R-Net and O-Net, which take patches in any number.

    Raises:
        WeightsError: the parameters are missing or damaged.
        SpecError: there is no such device here, or the engine does not run on it.
    """
    files = dict(zip((PROPOSAL, REFINEMENT, OUTPUT), weights_files(), strict=True))
    if spec.engine == "openvino":
        from affstore.models.engines.openvino_models import check_on_cpu
        from affstore.models.faces.openvino_passes import OpenVinoPass

        check_on_cpu(spec.name, device)

        def load(network: FaceNetwork) -> Pass:
            return OpenVinoPass(network, parameters(network, files[network]), spec.precision)
    else:
        from affstore.models.engines.torch_network import device_of
        from affstore.models.faces.torch_passes import TorchPass

        on = device_of(device)

        def load(network: FaceNetwork) -> Pass:
            return TorchPass(network, parameters(network, files[network]), on)

    return load(PROPOSAL), _padded(load(REFINEMENT)), _padded(load(OUTPUT))


def _padded(run: Pass) -> Pass:
    """A pass in batches of a round number.

    In other batches the last bits of the dense layers follow the number of threads; on some processors they do in any,
    which is why tasks give torch one thread (docs/adr/0005).
    """

    def padded(patches: Arrays) -> list[Arrays]:
        step = 2 if len(patches) <= 4 else 8
        more = -len(patches) % step if len(patches) else step  # OpenVINO takes no empty batch
        filled = np.concatenate([patches, np.zeros((more, *patches.shape[1:]), np.float32)])
        return [output[: len(patches)] for output in run(filled)]

    return padded
