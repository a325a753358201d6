"""OpenVINO: the fastest engine for faces that was measured on a CPU (docs/performance.md).

In bfloat16 the spec's first stages stay in float32: rounding the picture and the first, largest maps does most of the
harm to an embedding, and little of the work is done there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.kept_models import Converted, converted_once
from affstore.models.engines.openvino_models import Chain, check_on_cpu, converted
from affstore.models.extractor_specs import FaceExtractorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affstore.models.networks.staged import Staged

_BATCH = 4
"""Its maps stay in the cache: B0 runs at 220 faces/s in fours, 213 in eights, 195 in sixteens, with the same bits."""


class OpenVinoForward:
    """See `engines.base.Forward`."""

    def __init__(
        self, staged: Callable[[], Staged], spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str
    ) -> None:
        check_on_cpu(spec.name, device)
        self.batch = _BATCH
        self._chain = Chain(converted_once(spec, parameters, lambda: _converted(staged(), spec)))

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Forward.__call__`."""
        return self._chain(crops)[0]


def _converted(staged: Staged, spec: FaceExtractorSpec) -> Converted:
    """One model, or two where the first stages keep float32."""
    import torch

    pictures = torch.zeros(_BATCH, 3, spec.size_px, spec.size_px)
    first = spec.float32_stages if spec.precision == "bfloat16" else 0
    if first >= len(staged.stages) or not first:
        whole = _pictures_first(converted(_part(staged, 0, None), [pictures]), spec)
        return Converted((whole,), ("float32" if first else spec.precision,))
    front = _part(staged, 0, first)
    with torch.inference_mode():
        maps = torch.zeros(front(pictures).shape)
    models = _pictures_first(converted(front, [pictures]), spec), converted(_part(staged, first, None), [maps])
    return Converted(models, ("float32", spec.precision))


def _part(staged: Staged, begin: int, end: int | None) -> nn.Module:
    """Some stages as a module to trace; the last one gives embedding and outputs side by side."""
    import torch

    class Part(torch.nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            maps = staged.run(maps, begin, end)
            return maps if end is not None else staged.with_outputs(maps)

    return Part().eval()


def _pictures_first(model: Any, spec: FaceExtractorSpec) -> Any:
    """The model with bytes `(n, height, width, 3)` as its input, normalised inside."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    scaled = [[255 * value for value in values] for values in (spec.mean, spec.std)]
    steps.input().preprocess().convert_element_type(Type.f32).mean(scaled[0]).scale(scaled[1])
    steps.input().preprocess().convert_layout(Layout("NCHW"))
    return steps.build()
