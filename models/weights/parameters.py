"""Parameters in a file of their own, under the digest of what they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affstore.models.weights.records import writing_to
from affstore.store.contract.errors import WeightsDigestError
from affstore.store.contract.files import replacing
from affstore.store.contract.keys import digest_arrays

if TYPE_CHECKING:
    import torch


def digest_parameters(parameters: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the parameters themselves: names, dtypes, shapes and numbers, in the order of the names."""
    return digest_arrays({name: tensor.numpy() for name, tensor in parameters.items()})


def read_parameters(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The parameters in a file of affstore's own, checked.

    Raises:
        WeightsDigestError: the file is damaged.
    """
    import safetensors
    import safetensors.torch

    try:
        parameters: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsDigestError(f"{path} is damaged ({error}). Delete it and fetch the weights again.") from error
    if (found := digest_parameters(parameters)) != sha256:
        raise WeightsDigestError(f"{path} now has the digest {found[:12]}. Delete it and fetch the weights again.")
    return parameters


def write_parameters(path: Path, parameters: dict[str, torch.Tensor]) -> None:
    """Put the parameters in place of whatever was there, whole.

    Raises:
        WeightsError: the folder cannot be written.
    """
    import safetensors
    import safetensors.torch

    with writing_to(path.parent), replacing(path) as new:
        try:
            safetensors.torch.save_file(parameters, new)
        except safetensors.SafetensorError as error:
            raise OSError(error) from error  # there is no room
