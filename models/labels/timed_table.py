"""A time-stamped table of labels: CSV or TSV with a header, and a row for each interval or instant."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.labels.base import (
    FORMATS,
    FrameLabels,
    LabelFile,
    LabelFormat,
    Split,
    split_called,
)
from affstore.models.labels.times import SECONDS, first_frame, is_before, said_of_late_begin, said_of_outside
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import LabelSpace, SpaceKind, number_of
from affstore.store.contract.printable import counted
from affstore.store.contract.table_files import PARQUET, VIDEO, Table, fault, read_table, shortened
from affstore.store.contract.walk import Leavings

_SUFFIXES = (".csv", ".tsv", PARQUET)
_START, _END, _TIME, _FRAME, _SPLIT = "start", "end", "time", "frame", "split"
_WHOLE = re.compile(r"\d{1,9}(\.0+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d{0,12},\d{1,30}([eE][+-]?\d{1,2})?")
_DECIMAL_POINT = re.compile(r"[+-]?\d{0,12}\.\d{1,30}([eE][+-]?\d{1,2})?")
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
        is_frame: whether `start` is the number of a frame, and no time.
    """

    line: int
    start: Fraction
    end: Fraction | None
    cells: tuple[str, ...]
    is_frame: bool = False


class TimedTable(LabelFormat):
    """Intervals `start,end` or instants `time` in seconds, or a `frame`, with a `label` or a column for each name.

    A frame has the label of the interval `[start, end)` that it begins in, where times may have been rounded to the
    millisecond; between intervals nothing is known. A row with a `time` holds until the next one, and the last as long
    as the one before, so that rows may have another rate than the video: the rule is called hold. Where rows come at a
    steady rate, none holds longer than three steps of it: what comes after is a pause of the rater, and unknown. A row
    with a `frame`, counted from 0, is of that frame of the video. `label` is the name of a class, or its number from 0;
    other spaces have a column for each of their names. What is empty, `NA`, `NaN` and the like, or the space's
    `unknown` is unknown, and so is what is no label of the space, with a complaint.

    Where several of these columns are there, `time` goes before `start,end`, and these before `frame`.

    A table is of the video that its file is called as, or of many: its column `video` says of which each row is
    (`12.mp4` is the video `12`), and a column `split` may say what a video's frames are for; those of `test` are left
    out. Tabs, semicolons, commas or vertical bars are between columns, and numbers may have a decimal comma if all of
    them have; or it is a Parquet file. Other columns are not looked at.
    """

    contract = 2
    name = "timed_table"
    version = 3
    """Since 2, classes may be called by numbers, and `unknown` be written as another decimal; since 3, rows of a steady
    rate do not hold through a pause."""
    description = "CSV, TSV or Parquet: start,end or time in seconds, or frame, then label or a column for each name"

    def at(self, path: Path) -> LabelFile | None:
        """A table, by its suffix; what its labels are of is for a configuration to say."""
        return LabelFile.at(path, self.name) if path.suffix.lower() in _SUFFIXES else None

    def find(self, folder: Path, leavings: Leavings | None = None) -> list[LabelFile]:
        """See `LabelFormat.find`; a table of many videos is found once for each of them."""
        return [one for found in super().find(folder, leavings) for one in _by_video(found)]

    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """See `LabelFormat.read`."""
        table = read_table(found.path)
        rows = read_rows(found.path, space, found.within)
        value = np.zeros((len(clock), space.columns), space.dtype)
        known = np.zeros(value.shape, bool)
        wrong: list[tuple[int, str]] = []
        before, after = [row.line for row in rows if not row.is_frame and is_before(row.start, row.end, clock)], []
        for row in rows:
            numbers, valid, bad = _labels(space, row.cells)
            first, end = frames_of(row, clock)
            value[first:end], known[first:end] = np.where(valid, numbers, 0), valid
            wrong += [(row.line, text) for text in bad]
            if first >= len(clock) and len(clock):
                after.append(row.line)
        if wrong and not any(_labels(space, row.cells)[1].any() for row in rows):
            reason = f"found {shortened(wrong[0][1])}, and no other row has a label of '{space}' either"
            raise fault(found.path, wrong[0][0], f"{reason}; expected {_expected(space)}")
        note = _note(table, found.within, (space, rows), clock)
        return FrameLabels(value, known, " ".join(_complaints(space, wrong, before, after, clock)) or None, note)


FORMATS.register(TimedTable.name, TimedTable())


def _by_video(found: LabelFile) -> list[LabelFile]:
    """A table once for each video that it has rows of; as it is without a column `video`, or with its fault."""
    try:
        table = read_table(found.path)
        splits = _splits(table, found)
    except AnnotationError as error:
        return [replace(found, fault=str(error))]
    if VIDEO in table.header:
        return [found.of_video(name, split) for name, split in splits.items()] or [found]
    return [replace(found, split=split) for split in splits.values()] or [found]


def _splits(table: Table, of: LabelFile) -> dict[str, Split]:
    """The videos of a table, and what each is for.

    Raises:
        AnnotationError: a row names no video, or a video is in two splits, or in none that is known.
    """
    at, split_at = (table.column(name) if name in table.header else None for name in (VIDEO, _SPLIT))
    splits: dict[str, tuple[int, Split]] = {}
    for line, cells in table.records:
        video = of.name if at is None else cells[at]
        if not video:
            raise fault(table.path, line, "found no video, expected whose row it is")
        called = "" if split_at is None else cells[split_at]
        split = split_called(called) if called else of.split
        if split is None:
            raise AnnotationError(
                f"'{table.path}', line {line}: found the split {shortened(called)}, expected train or validation, or "
                "test for rows that are left out. Correct the file, or leave the column out."
            )
        first, before = splits.setdefault(video, (line, split))
        if before != split:
            raise AnnotationError(
                f"'{table.path}', line {line}: '{video}' is for {split}, and for {before} in "
                f"line {first}. A video is in one split. Correct the file."
            )
    return {name: split for name, (_, split) in splits.items()}


def read_rows(path: Path, space: LabelSpace, video: str = "") -> list[Row]:
    """The rows of a table, sorted by their start.

    Args:
        path: of the table.
        space: what its labels are of.
        video: whose rows are meant, as its column `video` calls it; all rows if empty.

    Raises:
        AnnotationError: it is no such table, lacks a column, writes numbers in two ways, or says two things of a frame;
            the message has the lines.
    """
    table = read_table(path)
    header, names = table.header, [name.casefold() for name in space.names]
    columns = ["label"] if space.kind is SpaceKind.CLASSES else names
    ways = ([_TIME], [_START, _END], [_FRAME])
    times = next((way for way in ways if all(column in header for column in way)), [_START, _END])
    for column in (*times, *columns):
        if header.count(column) != 1:
            sign = table.delimiter or ","
            example = sign.join((*times, *(["label"] if columns == ["label"] else space.names)))
            found = "no column" if column not in header else "two columns"
            reason = f"found {found} '{column}' in {shortened(sign.join(header))}"
            raise fault(path, 1, f"{reason}, expected a header such as {example!r}, with times in seconds")
    at = [header.index(column) for column in (*times, *columns)]
    chosen = [(line, [cells[i] for i in at]) for line, cells in table.rows(video)]
    if not chosen:
        raise AnnotationError(f"'{path}': found no row below the header, expected one for each interval or instant.")
    _check_decimal_marks(table, tuple(at))
    records = [(line, [_with_point(cell) for cell in cells]) for line, cells in chosen]
    if times == [_FRAME]:
        return _frames(path, records)
    return _instants(path, records) if times == [_TIME] else _intervals(path, records)


def _check_decimal_marks(table: Table, columns: tuple[int, ...]) -> None:
    """See that a table does not write some numbers with a comma and others with a point, whosever rows they are in."""
    marks = _decimal_marks(table, columns)
    if "comma" in marks and "point" in marks:
        (line, comma), (other, point) = marks["comma"], marks["point"]
        raise fault(
            table.path,
            max(line, other),
            f"numbers are written with a decimal comma ('{comma}', line {line}) and with a point ('{point}', line "
            f"{other}); expected one of both",
        )


@lru_cache(maxsize=8)
def _decimal_marks(table: Table, columns: tuple[int, ...]) -> dict[str, tuple[int, str]]:
    """Of each mark the first line and cell with it; found once, as a table of a thousand videos is asked for each."""
    found: dict[str, tuple[int, str]] = {}
    for line, cells in table.records:
        for cell in (cells[i] for i in columns):
            for mark, form in (("comma", _DECIMAL_COMMA), ("point", _DECIMAL_POINT)):
                if mark not in found and form.fullmatch(cell):
                    found[mark] = line, cell
        if len(found) == 2:
            break
    return found


def _with_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; any other text as it is."""
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _frames(path: Path, records: Sequence[tuple[int, list[str]]]) -> list[Row]:
    """Rows that name their frame."""
    found: dict[int, Row] = {}
    for line, (frame, *cells) in records:
        if not _WHOLE.fullmatch(frame):
            raise fault(path, line, f"found the frame {shortened(frame)}, expected a whole number from 0 on")
        number = int(float(frame))
        if number in found:
            raise fault(path, line, f"frame {number} has a label in line {found[number].line} already")
        found[number] = Row(line, Fraction(number), Fraction(number + 1), tuple(cells), is_frame=True)
    return [found[number] for number in sorted(found)]


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


_FEWEST_STEPS, _STEADY, _MOST_STEPS = 8, 0.75, 3
"""From how many steps on a table can have a steady rate: that many of its steps are within a half of the median one.
Its rows hold for three steps at most, so that a lost row or two are bridged, and pauses are not. The times of changes
alone, as somebody logs events, are not steady: there a row holds until the next, however late that is."""


def _longest_hold(starts: Sequence[Fraction]) -> Fraction | None:
    """For how many seconds a row holds at most; None where rows have no steady rate."""
    steps = [after - before for before, after in pairwise(starts)]
    if len(steps) < _FEWEST_STEPS:
        return None
    lengths = np.array(steps, np.float64)  # fractions are slow to sort
    step = steps[int(np.argsort(lengths)[len(steps) // 2])]
    steady = np.mean((lengths >= float(step) / 2) & (lengths <= float(step) * 3 / 2))
    return _MOST_STEPS * step if steady >= _STEADY else None


def _instants(path: Path, records: Sequence[tuple[int, list[str]]]) -> list[Row]:
    starts = [(line, _seconds(path, line, time)) for line, (time, *_) in records]
    for (one, before), (line, after) in pairwise(starts):
        if after <= before:
            raise fault(path, line, f"its time is not after that of line {one}; expected times that rise")
    ends: list[Fraction | None] = [start for _, start in starts[1:]]
    ends.append(2 * starts[-1][1] - starts[-2][1] if len(starts) > 1 else None)
    longest = _longest_hold([start for _, start in starts])
    if longest is not None:
        ends = [
            None if end is None else min(end, start + longest) for (_, start), end in zip(starts, ends, strict=True)
        ]
    return [
        Row(line, start, end, tuple(cells[1:]))
        for (line, start), end, (_, cells) in zip(starts, ends, records, strict=True)
    ]


def _seconds(path: Path, line: int, text: str) -> Fraction:
    if not SECONDS.fullmatch(text):
        raise fault(path, line, f"found the time {shortened(text)}, expected seconds such as 12.5")
    return Fraction(text)


def frames_of(row: Row, clock: FrameClock) -> tuple[int, int]:
    """The frames that a row is of: the first, and the first after them."""
    if row.is_frame:
        return int(row.start), int(row.start) + 1
    return first_frame(clock, row.start), first_frame(clock, row.end)


@lru_cache(maxsize=1024)
def _labels(space: LabelSpace, cells: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """The numbers of a row, which of them are labels, and the texts that are neither labels nor unknown.

    Most rows say what others have said before.
    """
    number = space.class_of if space.kind is SpaceKind.CLASSES else number_of
    blank = {*_MISSING} - {name.casefold() for name in space.names}
    filled = [cell.casefold() not in blank and not space.is_unknown(cell) for cell in cells]
    numbers = np.array([number(cell) if given else math.nan for cell, given in zip(cells, filled, strict=True)])
    valid = space.is_valid(numbers)
    return (
        numbers,
        valid,
        [cell for cell, given, fits in zip(cells, filled, valid, strict=True) if given and not fits],
    )


def _expected(space: LabelSpace) -> str:
    return f"one of {', '.join(space.names)}" if space.kind is SpaceKind.CLASSES else space.allowed


_SIGNS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_OTHER_RATE = 0.05
"""By so much of a frame's time rows at instants are apart from frames before that is worth a word."""


def _note(table: Table, video: str, read: tuple[LabelSpace, Sequence[Row]], clock: FrameClock) -> str | None:
    """How a video's rows were understood, where there was something to understand; None where there was not."""
    (space, rows), records, found = read, table.rows(video), []
    if table.delimiter not in (",", ""):
        found.append(f"columns apart by {_SIGNS[table.delimiter]}")
    if any(_DECIMAL_COMMA.fullmatch(cell) for _, cells in records for cell in cells):
        found.append("numbers with a decimal comma")
    blank = {*_MISSING} - {name.casefold() for name in space.names}
    missing = [cell for row in rows for cell in row.cells if cell.casefold() in blank]
    if missing:
        ways = ", ".join(sorted({repr(cell) if cell else "empty" for cell in missing}))
        found.append(f"{counted(len(missing), 'missing value', 'missing values')} ({ways})")
    if unknown := _said_of_unknown(space, rows):
        found.append(unknown)
    if _TIME in table.header and len(rows) > 2 and len(clock) > 2:
        apart, frame = (float(np.median(np.diff(times))) for times in ([float(r.start) for r in rows], clock.starts_s))
        if abs(apart - frame) > _OTHER_RATE * frame:
            found.append(f"rows every {apart:.3g} s for frames every {frame:.3g} s: each row holds until the next")
    pauses = (
        [] if _TIME not in table.header else [a for a, b in pairwise(rows) if a.end is not None and a.end < b.start]
    )
    if pauses:
        longest = f"{float(max(row.end - row.start for row in pauses if row.end is not None)):.3g} s"
        found.append(
            f"{counted(len(pauses), 'pause', 'pauses')} between rows of a steady rate, "
            f"{_lines([row.line for row in pauses])}: a row holds for {longest} at most, and nothing is known after"
        )
    if not all(row.is_frame for row in rows) and (late := said_of_late_begin(clock)):
        found.append(late)
    return "; ".join(found) or None


def _said_of_unknown(space: LabelSpace, rows: Sequence[Row]) -> str:
    """How many values are what a space calls unknown, above all where they could be labels too; or an empty text."""
    number = space.class_of if space.kind is SpaceKind.CLASSES else number_of
    cells = Counter(cell for row in rows for cell in row.cells)
    unknown = {
        cell: count for cell, count in cells.items() if cell.casefold() not in _MISSING and space.is_unknown(cell)
    }
    if not unknown:
        return ""
    count, ways = sum(unknown.values()), ", ".join(map(repr, sorted(unknown)))
    inside = [cell for cell in sorted(unknown) if space.is_valid(np.array([number(cell)])).all()]
    also = f"; {', '.join(map(repr, inside))} would be a label, if `unknown` did not say so" if inside else ""
    return f"{counted(count, 'value', 'values')} that `unknown` of '{space}' names ({ways}{also})"


def _complaints(
    space: LabelSpace, wrong: Sequence[tuple[int, str]], before: Sequence[int], after: Sequence[int], clock: FrameClock
) -> list[str]:
    found = []
    if wrong:
        _, text = wrong[0]
        found.append(
            f"{counted(len(wrong), 'label is', 'labels are')} not valid, {_lines([line for line, _ in wrong])}: found "
            f"{shortened(text)}, expected {_expected(space)}; taken as unknown."
        )
    return found + said_of_outside("row", before, after, _lines, clock)


def _lines(lines: Sequence[int]) -> str:
    return f"in line {lines[0]}" if len(lines) == 1 else f"the first in line {lines[0]}"
