"""A network without parameters, and the names and shapes of the parameters it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from affstore.models.networks.staged import Staged
from affstore.store.contract.errors import ArchitectureError
from affstore.store.contract.printable import some

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Slot:
    """What a parameter has to be: its dtype's name and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without parameters.

    Attributes:
        name: what messages call it.
        make: builds it with so many outputs.
        rename: a published parameter's name to ours; None for a parameter that we do not use.
        staged: cuts a face network into stages; None for a sound network.
        convert: from all published parameters to ours, for a network whose names one by one do not say; `rename` is not
            asked then.
        device: where it is built: `cpu` for a network that holds tables which no file has, as of relative positions.
    """

    name: str
    make: Callable[[int], torch.nn.Module]
    rename: Callable[[str], str | None] = str
    staged: Callable[[Any], Staged] | None = None
    device: Literal["meta", "cpu"] = "meta"
    convert: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None


def timm_network(name: str, model: str, staged: Callable[[Any], Staged]) -> Architecture:
    """A network of timm. The published classifier may lie in a Sequential; everything else has kept its name."""

    def make(outputs: int) -> torch.nn.Module:
        import timm

        network: torch.nn.Module = timm.create_model(model, pretrained=False, num_classes=outputs)
        return network

    return Architecture(name, make, lambda published: published.replace("classifier.0.", "classifier."), staged)


def own_network(module: str, face: bool = True) -> Architecture:
    """The `network`, `rename` and, of a face network, `staged` of a module of `affstore.models.networks`.

    A module without `rename` keeps the published names. It imports torch, so it is imported when it is needed.
    """

    def part(name: str, *default: Any) -> Any:
        return getattr(importlib.import_module(f"affstore.models.networks.{module}"), name, *default)

    return Architecture(
        module,
        lambda outputs: part("network")(outputs),
        lambda published: part("rename", str)(published),
        (lambda network: part("staged")(network)) if face else None,
    )


def build(architecture: Architecture | None, outputs: int) -> torch.nn.Module:
    """The network in evaluation mode, ready for `load_state_dict(…, assign=True)`.

    Raises:
        ArchitectureError: there is none, as for an extractor that runs with untrained parameters alone.
    """
    import torch

    if architecture is None:
        raise ArchitectureError("This extractor states no network, so no file of parameters can be read for it.")
    with torch.device(architecture.device):
        return architecture.make(outputs).eval()


def rename(architecture: Architecture | None, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published parameters under the names our network gives them."""
    ours = architecture.rename if architecture else str
    return {new: tensor for old, tensor in parameters.items() if (new := ours(old)) is not None}


def staged(architecture: Architecture | None, network: torch.nn.Module) -> Staged:
    """A face network that `build` made, cut into stages.

    Raises:
        ArchitectureError: it is no face network.
    """
    if architecture is None or architecture.staged is None:
        raise ArchitectureError(f"'{architecture and architecture.name}' is no face network: it cannot embed faces.")
    return architecture.staged(network)


@cache
def layout(architecture: Architecture | None, outputs: int) -> Mapping[str, Slot]:
    """Every parameter and buffer of the network by name."""
    return {
        name: Slot(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in build(architecture, outputs).state_dict().items()
    }


def check_layout(
    name: str, parameters: Mapping[str, torch.Tensor], architecture: Architecture | None, outputs: int
) -> None:
    """See that `parameters` are all of this network's and nothing else.

    Raises:
        ArchitectureError: some are missing, superfluous or of another shape; the first few are named.
    """
    expected = layout(architecture, outputs)
    found = {n: Slot(str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in parameters.items()}
    faults = [f"{n} is missing" for n in expected if n not in found]
    faults += [f"{n} is superfluous" for n in found if n not in expected]
    faults += [
        f"{n} is {_say(found[n])}, not {_say(expected[n])}"
        for n in expected
        if found.get(n, expected[n]) != expected[n]
    ]
    if faults:
        raise ArchitectureError(
            f"'{name}' should be a {architecture and architecture.name} with {outputs} outputs, but "
            f"{some(faults, between='; ')}. These are another network's parameters: check which file this is."
        )


def _say(slot: Slot) -> str:
    return f"{slot.dtype} {list(slot.shape)}"
