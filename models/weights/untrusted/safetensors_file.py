"""The files of safetensors, opened with distrust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affstore.models.weights.untrusted.tree import checked_name
from affstore.store.contract.errors import WeightsError

if TYPE_CHECKING:
    import torch

_LARGEST_HEADER_BYTES = 4 << 20


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name. Nothing in it can be run.

    Raises:
        WeightsError: it is damaged, or its header contradicts itself.
    """
    import safetensors
    import safetensors.torch

    header_bytes = _header_bytes(path)
    try:
        parameters: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"'{path.name}' is not a whole safetensors file: {error!s:.200}. Fetch it again.") from error
    _check_header(path, header_bytes)
    return {checked_name(name, dots=True): tensor for name, tensor in parameters.items()}


def _header_bytes(path: Path) -> int:
    """The length of the header, which has to lie in the file and to be of a sensible size."""
    try:
        with path.open("rb") as file:
            length, size = int.from_bytes(file.read(8), "little"), file.seek(0, 2)
    except OSError as error:
        raise WeightsError(f"'{path.name}' cannot be read: {error}.") from error
    if length > min(size - 8, _LARGEST_HEADER_BYTES):
        raise WeightsError(
            f"'{path.name}' is not a whole safetensors file: it claims a header of {length} bytes in {size} bytes. "
            f"Fetch it again."
        )
    return length


def _check_header(path: Path, length: int) -> None:
    """See that no name stands in the header twice, which readers take in different ways."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise WeightsError(f"'{path.name}' names a parameter twice in its header. Do not trust it.")
        return dict(pairs)

    with path.open("rb") as file:
        file.seek(8)
        json.loads(file.read(length), object_pairs_hook=once)
