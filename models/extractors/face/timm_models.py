"""Every model of timm as a face network: `timm/NAME`, with the preprocessing of timm's own configuration.

The embedding is the model's pooled output before its classifier. Which weights a name stands for is fixed by timm's
tag, e.g. `timm/vit_small_patch14_dinov2.lvd142m`; a name without one means the tag that this version of timm prefers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from affstore.models.engines.footprint import PassBytes, Workload, face_pass_bytes
from affstore.models.extractor_specs import FaceExtractorSpec, Resize, WeightsRef
from affstore.models.extractors.base import ExtractorKind, FaceExtractor
from affstore.models.extractors.face.network import FaceNetwork, untrained_face_network
from affstore.models.extractors.registry import EXTRACTORS
from affstore.models.networks.staged import Staged
from affstore.models.weights.architectures import Architecture, layout
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

PREFIX = "timm/"


class TimmKind(ExtractorKind[FaceExtractorSpec]):
    """All models of timm that give one vector a picture."""

    def spec(self, name: str) -> FaceExtractorSpec:
        """See `ExtractorKind.spec`.

        Raises:
            UnknownNameError: timm has no such model, or no such weights of it.
            SpecError: the model gives no vector a picture, or its pictures are not square RGB.
        """
        return _spec(name)

    def weights(self, name: str) -> WeightsEntry:
        """The weights that timm's own configuration names."""
        from affstore.models.networks.timm_models import configuration_of

        model = name.removeprefix(PREFIX)
        found = configuration_of(model)
        hub = str(found.hf_hub_id or "")
        return WeightsEntry(
            name,
            _architecture(model),
            url=f"https://huggingface.co/{hub}/resolve/main/model.safetensors" if hub else "",
            licence=str(found.license or "none stated"),
            source=f"the configuration of {model} in timm",
            where="timm names no file for it",
        )

    def build(self, spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str) -> FaceExtractor:
        """See `ExtractorKind.build`."""
        return FaceNetwork(spec, self.weights(spec.weights.name), parameters, device)

    def untrained(self, spec: FaceExtractorSpec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`."""
        return untrained_face_network(spec, self.weights(spec.weights.name), seed)

    def pass_bytes(self, spec: FaceExtractorSpec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`."""
        return face_pass_bytes(spec, workload)


@cache
def _spec(name: str) -> FaceExtractorSpec:
    from affstore.models.networks.timm_models import configuration_of, width_of

    model = name.removeprefix(PREFIX)
    found = configuration_of(model)
    channels, height, width = found.input_size
    resize = f"pil_{found.interpolation}"
    if channels != 3 or height != width or resize not in get_args(Resize):
        raise SpecError(
            f"timm's {model} sees {channels} channels of {width}x{height} px, resized by '{found.interpolation}'; a "
            f"face network sees 3 channels, square, resized by {', '.join(get_args(Resize))}. Take another model."
        )
    tagged = model if "." in model or not found.tag else f"{model}.{found.tag}"
    return FaceExtractorSpec(
        name=name,
        version=1,
        width=width_of(model, height),
        size_px=height,
        weights=WeightsRef(f"{PREFIX}{tagged}"),
        mean=tuple(found.mean),
        std=tuple(found.std),
        resize=resize,  # type: ignore[arg-type] # one of them, as was seen
    )


@cache
def _architecture(model: str) -> Architecture:
    """A model without its classifier: what its file holds beside is left out.

    It is built on the CPU, for some models hold tables that no file has, as of relative positions.
    """

    def make(outputs: int) -> torch.nn.Module:
        from affstore.models.networks.timm_models import network

        return network(model)

    def rename(name: str) -> str | None:
        return name if name in layout(architecture, 0) else None

    def staged(network: Any) -> Staged:
        from affstore.models.networks.timm_models import staged

        return staged(network)

    architecture = Architecture(f"{PREFIX}{model}", make, rename, staged, "cpu")
    return architecture


EXTRACTORS.register(PREFIX, TimmKind())
