"""The networks that parameters may be of, and the names and shapes each one needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from models.networks import efficientnet
from models.networks.staged import Staged
from store.contract.errors import ArchitectureError

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
    """The network in evaluation mode on torch's `meta` device: load parameters with `assign=True`.

    Raises:
        ArchitectureError: there is no such network.
    """
    import torch

    with torch.device("meta"):
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


def _wav2vec2(outputs: int) -> torch.nn.Module:
    """The encoder of wav2vec 2.0 base, which has no outputs of its own."""
    from models.extractors import wav2vec2

    return wav2vec2.network()


def _rename_wav2vec2(name: str) -> str | None:
    from models.extractors import wav2vec2

    return wav2vec2.rename(name)


_ARCHITECTURES: dict[str, Architecture] = {
    "efficientnet_b0": _timm("tf_efficientnet_b0.ns_jft_in1k", efficientnet.staged),
    "efficientnet_b2": _timm("tf_efficientnet_b2.ns_jft_in1k", efficientnet.staged),
    "mobilevitv2_150": _timm("mobilevitv2_150"),
    "wav2vec2_base": Architecture(_wav2vec2, _rename_wav2vec2),
}
