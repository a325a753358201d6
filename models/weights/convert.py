"""From a published file to the parameters our networks load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.models.weights.architectures import check_layout, rename
from affstore.models.weights.entry import Format, WeightsEntry
from affstore.models.weights.untrusted.archive import read_torch_file
from affstore.models.weights.untrusted.keras_files import read_gzipped_keras, read_keras
from affstore.models.weights.untrusted.safetensors_file import read_safetensors
from affstore.store.contract.errors import ArchitectureError, WeightsError
from affstore.store.contract.printable import some

if TYPE_CHECKING:
    import torch


def read_published(path: Path, entry: WeightsEntry) -> dict[str, torch.Tensor]:
    """Read a published file as the network of its entry needs it. Nothing in the file is run.

    Raises:
        UnsafePickleError: the file asks for something that is not a parameter container.
        ArchitectureError: its parameters are another network's.
        WeightsError: it is damaged or holds numbers that are not finite.
    """
    published = _READERS[entry.format](path)
    convert = entry.architecture.convert if entry.architecture else None
    parameters = convert(published) if convert else _renamed(entry, published)
    check_layout(entry.name, parameters, entry.architecture, entry.outputs)
    odd = [n for n, tensor in parameters.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if odd:
        raise WeightsError(f"'{path.name}' holds NaN or infinity in {some(odd)}. It cannot be used.")
    return parameters


def _renamed(entry: WeightsEntry, published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parameters under our names, each of which may come from one of theirs only."""
    parameters: dict[str, torch.Tensor] = {}
    for name in published:
        ours = rename(entry.architecture, {name: published[name]})
        if twice := parameters.keys() & ours.keys():
            raise ArchitectureError(f"'{entry.name}' would have two parameters '{min(twice)}', one of them '{name}'.")
        parameters.update(ours)
    return parameters


_READERS: Mapping[Format, Callable[[Path], dict[str, torch.Tensor]]] = {
    "torch_module_pickle": read_torch_file,
    "safetensors": read_safetensors,
    "keras_h5": read_keras,
    "keras_h5_gz": read_gzipped_keras,
}
