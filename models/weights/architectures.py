"""The networks that parameters may be of, and the names and shapes each one needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from affstore.models.networks import efficientnet, mobilevit
from affstore.models.networks.staged import Staged
from affstore.models.weights.registry import TIMM
from affstore.store.contract.errors import ArchitectureError

if TYPE_CHECKING:
    import torch

_FIRST_FEW = 3


@dataclass(frozen=True, slots=True)
class Slot:
    """What a parameter has to be: its dtype's name and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without parameters.

    Attributes:
        build: makes it with so many outputs.
        rename: a published parameter's name to ours; None for a parameter that we do not use.
        staged: cuts a face network into stages; None for a sound network.
    """

    build: Callable[[int], torch.nn.Module]
    rename: Callable[[str], str | None]
    staged: Callable[[Any], Staged] | None = None


def build(architecture: str, outputs: int) -> torch.nn.Module:
    """The network in evaluation mode, ready for `load_state_dict(…, assign=True)`.

    Ours are on torch's `meta` device. Some of timm's hold tables that no file has, as of relative positions, so those
    are built on the CPU.

    Raises:
        ArchitectureError: there is no such network.
    """
    import torch

    with torch.device("cpu" if architecture.startswith(TIMM) else "meta"):
        return _architecture(architecture).build(outputs).eval()


def rename(architecture: str, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published parameters under the names our network gives them."""
    ours = _architecture(architecture).rename
    return {new: tensor for old, tensor in parameters.items() if (new := ours(old)) is not None}


def staged(architecture: str, network: torch.nn.Module) -> Staged:
    """A face network that `build` made, cut into stages.

    Raises:
        ArchitectureError: it is no face network.
    """
    cut = _architecture(architecture).staged
    if cut is None:
        raise ArchitectureError(f"'{architecture}' is no face network: it cannot embed faces.")
    return cut(network)


@cache
def layout(architecture: str, outputs: int) -> Mapping[str, Slot]:
    """Every parameter and buffer of the network by name."""
    return {
        name: Slot(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in build(architecture, outputs).state_dict().items()
    }


def check_layout(name: str, parameters: Mapping[str, torch.Tensor], architecture: str, outputs: int) -> None:
    """See that `parameters` are all of this network's and nothing else.

    Raises:
        ArchitectureError: some are missing, superfluous or of another shape; the first few are named.
    """
    wanted = layout(architecture, outputs)
    found = {n: Slot(str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in parameters.items()}
    faults = [f"{n} is missing" for n in wanted if n not in found]
    faults += [f"{n} is superfluous" for n in found if n not in wanted]
    faults += [
        f"{n} is {_say(found[n])}, not {_say(wanted[n])}" for n in wanted if found.get(n, wanted[n]) != wanted[n]
    ]
    if faults:
        more = f" and {len(faults) - _FIRST_FEW} more" if len(faults) > _FIRST_FEW else ""
        raise ArchitectureError(
            f"'{name}' should be a {architecture} with {outputs} outputs, but {'; '.join(faults[:_FIRST_FEW])}{more}. "
            "These are another network's parameters: check which file this is."
        )


def _say(slot: Slot) -> str:
    return f"{slot.dtype} {list(slot.shape)}"


def _architecture(name: str) -> Architecture:
    if name.startswith(TIMM):
        return _any_timm(name.removeprefix(TIMM))
    if name not in _ARCHITECTURES:
        raise ArchitectureError(f"affstore has no network '{name}' yet; it has {', '.join(sorted(_ARCHITECTURES))}.")
    return _ARCHITECTURES[name]


def _timm(model: str, staged: Callable[[Any], Staged] | None = None) -> Architecture:
    """A network of timm. The published classifier may lie in a Sequential; everything else has kept its name."""

    def make(outputs: int) -> torch.nn.Module:
        import timm

        network: torch.nn.Module = timm.create_model(model, pretrained=False, num_classes=outputs)
        return network

    return Architecture(make, lambda name: name.replace("classifier.0.", "classifier."), staged)


def _any_timm(model: str) -> Architecture:
    """A model of timm by name, without its classifier: what its file holds beside is left out."""

    def make(outputs: int) -> torch.nn.Module:
        from affstore.models.networks.timm_models import network

        return network(model)

    def rename(name: str) -> str | None:
        return name if name in layout(f"{TIMM}{model}", 0) else None

    def staged(network: Any) -> Staged:
        from affstore.models.networks.timm_models import staged

        return staged(network)

    return Architecture(make, rename, staged)


def _own(module: str, face: bool = True) -> Architecture:
    """The `network`, `rename` and, of a face network, `staged` of a module of `affstore.models.networks`.

    The module imports torch, so it is imported when it is needed.
    """

    def part(name: str) -> Any:
        return getattr(importlib.import_module(f"affstore.models.networks.{module}"), name)

    return Architecture(
        lambda outputs: part("network")(outputs),
        lambda name: part("rename")(name),
        (lambda network: part("staged")(network)) if face else None,
    )


def _speech(name: str) -> Architecture:
    """A network of `affstore.models.networks.speech`, which imports torch and transformers: when it is needed."""

    def found() -> Any:
        return importlib.import_module("affstore.models.networks.speech").speech(name)

    return Architecture(lambda outputs: found().build(outputs), lambda published: found().rename(published))


_ARCHITECTURES: dict[str, Architecture] = {
    "efficientnet_b0": _timm("tf_efficientnet_b0.ns_jft_in1k", efficientnet.staged),
    "efficientnet_b2": _timm("tf_efficientnet_b2.ns_jft_in1k", efficientnet.staged),
    "mobilevitv2_150": _timm("mobilevitv2_150", mobilevit.staged),
    "mobilefacenet": _own("mobilefacenet"),
    "ddamfn": _own("ddamfn"),
    "openl3": _own("openl3", face=False),
    "wav2vec2_base": _speech("wav2vec2_base"),
    "wav2vec2_large_12_affect": _speech("wav2vec2_large_12_affect"),
    "hubert_base_emotion": _speech("hubert_base_emotion"),
    "hubert_large": _speech("hubert_large"),
}
