"""The zip archives that `torch.save` writes, opened with distrust."""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.weights.pickles import ModuleRecord, TensorRecord, read_pickle
from store.contract.errors import ArchitectureError, UnsafePickleError, WeightsError

if TYPE_CHECKING:
    import torch

_ENTRY = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
_DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError, struct.error)
"""What zipfile may raise over a damaged archive."""

_MOST_ENTRIES = 20_000
_MOST_MODULES = 20_000
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
        with zipfile.ZipFile(path) as file:
            entries = _check_entries(file, path)
            records = _flatten(read_pickle(file.read(entries["data.pkl"])))
            _check_sizes(records, entries, path.stat().st_size)
            return {name: _tensor(record, file, entries) for name, record in records.items()}
    except _DAMAGED as error:
        raise WeightsError(
            f"'{path.name}' is not a whole torch archive: {error}. It was cut short or is something else; "
            f"fetch it again."
        ) from error


def _check_entries(file: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by their name inside its one folder.

    Stored, unencrypted entries whose sizes add up to no more than the file: so neither a compressed nor an overlapping
    archive can be larger inside than outside.
    """
    infos = file.infolist()
    names = [info.filename.partition("/")[2] for info in infos]
    odd = [i.filename for i, name in zip(infos, names, strict=True) if not _ENTRY.fullmatch(name) or i.flag_bits & 1]
    folders = {info.filename.partition("/")[0] for info in infos}
    if odd or len(folders) != 1 or len(set(names)) != len(names) or len(names) > _MOST_ENTRIES:
        raise UnsafePickleError(
            f"'{path.name}' holds entries torch never writes, such as {(odd or sorted(folders))[:1]}."
        )
    if any(info.compress_type for info in infos) or sum(info.file_size for info in infos) > path.stat().st_size:
        raise UnsafePickleError(f"'{path.name}' claims to be larger inside than the file is. It was not unpacked.")
    entries = dict(zip(names, infos, strict=True))
    if "data.pkl" not in entries or entries["data.pkl"].file_size > _LARGEST_PICKLE_BYTES:
        raise UnsafePickleError(
            f"'{path.name}' has no pickle of a module's size (at most {_LARGEST_PICKLE_BYTES} bytes)."
        )
    if "byteorder" in entries and file.read(entries["byteorder"]) != b"little":
        raise WeightsError(f"'{path.name}' is in big-endian byte order, which is not read. Save it on another machine.")
    return entries


def _flatten(root: Any) -> dict[str, TensorRecord]:
    """Walk a module, or take a state dict as it is."""
    if isinstance(root, dict) and root and all(isinstance(value, TensorRecord) for value in root.values()):
        return {str(name): record for name, record in root.items()}
    if not isinstance(root, ModuleRecord):
        raise ArchitectureError(f"The file holds a {type(root).__name__}, neither a network nor a state dict.")
    records: dict[str, TensorRecord] = {}
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        # A module may hold itself: its tree has no end.
        if seen > _MOST_MODULES or len(prefix) > 1000:
            raise UnsafePickleError("The file's module tree has no end. Nothing of it was run; do not trust it.")
        records.update(_own_tensors(prefix, module))
        waiting += [(f"{prefix}{n}.", child) for n, child in _members(module, "_modules", ModuleRecord)]
    return records


def _own_tensors(prefix: str, module: ModuleRecord) -> dict[str, TensorRecord]:
    """Parameters and persistent buffers of one module, without those of its children."""
    transient = module.state.get("_non_persistent_buffers_set")
    left_out = [name for name in transient if isinstance(name, str)] if isinstance(transient, list) else []
    buffers = [(name, tensor) for name, tensor in _members(module, "_buffers", TensorRecord) if name not in left_out]
    return {f"{prefix}{name}": tensor for name, tensor in [*_members(module, "_parameters", TensorRecord), *buffers]}


def _members(module: ModuleRecord, kind: str, of: type) -> Iterator[tuple[str, Any]]:
    """The members of one of a module's three dicts; None stands for "none", as in torch."""
    members = module.state.get(kind) or {}
    if not isinstance(members, dict):
        raise UnsafePickleError(f"'{kind}' of '{module.kind}' is a {type(members).__name__}, not a dict.")
    for name, member in members.items():
        if member is not None:
            if not isinstance(member, of):
                raise UnsafePickleError(f"'{kind}' of '{module.kind}' holds a {type(member).__name__}.")
            yield str(name), member


def _check_sizes(records: dict[str, TensorRecord], entries: dict[str, zipfile.ZipInfo], file_bytes: int) -> None:
    """Every tensor inside its storage, every storage as long as its entry, and all together no larger than the file."""
    total = 0
    for name, record in records.items():
        storage, (_, width) = record.storage, _KINDS[record.storage.kind]
        entry = entries.get(f"data/{storage.key}")
        if entry is None or entry.file_size != storage.numel * width:
            raise WeightsError(f"The numbers of '{name}' are not all in the file. Fetch it again.")
        if not _inside(record):
            raise UnsafePickleError(f"'{name}' claims numbers outside its storage. The file was not read.")
        total += prod(record.shape) * width
    if total > file_bytes:
        raise UnsafePickleError(f"The file claims {total} bytes of parameters in {file_bytes} bytes. It was not read.")


def _inside(record: TensorRecord) -> bool:
    numbers = (record.offset, *record.shape, *record.stride)
    if len(record.shape) != len(record.stride) or any(number < 0 for number in numbers):
        return False
    reach = sum((n - 1) * step for n, step in zip(record.shape, record.stride, strict=True))
    return prod(record.shape) == 0 or record.offset + reach < record.storage.numel


def _tensor(record: TensorRecord, file: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> torch.Tensor:
    import torch

    data = bytearray(file.read(entries[f"data/{record.storage.key}"]))
    dtype = getattr(torch, _KINDS[record.storage.kind][0])
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.as_strided(record.shape, record.stride, record.offset).clone(memory_format=torch.contiguous_format)
