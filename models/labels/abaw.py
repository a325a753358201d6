"""Aff-Wild2's annotation files, of every ABAW edition: text to arrays by frame. 1-based lines end here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import AU, AU_8, EXPR, EXPR_7, VA, LabelSpace, task_space
from affstore.store.contract.names import split_subject, video_name

EDITIONS: dict[str, tuple[LabelSpace, ...]] = {"expr": (EXPR, EXPR_7), "au": (AU, AU_8), "va": (VA,)}
"""The spaces each task had, today's first: ABAW 1 and 2 had 7 expressions, ABAW 1 had 8 action units."""

UNKNOWN: dict[str, int] = {"expr": -1, "au": -1, "va": -5}
"""What the organisers write where they do not say; never a label."""

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
_SPLIT_FOLDERS: dict[str, Literal["train", "validation"]] = {
    "train_set": "train",
    "training_set": "train",
    "validation_set": "validation",
    "val_set": "validation",
}


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One annotation file; data line `i` (1-based) speaks of the video's frame `i` (1-based), so row 0 of frame 0.

    Attributes:
        value: expr `(lines, 1)` int8 class; au `(lines, 12)` int8, 0 or 1; va `(lines, 2)` float32. Columns mean what
            `space` says; `UNKNOWN[task]` where not `known`.
        known: same shape, bool.
        space: today's space of the task (`affstore.store.contract.labels.TASKS`).
        edition: the space of the file's header; what it lacks of `space` is unknown, what it has besides is left out.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]
    space: LabelSpace
    edition: LabelSpace

    def __len__(self) -> int:
        return len(self.value)


class FrameLabels(NamedTuple):
    """Labels by 0-based frame; `complaint` is a sentence about lines too few or too many, or None."""

    value: NDArray[Any]
    known: NDArray[np.bool_]
    complaint: str | None


@dataclass(frozen=True, slots=True, order=True)
class FoundAnnotation:
    """An annotation file by what its place and name say.

    `12_left.txt` is of the video `12` and its subject `left`, unless a video is itself called `12_left`.
    """

    task: str
    split: Literal["train", "validation"]
    video: str
    subject: str
    path: Path

    @property
    def name(self) -> str:
        """The file's name, as videos are called."""
        return video_name(self.path.stem)


def read_annotation(path: Path, task: str) -> Annotation:
    """Read one file of Aff-Wild2 (header line, then one line a frame), by the names in its header.

    CRLF, a byte-order mark and blanks at ends of lines or of the file are tolerated; nothing else is.

    Raises:
        AnnotationError: the file is not such a file; the message has the line number.
        UnknownNameError: there is no such task.
    """
    space = task_space(task)
    lines = _lines(path)
    names, edition = _header(path, lines[0], task)
    columns = 1 if space.kind == "one_of" else len(names)
    table = _numbers(path, lines[1:], columns)
    legal, expected = _legal(table, space, len(names))
    if not legal.all():
        row = int(np.argmin(legal.all(axis=1)))
        raise _fault(path, row + _FIRST_DATA_LINE, f"found {lines[row + 1]!r}, expected {expected}")
    value = _in_todays_space(table, names, space)
    return Annotation(value, value != UNKNOWN[space.name], space, edition)


def fit_to_frames(annotation: Annotation, frames: int) -> FrameLabels:
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
    value = np.pad(annotation.value, rest, constant_values=UNKNOWN[annotation.space.name])
    complaint = f"The annotation has {lines} lines for {frames} frames; the last {short} frames are taken as unknown."
    return FrameLabels(value, np.pad(annotation.known, rest), complaint)


def _surplus_complaint(annotation: Annotation, frames: int) -> str:
    lines, labelled = len(annotation), int(annotation.known[frames:].any(axis=1).sum())
    return (
        f"The annotation has {lines} lines for {frames} frames; the last {lines - frames}, {labelled} of them with a "
        "label, are left out."
    )


def find_annotations(folder: Path) -> list[FoundAnnotation]:
    """All annotation files under a folder that holds Aff-Wild2's own folders, at any depth, sorted; maybe none.

    `…/<task folder>/…/<Train_Set | Validation_Set>/…/<video>.txt`, with the task folders of every ABAW edition. The
    folder itself may be any of them.

    Raises:
        SpecError: it is no folder, or one subject of a video is annotated twice for one task.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise SpecError(f"Annotations are looked for in a folder, and '{folder}' is none. Check the path.")
    found = sorted(one for one in map(annotation_at, root.rglob("*.txt")) if one is not None)
    check_annotated_once(found)
    return found


def check_annotated_once(found: Iterable[FoundAnnotation]) -> None:
    """See that two editions of the annotations do not take turns in the store, run by run.

    Raises:
        SpecError: one subject of a video is annotated twice for one task.
    """
    first: dict[tuple[str, str], Path] = {}
    for one in found:
        path = first.setdefault((one.task, one.name), one.path)
        if path != one.path:
            raise SpecError(
                f"'{one.name}' is annotated twice for the task '{one.task}': '{path}' and '{one.path}'. "
                "Point at the folder of one edition."
            )


def annotation_at(path: Path) -> FoundAnnotation | None:
    """What a file's folders say it is; None for a file that is in no split of a task."""
    if path.suffix.lower() != ".txt" or path.name.startswith("."):
        return None
    folders = [part.lower() for part in path.parent.parts]
    tasks = [_TASK_FOLDERS[part] for part in folders if part in _TASK_FOLDERS]
    splits = [_SPLIT_FOLDERS[part] for part in folders if part in _SPLIT_FOLDERS]
    if not tasks or not splits:
        return None
    return FoundAnnotation(tasks[-1], splits[-1], *split_subject(video_name(path.stem)), path)


def _lines(path: Path) -> list[str]:
    """The header and the data lines, without blanks at their ends; at least one of each, none empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"The annotation '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"'{path}' is not UTF-8 text (byte {error.start}); it is no annotation.") from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]
    if len(lines) < _FIRST_DATA_LINE:
        found = f"only the line {_short(lines[0])}" if lines[0] else "an empty file"
        raise AnnotationError(f"'{path}': found {found}, expected a header and a line for every frame.")
    if "" in lines:
        raise _fault(path, lines.index("") + 1, "found an empty line, expected a line for every frame")
    return lines


def _header(path: Path, line: str, task: str) -> tuple[list[str], LabelSpace]:
    """The column names of the header, in its own order, and the edition they are of."""
    cells = [cell.strip().lower() for cell in line.split(",")]
    for space in EDITIONS[task]:
        spelling = {name.lower(): name for name in space.names}
        if sorted(cells) == sorted(spelling):
            return [spelling[cell] for cell in cells], space
    others = (o for o, spaces in EDITIONS.items() if any({*cells} == {n.lower() for n in s.names} for s in spaces))
    other = next(others, None)
    meant = f", the header of the task '{other}'" if other else ""
    expected = " or ".join(f"'{','.join(space.names)}'" for space in EDITIONS[task])
    raise _fault(path, 1, f"found {_short(line)}{meant}, expected the header of the task '{task}': {expected}")


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
            raise _fault(path, number, f"found {len(cells)} columns in {_short(line)}, expected {columns}")
        if wrong is not None:
            raise _fault(path, number, f"found {_short(wrong)}, expected a number")
    raise AnnotationError(f"'{path}': found something that is no table of {columns} columns of numbers.")


def _legal(table: NDArray[np.float32], space: LabelSpace, names: int) -> tuple[NDArray[np.bool_], str]:
    """Which cells the task allows, and what it allows in words."""
    if space.kind == "scale":
        return (np.abs(table) <= 1) | (table == UNKNOWN[space.name]), "values in [-1, 1], or -5 for unknown"
    last = names - 1 if space.kind == "one_of" else 1
    legal = (table >= UNKNOWN[space.name]) & (table <= last) & (table == np.rint(table))
    return legal, f"whole numbers from 0 to {last}, or -1 for unknown"


def _in_todays_space(table: NDArray[np.float32], names: list[str], space: LabelSpace) -> NDArray[Any]:
    """The same labels with the columns, or the classes, of `space`, matched by name."""
    unknown = UNKNOWN[space.name]
    if space.kind == "one_of":
        classes = np.array([*(space.names.index(name) for name in names), unknown], np.int8)
        return classes[table.astype(np.int8)]  # -1 takes the last entry
    value = np.full((len(table), len(space)), unknown, np.float32 if space.kind == "scale" else np.int8)
    ours = [column for column, name in enumerate(space.names) if name in names]
    value[:, ours] = table[:, [names.index(space.names[column]) for column in ours]]
    return value


def _fault(path: Path, line: int, reason: str) -> AnnotationError:
    return AnnotationError(f"'{path}', line {line}: {reason}. Correct the file or leave it out.")


def _short(text: str) -> str:
    """A piece of a file as a message may show it."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
