"""Networks as OpenVINO's models, kept beside their parameters: to be run again they need neither torch nor tracing.

Building a network, filling it and converting it takes seconds, most of them to import timm or transformers. What was
converted is therefore kept in one file for each network, precision and set of parameters, with a digest of its bytes,
and is converted anew by another version of OpenVINO, torch or affstore.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import affstore.models
from affstore.models.extractor_specs import ExtractorSpec, Precision
from affstore.store.contract.files import replacing
from affstore.store.contract.keys import digest_arrays, digest_file, key_of

if TYPE_CHECKING:
    import torch

_CONVERTED_BY = ("openvino", "torch", "timm", "transformers")
_HALF_MADE = ".converting-"
_ABANDONED_S = 24 * 3600
"""Converting takes seconds: what has lain about for a day was left by a process that was killed."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A network as one or more of OpenVINO's models, which run one after the other.

    Attributes:
        models: none of them compiled yet.
        precisions: that each runs in.
        numbers: what else of the network its engine needs.
    """

    models: tuple[Any, ...]
    precisions: tuple[Precision, ...]
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Parameters(Mapping[str, "torch.Tensor"]):
    """The parameters of one digest, read when the first of them is asked for.

    Attributes:
        sha256: their digest.
        converted: the folder in which networks that were filled with them are kept.
    """

    def __init__(self, sha256: str, read: Callable[[], Mapping[str, torch.Tensor]], converted: Path) -> None:
        self.sha256, self.converted, self._read = sha256, converted, read
        self._known: Mapping[str, torch.Tensor] | None = None

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, torch.Tensor]:
        if self._known is None:
            self._known = self._read()
        return self._known


def converted_once(
    spec: ExtractorSpec, parameters: Mapping[str, torch.Tensor], convert: Callable[[], Converted]
) -> Converted:
    """What `convert` gives, as it is read back from a file: the kept one where there is one.

    Args:
        spec: of the network.
        parameters: of the network; where they are no `Parameters`, nothing is kept.
        convert: builds the network, fills it and converts it.
    """
    path = None
    if isinstance(parameters, Parameters):
        path = parameters.converted / f"{key_of([spec, parameters.sha256])}.safetensors"
    kept = path and _read(path)
    return kept or _made(convert(), path)


def _made(converted: Converted, path: Path | None) -> Converted:
    """A converted network as it is read back from a file, and kept where a path is given.

    Written out and read back, a model may have other last bits than before: numbers such as the epsilon of a
    normalization are rounded in between. So that the first process has the numbers of all later ones, every network
    passes through a file, kept or not.
    """
    for folder in (path.parent, None) if path else (None,):
        with suppress(OSError, RuntimeError):
            files = _serialized(converted, folder)
            break
    else:
        return converted  # there is no room for a file anywhere
    if path is not None:
        # There is no room, or the folder cannot be written: it is converted again next time.
        with suppress(OSError):
            _write(path, files)
    return _models(files)


@dataclass(frozen=True, slots=True)
class _Files:
    """A converted network as what stands in its files.

    Attributes:
        arrays: the bytes of each model's description and weights, and the numbers beside them.
        precisions: that each model runs in.
    """

    arrays: Mapping[str, NDArray[Any]]
    precisions: tuple[Precision, ...]

    @property
    def sha256(self) -> str:
        """A digest of them."""
        return key_of([digest_arrays(self.arrays), list(self.precisions)])


def _models(files: _Files) -> Converted:
    """The network.

    Raises:
        RuntimeError: this OpenVINO cannot read it.
    """
    import openvino

    arrays, core = dict(files.arrays), openvino.Core()
    models = [
        core.read_model(arrays.pop(f"{one}.xml").tobytes(), openvino.Tensor(arrays.pop(f"{one}.bin")))
        for one in range(len(files.precisions))
    ]
    return Converted(tuple(models), files.precisions, arrays)


def _serialized(converted: Converted, folder: Path | None) -> _Files:
    """A network written out, in a folder or where the system has temporary files.

    Raises:
        OSError: there is no room, or nothing may be written.
    """
    import openvino

    arrays = dict(converted.numbers)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_HALF_MADE}*"):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_HALF_MADE, dir=folder) as scratch:
        for number, model in enumerate(converted.models):
            xml, weights = Path(scratch) / "model.xml", Path(scratch) / "model.bin"
            openvino.serialize(model, xml, weights)
            if weights.stat().st_size < _bytes_named_in(xml.read_text("utf-8")):
                raise OSError(f"{weights} is not whole")  # OpenVINO does not say when a disk is full
            for name, file in (("xml", xml), ("bin", weights)):
                arrays[f"{number}.{name}"] = np.fromfile(file, np.uint8)
    return _Files(arrays, converted.precisions)


def _read(path: Path) -> Converted | None:
    """What is kept in a file; None where there is none, it is damaged, or others made it."""
    import safetensors

    try:
        with safetensors.safe_open(path, "np") as file:
            said = file.metadata() or {}
            if said.get("made_by") != _made_by():
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, safetensors.SafetensorError):
        return None
    precisions: Any = tuple(said.get("precisions", "").split())
    files = _Files(arrays, precisions)
    if files.sha256 != said.get("sha256"):
        return None
    try:
        return _models(files)
    except RuntimeError:
        return None


def _write(path: Path, files: _Files) -> None:
    import safetensors.numpy

    said = {"made_by": _made_by(), "sha256": files.sha256, "precisions": " ".join(files.precisions)}
    try:
        with replacing(path) as new:
            safetensors.numpy.save_file(dict(files.arrays), new, said)
    except safetensors.SafetensorError as error:
        raise OSError(error) from error  # there is no room


def _bytes_named_in(xml: str) -> int:
    """How many bytes of weights a model's description speaks of.

    Raises:
        OSError: it is not whole.
    """
    if not xml.rstrip().endswith("</net>"):
        raise OSError("The description of a converted model is not whole")
    parts = re.finditer(r'\boffset="(\d+)" size="(\d+)"', xml)
    return max((int(part[1]) + int(part[2]) for part in parts), default=0)


@cache
def _made_by() -> str:
    """A digest of the versions, and of the code, that converted models depend on."""
    (root,) = affstore.models.__path__
    code = {str(path.relative_to(root)): digest_file(path) for path in sorted(Path(root).rglob("*.py"))}
    return key_of([code, {name: version(name) for name in _CONVERTED_BY}])
