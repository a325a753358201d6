"""Checkpoints of a training: one file of arrays and JSON that is replaced whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError, StoreUnavailableError, WeightsError
from affstore.store.contract.files import replacing

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

    def as_curve(self) -> dict[str, NDArray[np.float32]]:
        """What was found, one array a name."""
        return {name: np.array([point[name] for point in self.curve], np.float32) for name in self.curve[0]}


def save_checkpoint(folder: Path, key: str, arrays: Mapping[str, NDArray[Any]], progress: Progress) -> None:
    """Replace the folder's checkpoint: a process that is killed leaves the old one or the new one.

    Args:
        folder: is made if need be.
        key: of the training.
        arrays: by name.
        progress: how far it is.

    Raises:
        StoreUnavailableError: the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {_FIELD: json.dumps({"key": key, "progress": asdict(progress)})}
    try:
        with replacing(folder / _NAME) as new:
            save_file({name: np.asarray(one, order="C") for name, one in arrays.items()}, new, metadata)
    except (OSError, SafetensorError) as error:
        raise StoreUnavailableError(f"No checkpoint can be written to '{folder}': {error}. Make room there.") from error


def read_checkpoint(folder: Path, key: str) -> tuple[dict[str, NDArray[Any]], Progress] | None:
    """The folder's checkpoint as arrays and progress; None if there is none.

    Raises:
        SpecError: it is of another training.
        WeightsError: it is damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    path = folder / _NAME
    if not path.exists():
        return None
    again = f"Remove '{folder}' to train from the beginning."
    try:
        with safe_open(path, "np") as file:
            description = json.loads((file.metadata() or {})[_FIELD])
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"The checkpoint '{path}' is damaged: {error!s:.200}. {again}") from error
    if description["key"] != key:
        raise SpecError(f"The checkpoint '{path}' is of another head, other labels or another device. {again}")
    return arrays, Progress(**description["progress"])


def flatten[T](parts: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """Tensors by part and name, as one mapping that a checkpoint can hold."""
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def part_of[T](tensors: Mapping[str, T], part: str) -> dict[str, T]:
    """One part of what `flatten` made."""
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
