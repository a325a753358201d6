"""Models of timm that give one vector a picture, as timm builds and configures them, cut into stages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from affstore.models.networks.staged import Staged, chain
from affstore.store.contract.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    import torch


@cache
def configuration_of(model: str) -> Any:
    """What timm knows of a model's published weights: input size, mean, std, interpolation, file and licence.

    Args:
        model: a name of timm, with or without the tag of its weights, e.g. `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        UnknownNameError: timm has no such model; the message suggests the nearest.
    """
    import timm

    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise UnknownNameError.of("model of timm", model, timm.list_models())
    known = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    # Of a model without published weights, timm calls the configuration by a tag of its own, as `untrained`.
    own = getattr(timm.models.get_pretrained_cfg(architecture), "tag", None)
    if tag and tag not in (*known, own):
        raise UnknownNameError.of(f"set of weights of timm's {architecture}", tag, known)
    return timm.models.get_pretrained_cfg(model)


def network(model: str) -> torch.nn.Module:
    """A model of timm without its classifier: it gives the pooled output, `(n, width)`."""
    import timm

    built: torch.nn.Module = timm.create_model(model.partition(".")[0], pretrained=False, num_classes=0)
    return built


@cache
def width_of(model: str, size_px: int) -> int:
    """The length of the vector that a model gives of a picture, found by its shapes alone.

    Raises:
        SpecError: it gives no vector, or cannot see a picture of its own size.
    """
    import torch

    try:
        with torch.device("meta"), torch.inference_mode():
            output = network(model).eval()(torch.empty(1, 3, size_px, size_px))
    except (RuntimeError, ValueError, AssertionError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"timm's {model} cannot embed a picture of {size_px} px: {reason}.") from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise SpecError(
            f"timm's {model} gives no vector a picture but {found}, so it is no face network. Take another."
        )
    return int(output.shape[1])


def staged(network: Any) -> Staged:
    """The whole model as one stage, without outputs beside the embedding."""
    width = int(getattr(network, "head_hidden_size", 0) or network.num_features)
    return Staged((chain(network),), None, width)


def staged_efficientnet(network: Any) -> Staged:
    """EmotiEffNet, with TensorFlow's "same" padding: stem, seven stages of blocks, head and pooling."""
    stem = chain(network.conv_stem, network.bn1)
    top = chain(network.conv_head, network.bn2, network.global_pool)
    return Staged((stem, *network.blocks, top), network.classifier, network.num_features)


def staged_mobilevit(network: Any) -> Staged:
    """MobileViTv2 (arXiv:2206.02680): stem, five stages (two of convolutions, three with attention), pooling."""
    top = chain(network.final_conv, network.head.global_pool)
    return Staged((network.stem, *network.stages, top), network.head.fc, network.num_features)
