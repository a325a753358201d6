"""A time-stamped table of labels: CSV or TSV with a header, and a row for each interval or instant."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.labels.base import FORMATS, FrameLabels, LabelFile, LabelFormat, fault, shortened, text_lines
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import LabelSpace, SpaceKind

_SUFFIXES = (".csv", ".tsv")
_START, _END, _TIME = "start", "end", "time"
_ROUNDED = Fraction(1, 2000)
"""Times are often written to the millisecond: at 29.97 Hz, every third frame's is rounded up."""
_SECONDS = re.compile(r"[+-]?(\d{1,12}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,2})?")


_DECIMAL_COMMA = re.compile(r"[+-]?\d{0,12},\d{1,18}([eE][+-]?\d{1,2})?")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-", ".")
"""How tables write that there is no value, in any case, beside what a space's `unknown` says."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: what it says from `start` to before `end`, in seconds of the video's own clock.

    Attributes:
        line: of the file, 1-based.
        start: first instant.
        end: the first instant after it; None for the video's end.
        cells: the label's class, or a number for each of the space's names.
    """

    line: int
    start: Fraction
    end: Fraction | None
    cells: tuple[str, ...]


class TimedTable(LabelFormat):
    """Intervals `start,end` or instants `time` in seconds, with a `label` or a column for each name of the space.

    A frame has the label of the interval `[start, end)` that it begins in, where times may have been rounded to the
    millisecond; between intervals nothing is known. A row
    with a `time` holds until the next one, and the last as long as the one before. `label` is the name of a class, or
    its number from 0; other spaces have a column for each of their names. What is empty, `NA`, `NaN` and the like, or
    the space's `unknown` is unknown, and so is what is no label of the space, with a complaint. Columns are apart by
    tabs, semicolons or commas, and numbers may have a decimal comma. Other columns are not looked at.
    """

    contract = 1
    name = "timed_table"
    version = 1
    description = "CSV or TSV: start,end or time in seconds, then label or a column for each name"

    def at(self, path: Path) -> LabelFile | None:
        """A table, by its suffix; what its labels are of is for a configuration to say."""
        return LabelFile.at(path, self.name) if path.suffix.lower() in _SUFFIXES else None

    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """See `LabelFormat.read`."""
        rows = read_rows(found.path, space)
        value = np.zeros((len(clock), space.columns), space.dtype)
        known = np.zeros(value.shape, bool)
        wrong: list[tuple[int, str]] = []
        outside = []
        for row in rows:
            numbers, valid, bad = _labels(space, row.cells)
            first, end = first_frame(clock, row.start), first_frame(clock, row.end)
            value[first:end], known[first:end] = np.where(valid, numbers, 0), valid
            wrong += [(row.line, text) for text in bad]
            if first == len(clock) and len(clock):
                outside.append(row.line)
        if wrong and not any(_labels(space, row.cells)[1].any() for row in rows):
            reason = f"found {shortened(wrong[0][1])}, and no other row has a label of '{space}' either"
            raise fault(found.path, wrong[0][0], f"{reason}; expected {_expected(space)}")
        return FrameLabels(value, known, " ".join(_complaints(space, wrong, outside)) or None)


FORMATS.register(TimedTable.name, TimedTable())


def read_rows(path: Path, space: LabelSpace) -> list[Row]:
    """The rows of a table, sorted by their start.

    Raises:
        AnnotationError: it is no such table, lacks a column, or two rows overlap; the message has the lines.
    """
    lines = text_lines(path)
    delimiter = next((sign for sign in "\t;" if sign in lines[0]), ",")
    try:
        table = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise AnnotationError(f"'{path}' cannot be read as a table: {error}.") from error
    header = [cell.strip().casefold() for cell in table[0]] if table else []
    columns = ["label"] if space.kind is SpaceKind.CLASSES else [name.casefold() for name in space.names]
    times = [_TIME] if _TIME in header else [_START, _END]
    for column in (*times, *columns):
        if header.count(column) != 1:
            header_example = delimiter.join((*times, *(["label"] if columns == ["label"] else space.names)))
            found = (
                f"found {'no column' if column not in header else 'two columns'} '{column}' in {shortened(lines[0])}"
            )
            raise fault(path, 1, f"{found}, expected a header such as {header_example!r}, with times in seconds")
    at = [header.index(column) for column in (*times, *columns)]
    records = []
    for number, cells in enumerate(table[1:], 2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise fault(path, number, f"found {len(cells)} columns, expected {len(header)} as in the header")
        records.append((number, [_with_point(cells[index].strip()) for index in at]))
    if not records:
        raise AnnotationError(f"'{path}': found no row below the header, expected one for each interval or instant.")
    return _instants(path, records) if times == [_TIME] else _intervals(path, records)


def _with_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; any other text as it is."""
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _intervals(path: Path, records: Sequence[tuple[int, list[str]]]) -> list[Row]:
    rows = []
    for line, (start, end, *cells) in records:
        row = Row(line, _seconds(path, line, start), (last := _seconds(path, line, end)), tuple(cells))
        if last <= row.start:
            raise fault(path, line, f"the interval ends at {end} s, and begins at {start} s; expected a later end")
        rows.append(row)
    rows.sort(key=lambda row: (row.start, row.line))
    for one, other in pairwise(rows):
        if one.end is not None and other.start < one.end:
            first, second = sorted((one.line, other.line))
            raise fault(path, second, f"its interval overlaps that of line {first}, so that a frame has two labels")
    return rows


def _instants(path: Path, records: Sequence[tuple[int, list[str]]]) -> list[Row]:
    starts = [(line, _seconds(path, line, time)) for line, (time, *_) in records]
    for (one, before), (line, after) in pairwise(starts):
        if after <= before:
            raise fault(path, line, f"its time is not after that of line {one}; expected times that rise")
    ends: list[Fraction | None] = [start for _, start in starts[1:]]
    ends.append(2 * starts[-1][1] - starts[-2][1] if len(starts) > 1 else None)
    return [
        Row(line, start, end, tuple(cells[1:]))
        for (line, start), end, (_, cells) in zip(starts, ends, records, strict=True)
    ]


def _seconds(path: Path, line: int, text: str) -> Fraction:
    if not _SECONDS.fullmatch(text):
        raise fault(path, line, f"found the time {shortened(text)}, expected seconds such as 12.5")
    return Fraction(text)


def first_frame(clock: FrameClock, instant: Fraction | None) -> int:
    """The first frame that begins at an instant or later; at an instant as it may have been rounded."""
    if instant is None:
        return len(clock)
    return int(np.searchsorted(clock.pts, math.ceil((instant - _ROUNDED) / clock.time_base)))


def _labels(space: LabelSpace, cells: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """The numbers of a row, which of them are labels, and the texts that are neither labels nor unknown."""
    number: Callable[[LabelSpace, str], float] = _class if space.kind is SpaceKind.CLASSES else _number
    names = {name.casefold() for name in space.names}
    blank = {*_MISSING, *(text.casefold() for text in space.unknown)} - names
    filled = [cell.casefold() not in blank for cell in cells]
    numbers = np.array([number(space, cell) if given else math.nan for cell, given in zip(cells, filled, strict=True)])
    valid = space.is_valid(numbers)
    return (
        numbers,
        valid,
        [cell for cell, given, fits in zip(cells, filled, valid, strict=True) if given and not fits],
    )


def _class(space: LabelSpace, text: str) -> float:
    names = [name.casefold() for name in space.names]
    return names.index(text.casefold()) if text.casefold() in names else _number(space, text)


def _number(space: LabelSpace, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _expected(space: LabelSpace) -> str:
    return f"one of {', '.join(space.names)}" if space.kind is SpaceKind.CLASSES else space.allowed


def _complaints(space: LabelSpace, wrong: Sequence[tuple[int, str]], outside: Sequence[int]) -> list[str]:
    found = []
    if wrong:
        line, text = wrong[0]
        found.append(
            f"{len(wrong)} labels are not valid, the first in line {line}: found {shortened(text)}, expected "
            f"{_expected(space)}; they are taken as unknown."
        )
    if outside:
        found.append(f"{len(outside)} rows begin after the video's last frame, the first in line {outside[0]}.")
    return found
