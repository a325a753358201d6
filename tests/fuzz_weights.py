"""Weight files with a few bytes changed: each is read as what it was, or refused.

`python -m tests.fuzz_weights 20000` runs a campaign of so many changed files and prints what became of them.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from affstore.models.weights.untrusted.archive import read_torch_file
from affstore.models.weights.untrusted.keras_files import read_gzipped_keras
from affstore.models.weights.untrusted.safetensors_file import read_safetensors
from affstore.store.contract.errors import WeightsError
from tests.hostile.tensor_files import hdf5, layer

KINDS = ("flip", "set", "insert", "delete", "repeat", "swap", "cut", "number")
"""Ways to change bytes."""

ENTRIES = ("drop", "double", "rename", "exchange", "pickle", "compress")
"""Ways to change an archive so that it is still a well-formed one; only these get past its checksums."""

_NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
_MORE_BYTES = 1 << 30


@dataclass(frozen=True)
class Change:
    """One change: `place` is in the file from 0 to 1."""

    kind: str
    place: float
    length: int
    value: int


def changed(data: bytes, changes: Sequence[Change]) -> bytes:
    """The file after all changes in their order."""
    for change in changes:
        data = _with_entries(data, change) if change.kind in ENTRIES else _with_bytes(data, change)
    return data


def _with_bytes(data: bytes, change: Change) -> bytes:
    at = int(change.place * len(data))
    before, after = data[:at], data[at:]
    run = after[: change.length]
    match change.kind:
        case "flip":
            return before + bytes(byte ^ (1 << change.value % 8) for byte in after[:1]) + after[1:]
        case "set":
            return before + bytes([change.value % 256]) + after[1:]
        case "insert":
            return before + bytes([change.value % 256]) * change.length + after
        case "delete":
            return before + after[change.length :]
        case "repeat":
            return before + run + run + after[change.length :]
        case "swap":
            return before + after[change.length : 2 * change.length] + run + after[2 * change.length :]
        case "cut":
            return before
    width = (1, 2, 4, 8)[change.length % 4]
    number = (_NUMBERS[change.value % len(_NUMBERS)] & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return before + number + after[width:]


def _with_entries(data: bytes, change: Change) -> bytes:
    """A well-formed archive of what the entries became; whatever is no archive stays as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = [(info.filename, file.read(info)) for info in file.infolist()]
    except Exception:  # noqa: BLE001 - an earlier change may have broken it in any way
        return data
    if not entries:
        return data
    at, other = int(change.place * len(entries)), change.value % len(entries)
    (name, content), (other_name, other_content) = entries[at], entries[other]
    match change.kind:
        case "drop":
            del entries[at]
        case "double":
            entries.append((name, content))
        case "rename":
            entries[at] = (other_name + "x" * (change.length % 2), content)
        case "exchange":
            entries[at], entries[other] = (name, other_content), (other_name, content)
        case "pickle":
            inner = Change(KINDS[change.length % len(KINDS)], change.place, change.length, change.value)
            entries = [(n, _with_bytes(c, inner) if n.endswith("data.pkl") else c) for n, c in entries]
    new = io.BytesIO()
    warnings.filterwarnings("ignore", "Duplicate name")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED if change.kind == "compress" else 0) as file:
        for entry in entries:
            file.writestr(*entry)
    return new.getvalue()


@dataclass(frozen=True)
class Subject:
    """A whole file, how it is read, and what is in it."""

    data: bytes
    read: Callable[[Path], Mapping[str, torch.Tensor]]
    holds: Mapping[str, torch.Tensor]
    checksums: bool


def subjects(folder: Path) -> dict[str, Subject]:
    """Small files of every format."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(3, 2))
    parameters = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    torch.save(network, folder / "module.pt")
    torch.save(network.state_dict(), folder / "state.pt", pickle_protocol=4)
    weights = np.arange(12, dtype=np.float32)
    keras = hdf5(lambda root: layer(root).create_dataset("w", data=weights))
    return {
        "module": Subject((folder / "module.pt").read_bytes(), read_torch_file, parameters, True),
        "state dict": Subject((folder / "state.pt").read_bytes(), read_torch_file, parameters, True),
        "safetensors": Subject(save(parameters), read_safetensors, parameters, False),
        "keras": Subject(keras, read_gzipped_keras, {"0.w": torch.from_numpy(weights)}, False),
    }


def outcome(subject: Subject, data: bytes, changes: Sequence[Change], path: Path) -> str:
    """Read what `changes` made of a file: `right`, `refused`, or, where only the published digest can tell, `other`.

    Raises:
        AssertionError: it was read as something it should not be.
    """
    path.write_bytes(data)
    try:
        found = subject.read(path)
    except WeightsError:
        return "refused"
    if _same(found, subject.holds):
        return "right"
    assert data != subject.data
    assert sum(tensor.nbytes for tensor in found.values()) <= max(len(data), 1 << 16)
    assert all(name.isascii() and name.isprintable() for name in found)
    well_formed = not subject.checksums or any(change.kind in ENTRIES for change in changes)
    assert well_formed, "bytes changed under a checksum, and other parameters were read"
    return "other"


def _same(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        tensor.dtype == wanted[name].dtype
        and tensor.shape == wanted[name].shape
        and tensor.numpy().tobytes() == wanted[name].numpy().tobytes()
        for name, tensor in found.items()
    )


def campaign(count: int, files: Mapping[str, Subject], seed: int = 0) -> dict[str, Counter[str]]:
    """Change files at random, with less than 1 GiB more memory at hand.

    Returns:
        For each file how often each outcome came, and the longest reading in ms.
    """
    random = np.random.default_rng(seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MORE_BYTES, most))
    found: dict[str, Counter[str]] = {name: Counter() for name in files}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            name = str(random.choice(list(files)))
            changes = [_draw(random, files[name]) for _ in range(random.integers(1, 4))]
            data = changed(files[name].data, changes)
            begun = time.perf_counter()
            try:
                found[name][outcome(files[name], data, changes, Path(folder) / "file")] += 1
            except BaseException as error:
                raise RuntimeError(f"{name} with {changes}") from error
            taken_ms = round(1000 * (time.perf_counter() - begun))
            found[name]["longest, ms"] = max(found[name]["longest, ms"], taken_ms)
    return found


def _draw(random: np.random.Generator, subject: Subject) -> Change:
    kinds = KINDS + ENTRIES if subject.checksums else KINDS
    place = float(random.choice([random.random(), 0.9 + random.random() / 10, random.random() / 10]))
    length = int(random.choice([1, random.integers(1, 9), random.integers(1, 200)]))
    return Change(str(random.choice(kinds)), place, length, int(random.integers(256)))


def main(arguments: Sequence[str]) -> None:
    """Run a campaign over small files and over any that are named."""
    count, *named = arguments
    with tempfile.TemporaryDirectory() as folder:
        files = subjects(Path(folder))
        for path in map(Path, named):
            reader = {".gz": read_gzipped_keras, ".safetensors": read_safetensors}.get(path.suffix, read_torch_file)
            files[path.name] = Subject(path.read_bytes(), reader, dict(reader(path)), reader is read_torch_file)
        for name, found in campaign(int(count), files).items():
            print(f"{name:30} {dict(sorted(found.items()))}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
