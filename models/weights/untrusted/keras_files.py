"""Weights that Keras wrote to HDF5, opened with distrust.

Only plain arrays of float32 that lie in the file itself are read: no links, no other files, no compression or other
filters, and nothing larger inside than the file is.
"""

from __future__ import annotations

import gzip
import io
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affstore.store.contract.errors import ArchitectureError, WeightsError

if TYPE_CHECKING:
    import torch

LARGEST_BYTES = 64 << 20
"""More than any file of weights in the registry takes when unpacked."""

_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, zlib.error)
"""What gzip and h5py may raise over a damaged file."""

_MOST_LAYERS = 1000

_WHOLE_MODEL = "model_weights"
"""The group that holds the weights where Keras wrote the network, too."""


def read_gzipped_keras(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of the layers that have any, in the order in which the file lists them, as torch lays them out.

    Layers are counted and not named: Keras takes them in order, and the names in old files depend on what else their
    writer had built.

    Returns:
        By names like `3.gamma`: the fourth layer with arrays, and the last part of the array's name.

    Raises:
        ArchitectureError: the file is HDF5 but not weights of Keras.
        WeightsError: it is damaged, or asks for what weights do not need.
    """
    return _read(path.name, _unpack(path))


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """The same of a file that is not under gzip, and that may hold a whole model: its weights alone are read.

    Raises:
        ArchitectureError: the file is HDF5 but holds no weights of Keras.
        WeightsError: it is damaged, or asks for what weights do not need.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= LARGEST_BYTES else b""
    except OSError as error:
        raise WeightsError(f"'{path.name}' cannot be read: {error}.") from error
    if size > LARGEST_BYTES:
        raise WeightsError(f"'{path.name}' takes more than {LARGEST_BYTES >> 20} MiB, which no weights here do.")
    return _read(path.name, content)


def _read(name: str, content: bytes) -> dict[str, torch.Tensor]:
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            whole_model = "layer_names" not in file.attrs and _WHOLE_MODEL in file
            return _arrays(_member(file, _WHOLE_MODEL, name) if whole_model else file, name, len(content))
    except _DAMAGED as error:
        raise WeightsError(
            f"'{name}' is not a whole HDF5 file of weights: {error}. It was cut short or is something else; "
            "fetch it again."
        ) from error


def _unpack(path: Path) -> bytes:
    """The bytes inside a gzip file, but never more than `LARGEST_BYTES` of them."""
    try:
        with gzip.open(path) as file:
            unpacked = file.read(LARGEST_BYTES + 1)
    except _DAMAGED as error:
        raise WeightsError(
            f"'{path.name}' is not a whole gzip file: {error}. It was cut short or is something else; fetch it again."
        ) from error
    if len(unpacked) > LARGEST_BYTES:
        raise WeightsError(
            f"'{path.name}' unpacks to more than {LARGEST_BYTES >> 20} MiB, which no weights in the registry take. "
            "It was not read; do not trust it."
        )
    return unpacked


def _arrays(file: Any, name: str, file_bytes: int) -> dict[str, torch.Tensor]:
    import torch

    tensors: dict[str, torch.Tensor] = {}
    total = place = 0
    for layer in _names(file, "layer_names", name):
        group = _member(file, layer, name)
        arrays = _names(group, "weight_names", name)
        for array in arrays:
            dataset = _member(group, array, name)
            total += _checked_bytes(dataset, f"{layer}/{array}", name)
            if total > file_bytes:
                raise WeightsError(f"'{name}' claims {total} bytes of arrays in {file_bytes} bytes. It was not read.")
            values = np.asarray(dataset[()], np.float32)
            kind = array.rpartition("/")[2].partition(":")[0]
            if values.ndim == 4:
                values = values.transpose((2, 3, 0, 1) if kind == "depthwise_kernel" else (3, 2, 0, 1))
            ours = f"{place}.{kind}"
            if ours in tensors:
                raise WeightsError(f"'{name}' lists two arrays '{array}' of '{layer}'. Fetch the file again.")
            tensors[ours] = torch.from_numpy(np.array(values, np.float32, order="C"))
        place += bool(arrays)
    return tensors


def _names(group: Any, attribute: str, name: str) -> list[str]:
    """A list of names that Keras keeps beside a group's members."""
    if attribute not in getattr(group, "attrs", {}):
        raise ArchitectureError(f"'{name}' is HDF5, but no file of weights of Keras: it has no '{attribute}'.")
    found = np.asarray(group.attrs[attribute]).ravel()
    if len(found) > _MOST_LAYERS:
        raise WeightsError(f"'{name}' lists {len(found)} layers. No network has as many; it was not read.")
    return [item.decode() if isinstance(item, bytes) else str(item) for item in found]


def _member(group: Any, path: str, name: str) -> Any:
    """What lies below a group under a path, reached by no link to elsewhere."""
    import h5py

    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or part not in group:
            raise ArchitectureError(f"'{name}' lists '{path}', but does not hold it. Fetch the file again.")
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise WeightsError(f"'{name}' says that '{path}' lies elsewhere. It was not read; do not trust it.")
        group = group[part]
    return group


def _checked_bytes(dataset: Any, path: str, name: str) -> int:
    """How many bytes an array takes, once it is known to be a plain one inside the file."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise ArchitectureError(f"'{name}' holds no array '{path}'. Fetch the file again.")
    plist = dataset.id.get_create_plist()
    plain = plist.get_layout() == h5py.h5d.CONTIGUOUS and not plist.get_nfilters() and not plist.get_external_count()
    if not plain or dataset.dtype != np.float32 or dataset.id.get_offset() is None:
        raise WeightsError(
            f"'{path}' of '{name}' is not a plain float32 array in the file, as Keras writes them. It was not read."
        )
    return prod(dataset.shape) * 4
