"""Features that another program computed, from files that hold arrays or tables and nothing that could be executed."""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import MediaError, SpecError
from affstore.store.contract.printable import counted
from affstore.store.contract.table_files import AS_UTF8, delimiter_in

_DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(csv.Error, zlib.error, zipfile.BadZipFile),
)
"""What reading a damaged file, or one that claims to hold more than there is memory, ends with."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-")


@dataclass(frozen=True, slots=True, eq=False)
class FeatureFile:
    """What a file holds.

    Attributes:
        values: `(rows, columns)` float32; NaN where a row says nothing.
        columns: names of the columns; empty where the file has none.
        array: the array that was taken, where the file holds several.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...] = ()
    array: str = ""


def read_features(path: Path, wanted: Sequence[str] = ()) -> FeatureFile:
    """Read a file of features: `.npy`, `.npz` or `.csv`; pickles never.

    Args:
        path: of the file.
        wanted: columns of a table, or the one array of an `.npz`; all columns, or the only array, without it.

    Raises:
        SpecError: it is of another kind, or what is wanted of it is not there.
        MediaError: it cannot be read as what its name says, or does not hold a row of numbers a frame.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise SpecError(
            f"Features are read from .npy, .npz and .csv files, and '{path.name}' is none. Pickled objects are never "
            "read, for reading them executes what is in them: save the array with numpy.save."
        )
    try:
        if not path.stat().st_size:
            raise MediaError(f"'{path}' is an empty file. Write it again.")
        with np.errstate(over="ignore"):  # which `_check_finite` says
            found = read(path, tuple(wanted))
    except _DAMAGE as error:
        if isinstance(error, SpecError):
            raise
        if isinstance(error, OSError) and error.strerror:
            raise MediaError(f"'{path}' cannot be read: {error.strerror}. Check the path and its rights.") from error
        raise MediaError(f"'{path}' cannot be read as {path.suffix.lower()[1:]}: {error}. Write it again.") from error
    if found.values.ndim != 2 or not found.values.size:
        shape = found.values.shape
        raise MediaError(f"'{path}' should hold a row a frame, of the shape (frames, features); found {shape}.")
    _check_finite(path, found)
    return found


def _check_finite(path: Path, found: FeatureFile) -> None:
    infinite = np.argwhere(np.isinf(found.values))
    if len(infinite):
        row, column = map(int, infinite[0])
        name = f"'{found.columns[column]}'" if found.columns else column
        raise MediaError(
            f"'{path}' holds {counted(len(infinite), 'number that is', 'numbers that are')} infinite or too large for "
            f"float32, the first in row {row}, column {name}, counted from 0. Write NaN where nothing is known."
        )


def _npy(path: Path, wanted: tuple[str, ...]) -> FeatureFile:
    if wanted:
        raise SpecError(f"'{path}' holds one array, so that there is nothing to --take of it. Leave that out.")
    return FeatureFile(_real(path, np.load(path, allow_pickle=False)))


def _npz(path: Path, wanted: tuple[str, ...]) -> FeatureFile:
    if len(wanted) > 1:
        raise SpecError(f"One array is taken of '{path}'; found --take {' and '.join(wanted)}. Name one of them.")
    with np.load(path, allow_pickle=False) as arrays:
        name = wanted[0] if wanted else arrays.files[0] if len(arrays.files) == 1 else ""
        if name not in arrays.files:
            there = ", ".join(arrays.files)
            raise SpecError(f"'{path}' holds the arrays {there}. Name one with --take.")
        return FeatureFile(_real(path, arrays[name]), array=name)


def _real(path: Path, array: NDArray[Any]) -> NDArray[np.float32]:
    """An array of real numbers as float32; times, complex numbers and records are none."""
    if array.dtype.kind not in "biuf":
        raise MediaError(
            f"'{path}' holds values of the type {array.dtype}, expected real numbers. Save them as float32."
        )
    return array.astype(np.float32)


def _csv(path: Path, wanted: tuple[str, ...]) -> FeatureFile:
    try:
        text = path.read_bytes().decode("utf-8-sig").rstrip("\r\n ")
    except UnicodeDecodeError as error:
        raise MediaError(f"'{path}' is not UTF-8 text (byte {error.start}). {AS_UTF8}") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_in(text.partition("\n")[0]))
    (_, header), *rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader] or [(1, [])]
    for line, row in rows:
        if len(row) != len(header):
            raise MediaError(f"'{path}', line {line}: found {len(row)} cells, expected {len(header)} as in the header.")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise SpecError(f"'{path}' has no column '{missing[0]}'; it has {', '.join(header)}.")
    # A sign at the end of every line is no column.
    columns = wanted or tuple(name for at, name in enumerate(header) if name or any(row[at] for _, row in rows))
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise MediaError(f"'{path}' has two columns '{twice[0]}'. Rename one of them.")
    at = [header.index(name) for name in columns]
    values = [[_number(path, line, row[index]) for index in at] for line, row in rows]
    return FeatureFile(np.array(values, np.float32).reshape(len(values), len(columns)), columns)


def _number(path: Path, line: int, cell: str) -> float:
    if cell.lower() in _MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        todo = "Name the columns of numbers with --take"
        if _DECIMAL_COMMA.fullmatch(cell):
            todo = "Write numbers with a decimal point"
        raise MediaError(f"'{path}', line {line}: found '{cell[:60]}', expected a number. {todo}.") from None


_READERS: Mapping[str, Callable[[Path, tuple[str, ...]], FeatureFile]] = {".npy": _npy, ".npz": _npz, ".csv": _csv}
