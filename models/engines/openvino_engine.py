"""OpenVINO: the fastest engine measured on a CPU (docs/performance.md).

In bfloat16 the spec's first stages stay in float32: rounding the picture and the first, largest maps does most of the
harm to an embedding, and little of the work is done there. Networks are converted by OpenVINO's own front end;
its conversion tool, which reports home, is not used.
"""

from __future__ import annotations

import threading
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import forward_threads
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affstore.models.networks.staged import Staged

_BATCH = 4
"""Its maps stay in the cache: B0 runs at 220 faces/s in fours, 213 in eights, 195 in sixteens, with the same bits."""
_MOST_THREADS = 64


class OpenVinoForward:
    """See `engines.base.Forward`. Each calling thread has a request of its own, which runs on one core."""

    def __init__(self, staged: Staged, spec: FaceExtractorSpec, device: str) -> None:
        if device != "cpu":
            raise SpecError(f"The engine openvino runs '{spec.name}' on a CPU; found '{device}'. Choose torch for it.")
        self.batch = _BATCH
        self._size = spec.size_px
        self._threads = threading.local()
        self._models = _compiled(staged, spec)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Forward.__call__`."""
        import openvino

        requests = self._requests()
        requests[0].set_input_tensor(openvino.Tensor(np.ascontiguousarray(crops), shared_memory=True))
        for request in requests:
            request.infer()
        return np.array(requests[-1].get_output_tensor().data, np.float32)

    def _requests(self) -> list[Any]:
        """This thread's requests; what one gives is, without a copy, what the next one takes."""
        if not hasattr(self._threads, "requests"):
            requests = [model.create_infer_request() for model in self._models]
            for before, after in pairwise(requests):
                after.set_input_tensor(before.get_output_tensor())
            self._threads.requests = requests
        requests = self._threads.requests
        return list(requests)


def _compiled(staged: Staged, spec: FaceExtractorSpec) -> list[Any]:
    """One model, or two where the first stages keep float32."""
    import torch

    pictures = torch.zeros(_BATCH, 3, spec.size_px, spec.size_px)
    first = spec.float32_stages if spec.precision == "bfloat16" else 0
    if first >= len(staged.stages) or not first:
        precision = "float32" if first else spec.precision
        return [_compile(_pictures_first(_convert(_part(staged, 0, None), pictures), spec), precision)]
    front = _part(staged, 0, first)
    with torch.inference_mode():
        maps = torch.zeros(front(pictures).shape)
    return [
        _compile(_pictures_first(_convert(front, pictures), spec), "float32"),
        _compile(_convert(_part(staged, first, None), maps), spec.precision),
    ]


def _part(staged: Staged, begin: int, end: int | None) -> nn.Module:
    """Some stages as a module to trace; the last one gives embedding and outputs side by side."""
    import torch

    class Part(torch.nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            maps = staged.run(maps, begin, end)
            return maps if end is not None else staged.with_outputs(maps)

    return Part().eval()


def _convert(part: nn.Module, example: Tensor) -> Any:
    """A torch module as OpenVINO's model, for the example's shape."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, but what OpenVINO's front end is best at
        traced = torch.jit.trace(part, example, check_trace=False)  # type: ignore[no-untyped-call]
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)  # the front end calls it but does not own it
    model = front_end.convert(front_end.load(decoder))
    model.reshape(list(example.shape))
    return model


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


def _compile(model: Any, precision: str) -> Any:
    """One thread a stream: the last bits must not depend on how many cores are free."""
    import openvino

    threads = min(_MOST_THREADS, forward_threads())
    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
