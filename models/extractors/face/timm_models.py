"""Every model of timm as a face network: `timm/NAME`, with the preprocessing of timm's own configuration.

The embedding is the model's pooled output before its classifier. Which weights a name stands for is fixed by timm's
tag, e.g. `timm/vit_small_patch14_dinov2.lvd142m`; a name without one means the tag that this version of timm prefers.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

from affstore.models.extractor_specs import FaceExtractorSpec, Resize, WeightsRef
from affstore.models.extractors.face.network import FaceNetwork
from affstore.models.extractors.registry import register_family
from affstore.models.weights.registry import TIMM
from affstore.store.contract.errors import SpecError


@cache
def spec_for(name: str) -> FaceExtractorSpec:
    """The spec of `timm/NAME`.

    Raises:
        UnknownNameError: timm has no such model, or no such weights of it.
        SpecError: the model gives no vector a picture, or its pictures are not square RGB.
    """
    from affstore.models.networks.timm_models import configuration_of, width_of

    model = name.removeprefix(TIMM)
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
        weights=WeightsRef(f"{TIMM}{tagged}"),
        mean=tuple(found.mean),
        std=tuple(found.std),
        resize=resize,  # type: ignore[arg-type] # one of them, as was seen
    )


register_family("timm", spec_for)(FaceNetwork)
