"""Checkpoints of a training: one file of tensors and JSON that is replaced whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError, StoreUnavailableError, WeightsError
from affstore.store.contract.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

Curve = list[dict[str, float]]

_NAME = "training.safetensors"
_FIELD = "training"


@dataclass(slots=True)
class Progress:
    """How far a training is; plain JSON values.

    Attributes:
        epoch: that is under way or comes next.
        step: batches of it that are done.
        loss: sum over the frames since the last evaluation of their batch's loss.
        frames: since then.
        curve: what was found at each evaluation.
        best: index into the curve of the selected one; -1 before any.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    frames: int = 0
    curve: Curve = field(default_factory=list)
    best: int = -1


def save_checkpoint(folder: Path, key: str, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Replace the folder's checkpoint: a process that is killed leaves the old one or the new one.

    Args:
        folder: is made if need be.
        key: of the training.
        tensors: by name.
        progress: how far it is.

    Raises:
        StoreUnavailableError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    _replace(folder, lambda partial: save_file(dict(tensors), partial, _metadata(key, progress)))


def save_arrays(folder: Path, key: str, arrays: Mapping[str, NDArray[Any]], progress: Progress) -> None:
    """The same for arrays, without torch.

    Raises:
        StoreUnavailableError: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    _replace(folder, lambda partial: save_file(dict(arrays), partial, _metadata(key, progress)))


def read_checkpoint(folder: Path, key: str) -> tuple[dict[str, Tensor], Progress] | None:
    """The folder's checkpoint as tensors and progress; None if there is none.

    Raises:
        SpecError: it is of another training.
        WeightsError: it is damaged.
    """
    from affstore.models.weights.untrusted.safetensors_file import read_safetensors

    return _read(folder, key, read_safetensors)


def read_arrays(folder: Path, key: str) -> tuple[dict[str, NDArray[Any]], Progress] | None:
    """The same as arrays, without torch.

    Raises:
        SpecError: it is of another training.
        WeightsError: it is damaged.
    """
    from safetensors.numpy import load_file

    return _read(folder, key, load_file)


def _metadata(key: str, progress: Progress) -> dict[str, str]:
    return {_FIELD: json.dumps({"key": key, "progress": asdict(progress)})}


def _replace(folder: Path, write: Callable[[Path], object]) -> None:
    """Have the folder's checkpoint written under another name, then let it take the old one's place."""
    from safetensors import SafetensorError

    try:
        with replacing(folder / _NAME) as new:
            write(new)
    except (OSError, SafetensorError) as error:
        raise StoreUnavailableError(f"No checkpoint can be written to '{folder}': {error}. Make room there.") from error


def _read[T](folder: Path, key: str, load: Callable[[Path], dict[str, T]]) -> tuple[dict[str, T], Progress] | None:
    from safetensors import SafetensorError, safe_open

    path = folder / _NAME
    if not path.exists():
        return None
    again = f"Remove '{folder}' to train from the beginning."
    try:
        with safe_open(path, "np") as file:
            description = json.loads((file.metadata() or {})[_FIELD])
        tensors = load(path)
    except (SafetensorError, OSError, ValueError, KeyError, WeightsError) as error:
        raise WeightsError(f"The checkpoint '{path}' is damaged: {error!s:.200}. {again}") from error
    if description["key"] != key:
        raise SpecError(f"The checkpoint '{path}' is of another head, other labels or another device. {again}")
    return tensors, Progress(**description["progress"])


def flatten(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by part and name, as one mapping that a checkpoint can hold."""
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One part of what `flatten` made."""
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
