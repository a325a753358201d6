"""Torch modules as OpenVINO's models on a CPU: what its engines for faces and for sound share.

Networks are converted by OpenVINO's own front end; its conversion tool, which reports home, is not used.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import forward_threads
from affstore.models.engines.kept_models import Converted
from affstore.models.extractor_specs import Precision
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_THREADS = 64
_TRACING = threading.Lock()
"""Networks of different kinds are built side by side, but torch traces into one table for the whole process."""
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class Chain:
    """Models that run one after the other. Each calling thread has requests of its own, which use one core."""

    def __init__(self, models: Converted) -> None:
        self._models = [_compiled(one, its) for one, its in zip(models.models, models.precisions, strict=True)]
        self._threads = threading.local()

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """What the last model gives for the inputs of the first."""
        import openvino

        requests = self._requests()
        for index, array in enumerate(inputs):
            tensor = openvino.Tensor(np.ascontiguousarray(array), shared_memory=True)
            requests[0].set_input_tensor(index, tensor)
        requests[0].infer()
        for before, after in pairwise(requests):
            after.set_input_tensor(before.get_output_tensor())  # the same memory
            after.infer()
        return [np.array(tensor.data, np.float32) for tensor in requests[-1].output_tensors]

    def _requests(self) -> list[Any]:
        """This thread's requests."""
        if not hasattr(self._threads, "requests"):
            self._threads.requests = [model.create_infer_request() for model in self._models]
        requests = self._threads.requests
        return list(requests)


def check_on_cpu(name: str, device: str) -> None:
    """See that OpenVINO is asked for on a CPU.

    Raises:
        SpecError: it is not.
    """
    if device != "cpu":
        raise SpecError(f"The engine openvino runs '{name}' on a CPU; found '{device}'. Choose torch for it.")


def converted(part: nn.Module, examples: Sequence[Tensor], shapes: Sequence[Sequence[int]] | None = None) -> Any:
    """A torch module as OpenVINO's model.

    Args:
        part: gives a tensor, or a tuple of them.
        examples: of its inputs.
        shapes: of its inputs, -1 where a length may be any; those of the examples by default.
    """
    import torch
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    inputs = tuple(examples)
    with _TRACING, torch.inference_mode(), warnings.catch_warnings():
        torch.set_num_threads(1)  # as for every pass: see tasks/extract/networks.py
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, but what OpenVINO's front end is best at
        traced = torch.jit.trace(part, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=inputs)  # the front end calls it but does not own it
    model = front_end.convert(front_end.load(decoder))
    wanted = shapes or [list(example.shape) for example in inputs]
    model.reshape({index: PartialShape(list(shape)) for index, shape in enumerate(wanted)})
    return model


def _compiled(model: Any, precision: Precision) -> Any:
    """A model ready to run. One thread a stream: the last bits must not depend on how many cores are free."""
    import openvino

    threads = min(_MOST_THREADS, forward_threads())
    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
