"""MTCNN's networks on OpenVINO, written in its own operators: neither torch nor a conversion is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from affstore.models.engines.kept_models import Converted
from affstore.models.engines.openvino_models import Chain
from affstore.models.extractor_specs import Precision
from affstore.models.faces.networks import Convolution, Dense, FaceNetwork, Pool

Arrays = Iterator[NDArray[np.float32]]


class OpenVinoPass:
    """See `passes.Pass`."""

    def __init__(self, network: FaceNetwork, parameters: Sequence[NDArray[np.float32]], precision: Precision) -> None:
        self._chain = Chain(Converted((_model(network, iter(parameters)),), (precision,)))

    def __call__(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """See `passes.Pass`."""
        return self._chain(pictures)


def _model(network: FaceNetwork, arrays: Arrays) -> Any:
    """The network, whose parameters are taken one after the other."""
    side = network.side_px
    shape = [1, 3, -1, -1] if side is None else [-1, 3, side, side]
    pictures = opset13.parameter(openvino.PartialShape(shape), np.float32)
    features: Any = pictures
    for layer in network.layers:
        features = _after(layer, features, arrays)
    if side is None:
        features = opset13.transpose(opset13.squeeze(features, [0]), [1, 2, 0])
    *places, scores = [_linear(features, arrays) for _ in (*network.places, 2)]
    face = opset13.gather(opset13.softmax(scores, -1), np.int64(1), np.int64(-1))
    return openvino.Model([*places, face], [pictures], network.name)


def _after(layer: Convolution | Pool | Dense, features: Any, arrays: Arrays) -> Any:
    """What a layer makes of features."""
    match layer:
        case Convolution():
            maps = opset13.convolution(features, next(arrays), [1, 1], [0, 0], [0, 0], [1, 1])
            biased = opset13.add(maps, next(arrays).reshape(1, -1, 1, 1))
            return opset13.prelu(biased, next(arrays))
        case Pool(kernel_px, partial):
            rounding = "ceil" if partial else "floor"
            pool = opset13.max_pool(features, [2, 2], [1, 1], [0, 0], [0, 0], [kernel_px, kernel_px], rounding)
            return pool.output(0)
        case Dense(inputs, _):
            rows = opset13.reshape(features, np.array([-1, inputs]), special_zero=False)
            return opset13.prelu(_linear(rows, arrays), next(arrays))


def _linear(features: Any, arrays: Arrays) -> Any:
    weight = next(arrays)
    return opset13.add(opset13.matmul(features, weight, False, True), next(arrays))
