"""Aff-Wild2's annotation files: a header of names, then one line a frame. 1-based lines end here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.labels.base import (
    FORMATS,
    FrameLabels,
    LabelFile,
    LabelFormat,
    split_by_folders,
)
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import AU, AU_8, EXPR, EXPR_7, VA, LabelSpace, SpaceKind, Task, task_space
from affstore.store.contract.table_files import fault, shortened, text_lines

EDITIONS: dict[str, tuple[LabelSpace, ...]] = {"expr": (EXPR, EXPR_7), "au": (AU, AU_8), "va": (VA,)}
"""The spaces each task had, today's first: ABAW 1 and 2 had 7 expressions, ABAW 1 had 8 action units."""

_FIRST_DATA_LINE = 2
_SURPLUS = 0.01
"""The share of a video's frames by which an annotation may be longer. Official files are, by a few lines."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TASK_FOLDERS = {
    "va_set": "va",
    "va_estimation_challenge": "va",
    "expr_set": "expr",
    "expr_classification_challenge": "expr",
    "expr_recognition_challenge": "expr",
    "au_set": "au",
    "au_detection_challenge": "au",
}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationFile:
    """One annotation file; data line `i` (1-based) speaks of the video's frame `i` (1-based), so row 0 of frame 0.

    Attributes:
        value: `(lines, columns)` labels of `space`; `blank(space)` where not `known`.
        known: same shape, bool.
        space: today's space of the task.
        edition: the space of the file's header; what it lacks of `space` is unknown, what it has besides is left out.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]
    space: LabelSpace
    edition: LabelSpace

    def __len__(self) -> int:
        return len(self.value)


class AbawText(LabelFormat):
    """The text files of the ABAW challenges; with a header of its names, of any label space."""

    contract = 2
    name = "abaw"
    version = 1
    description = "Aff-Wild2's text files: a header of names, then one line a frame"

    def at(self, path: Path) -> LabelFile | None:
        """A text file, of a task in `…/<task folder>/…/<Train_Set | Validation_Set>/…` of every ABAW edition."""
        if path.suffix.lower() != ".txt":
            return None
        tasks = [_TASK_FOLDERS[part] for part in map(str.lower, path.parent.parts) if part in _TASK_FOLDERS]
        return LabelFile.at(path, self.name, tasks[-1] if tasks and split_by_folders(path) else "")

    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """Data line `i` (1-based) speaks of the video's frame `i` (1-based)."""
        return fit_to_frames(read_annotation(found.path, space), len(clock))


FORMATS.register(AbawText.name, AbawText())


def blank(space: LabelSpace) -> float:
    """What stands in an annotation where nothing is known; never a label."""
    return _unknown_number(space) if space.kind is SpaceKind.VALUES else -1


def _unknown_number(space: LabelSpace) -> float:
    """What a file writes where it does not say."""
    return _unknown_numbers(space)[0]


def _unknown_numbers(space: LabelSpace) -> tuple[float, ...]:
    return space.unknown_numbers or (space.low - 1,)


def _is_unknown(table: NDArray[np.float32], space: LabelSpace) -> NDArray[np.bool_]:
    return np.isin(table, np.array(_unknown_numbers(space), table.dtype))


def read_annotation(path: Path, task: Task) -> AnnotationFile:
    """Read one file of Aff-Wild2 (header line, then one line a frame), by the names in its header.

    CRLF, a byte-order mark and blanks at ends of lines or of the file are tolerated; nothing else is.

    Raises:
        AnnotationError: the file is not such a file; the message has the line number.
        UnknownNameError: there is no such task.
    """
    space = task_space(task)
    if space.kind is SpaceKind.CLASSES and any(space.class_of(str(n)) != n for n in range(len(space))):
        raise AnnotationError(
            f"'{path}': the classes of '{space}' are called by numbers, so that a line could be a name or the place of "
            "one in the header. Write a table with a column `label` instead (format timed_table)."
        )
    lines = _lines(path)
    names, edition = _header(path, lines[0], space)
    columns = 1 if space.kind is SpaceKind.CLASSES else len(names)
    table = _numbers(path, lines[1:], columns)
    legal, expected = _legal(table, space, len(names))
    if not legal.all():
        row = int(np.argmin(legal.all(axis=1)))
        raise fault(path, row + _FIRST_DATA_LINE, f"found {lines[row + 1]!r}, expected {expected}")
    table[_is_unknown(table, space)] = blank(space)
    value = _in_todays_space(table, names, space)
    return AnnotationFile(value, value != blank(space), space, edition)


def fit_to_frames(annotation: AnnotationFile, frames: int) -> FrameLabels:
    """Give the annotation exactly as many rows as its video has frames.

    The organisers count `CAP_PROP_FRAME_COUNT + 1` lines, so one line too many is usual and dropped. A few more are
    dropped with a complaint. Frames past the last line are unknown, and the complaint says how many.

    Args:
        annotation: as read.
        frames: the video's, as decoded.

    Raises:
        AnnotationError: beside the usual line there are more too many than 1 % of the frames: it is another video's.
    """
    lines = len(annotation)
    surplus = lines - frames - 1
    if surplus > _SURPLUS * frames:
        raise AnnotationError(
            f"The annotation has {lines} lines and its video {frames} frames. It belongs to another cut of this video "
            f"(one line more than frames is usual, and {_SURPLUS:.0%} of them at most beside it); find the matching "
            "file."
        )
    short = frames - lines
    if short <= 0:
        complaint = _surplus_complaint(annotation, frames) if surplus > 0 else None
        return FrameLabels(annotation.value[:frames], annotation.known[:frames], complaint)
    rest = ((0, short), (0, 0))
    value = np.pad(annotation.value, rest, constant_values=blank(annotation.space))
    complaint = f"The annotation has {lines} lines for {frames} frames; the last {short} frames are taken as unknown."
    return FrameLabels(value, np.pad(annotation.known, rest), complaint)


def _surplus_complaint(annotation: AnnotationFile, frames: int) -> str:
    lines, labelled = len(annotation), int(annotation.known[frames:].any(axis=1).sum())
    return (
        f"The annotation has {lines} lines for {frames} frames; the last {lines - frames}, {labelled} of them with a "
        "label, are left out."
    )


def _lines(path: Path) -> list[str]:
    """The header and the data lines, without blanks at their ends; at least one of each, none empty."""
    lines = [line.strip() for line in text_lines(path)]
    if len(lines) < _FIRST_DATA_LINE:
        found = f"only the line {shortened(lines[0])}" if lines[0] else "an empty file"
        raise AnnotationError(f"'{path}': found {found}, expected a header and a line for every frame.")
    if "" in lines:
        raise fault(path, lines.index("") + 1, "found an empty line, expected a line for every frame")
    return lines


def _header(path: Path, line: str, task: LabelSpace) -> tuple[list[str], LabelSpace]:
    """The column names of the header, in its own order, and the edition they are of."""
    cells = [cell.strip().lower() for cell in line.split(",")]
    for space in _editions(task):
        spelling = {name.lower(): name for name in space.names}
        if sorted(cells) == sorted(spelling):
            return [spelling[cell] for cell in cells], space
    others = (o for o, spaces in EDITIONS.items() if any({*cells} == {n.lower() for n in s.names} for s in spaces))
    other = next(others, None)
    meant = f", the header of the task '{other}'" if other else ""
    expected = " or ".join(f"'{','.join(space.names)}'" for space in _editions(task))
    raise fault(path, 1, f"found {shortened(line)}{meant}, expected the header of the task '{task}': {expected}")


def _numbers(path: Path, lines: list[str], columns: int) -> NDArray[np.float32]:
    """The data lines as `(lines, columns)`."""
    try:
        table = np.loadtxt(lines, np.float32, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        table = np.empty((0, 0), np.float32)
    if table.shape == (len(lines), columns):
        return table
    for number, line in enumerate(lines, _FIRST_DATA_LINE):
        cells = [cell.strip() for cell in line.split(",")]
        wrong = next((cell for cell in cells if not _NUMBER.fullmatch(cell)), None)
        if len(cells) != columns:
            raise fault(path, number, f"found {len(cells)} columns in {shortened(line)}, expected {columns}")
        if wrong is not None:
            raise fault(path, number, f"found {shortened(wrong)}, expected a number")
    raise AnnotationError(f"'{path}': found something that is no table of {columns} columns of numbers.")


def _legal(table: NDArray[np.float32], space: LabelSpace, names: int) -> tuple[NDArray[np.bool_], str]:
    """Which cells the task allows, and what it allows in words."""
    unknown, valid = _unknown_number(space), space.is_valid(table)
    if space.kind is SpaceKind.CLASSES:  # an earlier edition may have fewer
        valid &= table < names
    legal = valid | _is_unknown(table, space)
    high = names - 1 if space.kind is SpaceKind.CLASSES else space.high
    if space.kind is SpaceKind.VALUES:
        return legal, f"values in [{space.low:g}, {high:g}], or {unknown:g} for unknown"
    return legal, f"whole numbers from 0 to {high:g}, or {unknown:g} for unknown"


def _editions(space: LabelSpace) -> tuple[LabelSpace, ...]:
    return EDITIONS.get(space.name, (space,))


def _in_todays_space(table: NDArray[np.float32], names: list[str], space: LabelSpace) -> NDArray[Any]:
    """The same labels with the columns, or the classes, of `space`, matched by name."""
    if space.kind is SpaceKind.CLASSES:
        classes = np.array([*map(space.names.index, names), -1], np.int8)
        return classes[table.astype(np.int8)]  # -1 takes the last entry
    value = np.full((len(table), len(space)), blank(space), space.dtype)
    ours = [column for column, name in enumerate(space.names) if name in names]
    value[:, ours] = table[:, [names.index(space.names[column]) for column in ours]]
    return value
