"""The engines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from affstore.models.engines.base import ENGINES, Forward
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.models.networks.staged import Staged


def forward_of(
    staged: Callable[[], Staged], spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str
) -> Forward:
    """The spec's network on the spec's engine.

    Args:
        staged: builds the network and fills it; not called where it was converted before.
        spec: says which engine.
        parameters: that the network is filled with.
        device: `cpu`, `cuda`, `cuda:0` …

    Raises:
        SpecError: there is no such engine or precision, or it cannot run on this device.
    """
    if spec.precision not in ("float32", "bfloat16"):
        raise SpecError(f"'{spec.name}' runs in float32 or bfloat16; found '{spec.precision}'.")
    if spec.engine == "torch":
        from affstore.models.engines.torch_engine import TorchForward

        return TorchForward(staged(), spec, device)
    if spec.engine == "openvino":
        from affstore.models.engines.openvino_engine import OpenVinoForward

        return OpenVinoForward(staged, spec, parameters, device)
    raise SpecError(f"'{spec.name}' runs on the engines {', '.join(ENGINES)}; found '{spec.engine}'.")
