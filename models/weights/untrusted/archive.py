"""The zip archives that `torch.save` writes, opened with distrust."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.models.weights.untrusted.container import check_end, check_entries
from affstore.models.weights.untrusted.pickles import read_pickle
from affstore.models.weights.untrusted.rebuild import StorageRecord, TensorRecord
from affstore.models.weights.untrusted.tree import flatten
from affstore.store.contract.errors import UnsafePickleError, WeightsError

if TYPE_CHECKING:
    import torch

_DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, OverflowError, ValueError, struct.error)
"""What zipfile may raise over a damaged archive."""

_LARGEST_PICKLE_BYTES = 2 << 20
_KINDS: dict[str, tuple[str, int]] = {
    "Float": ("float32", 4),
    "Double": ("float64", 8),
    "Half": ("float16", 2),
    "BFloat16": ("bfloat16", 2),
    "Long": ("int64", 8),
    "Int": ("int32", 4),
    "Short": ("int16", 2),
    "Char": ("int8", 1),
    "Byte": ("uint8", 1),
    "Bool": ("bool", 1),
}
"""Torch's storage kinds as dtype name and bytes an element."""


def read_torch_file(path: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a pickled module or state dict, named as by `state_dict()`. Nothing of it is run.

    Raises:
        UnsafePickleError: the file asks for something that is not a parameter container.
        ArchitectureError: it holds no module and no state dict.
        WeightsError: it is damaged, or its sizes contradict each other.
    """
    try:
        count = check_end(path)
        with zipfile.ZipFile(path) as file:
            entries = check_entries(file, path, count)
            records = flatten(_pickle(file, entries, path))
            _check_sizes(records, entries, path.stat().st_size)
            tensors = dict(_tensors(records, file, entries))
            return {name: tensors[name] for name in records}
    except _DAMAGED as error:
        raise WeightsError(
            f"'{path.name}' is not a whole torch archive: {error!s:.200}. It was cut short or is something else; "
            f"fetch it again."
        ) from error


def _pickle(file: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], path: Path) -> object:
    if "data.pkl" not in entries or entries["data.pkl"].file_size > _LARGEST_PICKLE_BYTES:
        raise UnsafePickleError(
            f"'{path.name}' has no pickle of a module's size (at most {_LARGEST_PICKLE_BYTES} bytes)."
        )
    if "byteorder" in entries and file.read(entries["byteorder"]) != b"little":
        raise WeightsError(f"'{path.name}' is in big-endian byte order, which is not read. Save it on another machine.")
    return read_pickle(file.read(entries["data.pkl"]))


def _check_sizes(records: dict[str, TensorRecord], entries: Mapping[str, zipfile.ZipInfo], file_bytes: int) -> None:
    """Every tensor inside its storage, every storage as long as its entry, and all together no larger than the file."""
    total, storages = 0, dict[str, StorageRecord]()
    for name, record in records.items():
        storage, (_, width) = record.storage, _KINDS[record.storage.kind]
        entry = entries.get(f"data/{storage.key}")
        if entry is None or entry.file_size != storage.numel * width:
            raise WeightsError(f"The numbers of '{name}' are not all in the file. Fetch it again.")
        if storages.setdefault(storage.key, storage) != storage:
            raise UnsafePickleError(f"The numbers of '{name}' are also claimed to be of another kind. Do not trust it.")
        if not _inside(record, file_bytes):
            raise UnsafePickleError(f"'{name}' claims numbers outside its storage. The file was not read.")
        total += prod(record.shape) * width
    if total > file_bytes:
        raise UnsafePickleError(f"The file claims {total} bytes of parameters in {file_bytes} bytes. It was not read.")


def _inside(record: TensorRecord, file_bytes: int) -> bool:
    """Whether the view stays in its storage; one without elements needs no place, but no absurd shape either."""
    if prod(record.shape) == 0:
        return prod(n or 1 for n in record.shape) <= file_bytes
    reach = sum((n - 1) * step for n, step in zip(record.shape, record.stride, strict=True))
    return record.offset + reach < record.storage.numel and max(record.stride, default=0) <= file_bytes


def _tensors(
    records: dict[str, TensorRecord], file: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors storage by storage: however many views one has, its numbers are read once."""
    import torch

    views: dict[str, dict[str, TensorRecord]] = {}
    for name, record in records.items():
        views.setdefault(record.storage.key, {})[name] = record
    for key, tensors in views.items():
        data = bytearray(file.read(entries[f"data/{key}"]))
        for name, record in tensors.items():
            dtype = getattr(torch, _KINDS[record.storage.kind][0])
            if prod(record.shape) == 0:
                yield name, torch.empty(record.shape, dtype=dtype)
                continue
            view = torch.frombuffer(data, dtype=dtype).as_strided(record.shape, record.stride, record.offset)
            yield name, view.clone(memory_format=torch.contiguous_format)
