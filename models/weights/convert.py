"""From a published file to the parameters our networks load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.weights.architectures import check_layout, rename
from models.weights.archive import read_torch_file
from models.weights.registry import WeightsEntry
from store.contract.errors import WeightsError

if TYPE_CHECKING:
    import torch


def read_published(path: Path, entry: WeightsEntry) -> dict[str, torch.Tensor]:
    """Read a published file as the network of its entry needs it. Nothing in the file is run.

    Raises:
        UnsafePickleError: the file asks for something that is not a parameter container.
        ArchitectureError: its parameters are another network's.
        WeightsError: it is damaged or holds numbers that are not finite.
    """
    published = read_torch_file(path) if entry.format == "torch_module_pickle" else _read_safetensors(path)
    parameters = rename(entry.architecture, published)
    check_layout(entry.name, parameters, entry.architecture, entry.outputs)
    odd = [n for n, tensor in parameters.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if odd:
        raise WeightsError(f"'{path.name}' holds NaN or infinity in {', '.join(odd[:3])}. It cannot be used.")
    return parameters


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        parameters: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsError(f"'{path.name}' is not a whole safetensors file: {error}. Fetch it again.") from error
    return parameters
