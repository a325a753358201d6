"""The file the ABAW challenge takes (5th and 6th edition): one line a listed frame. 1-based image names begin here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError
from affstore.store.contract.files import replacing
from affstore.store.contract.labels import LabelSpace, SpaceKind, Task, task_space

_ROW = re.compile(r"^[^\S\n]*((\S(?:.*\S)?)/(\d{1,9})\.jpg)[^\S\n]*(?:,[^\n]*)?$", re.MULTILINE)
_FIRST_ROW_LINE = 2

Predictions = Mapping[str, NDArray[Any]]
"""By video as Aff-Wild2 names it (`12_left`): decisions `(frames, 1 | 12 | 2)` by 0-based frame."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleList:
    """Which frames a submission speaks of, in its order.

    Attributes:
        space: what is predicted.
        header: the first line.
        images: each row's image, `12_left/00001.jpg`.
        videos: the listed videos, `12_left`, in order of appearance.
        video: `(rows,)` int64, index into `videos`.
        frame: `(rows,)` int64, 0-based.
    """

    space: LabelSpace
    header: str
    images: list[str]
    videos: list[str]
    video: NDArray[np.int64]
    frame: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Submission:
    """What was written: `repeated` rows lie past their video's last frame and have its prediction again."""

    path: Path
    rows: int
    videos: int
    repeated: int


def read_sample(path: Path, task: Task) -> SampleList:
    """Read the organisers' sample of a test set: a header, then `video/00001.jpg`, with or without dummy values.

    Raises:
        SpecError: the file is no such list, is of another task, or has rows that are not understood.
    """
    space = task_space(task)
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"The sample list '{path}' cannot be read as text: {error}") from error
    header, _, body = text.partition("\n")
    names = [cell.strip().lower() for cell in header.rstrip(", ").split(",")]
    if names != _header(space).lower().split(","):
        raise SpecError(f"'{path}': the task '{task}' needs the header '{_header(space)}'; found {header[:200]!r}.")
    rows = _ROW.findall(body)
    lines = body.count("\n") + 1
    if len(rows) != lines:
        number, line = next(
            (n, line) for n, line in enumerate(body.split("\n"), _FIRST_ROW_LINE) if not _ROW.fullmatch(line)
        )
        raise SpecError(f"'{path}', line {number}: expected a row such as 'video/00001.jpg,'; found {line[:80]!r}.")
    images, of_video, numbers = (list(column) for column in zip(*rows, strict=True))
    frame = np.array(numbers, dtype=object).astype(np.int64) - 1
    if (frame < 0).any():
        row = int(np.argmax(frame < 0))
        raise SpecError(f"'{path}', line {row + _FIRST_ROW_LINE}: images count from 1; found '{images[row]}'.")
    index = {name: i for i, name in enumerate(dict.fromkeys(of_video))}
    video = np.fromiter(map(index.__getitem__, of_video), np.int64, len(of_video))
    return SampleList(space, header, images, list(index), video, frame)


def every_frame(task: Task, frames: Mapping[str, int]) -> SampleList:
    """The list to use where the organisers give none: every frame of every video, videos in order of their names.

    Args:
        task: what is predicted.
        frames: how many each video has, by its name with subject.
    """
    videos = sorted(frames)
    counts = np.array([frames[name] for name in videos], np.int64)
    images = [f"{name}/{number:05d}.jpg" for name in videos for number in range(1, frames[name] + 1)]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    video, frame = np.repeat(np.arange(len(videos)), counts), np.arange(len(images)) - starts
    space = task_space(task)
    return SampleList(space, _header(space), images, videos, video, frame)


def write_submission(path: Path, sample: SampleList, predictions: Predictions) -> Submission:
    """Write exactly the sample's rows, in its order, under its header.

    Classes and action units are whole numbers; valence and arousal have four decimals. A row past its video's last
    frame repeats the last prediction: the organisers count one frame more than videos have. The file appears whole
    or not at all.

    Raises:
        SpecError: a listed video has no prediction, or one that the task does not allow.
    """
    space = sample.space
    for name in sample.videos:
        _check(name, space, predictions)
    counts = np.array([len(predictions[name]) for name in sample.videos], np.int64)
    values = np.concatenate([predictions[name] for name in sample.videos]) if sample.videos else np.empty((0, 1))
    last = counts[sample.video] - 1
    first = (np.cumsum(counts) - counts)[sample.video]
    cells = _cells(values[first + np.minimum(sample.frame, last)], space)
    rows = (f"{image},{cell}\n" for image, cell in zip(sample.images, cells, strict=True))
    with replacing(path) as new, new.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{sample.header}\n")
        file.writelines(rows)
    return Submission(path, len(sample), len(sample.videos), int((sample.frame > last).sum()))


def _header(space: LabelSpace) -> str:
    return ",".join(("image_location", *space.names))


def _check(name: str, space: LabelSpace, predictions: Predictions) -> None:
    if name not in predictions:
        raise SpecError(f"The list asks for the video '{name}', which has no prediction. Predict it first.")
    values = predictions[name]
    if values.ndim != 2 or values.shape[1] != space.columns or not len(values):
        form = f"(frames, {space.columns}) with at least one frame"
        raise SpecError(f"Predictions of the task '{space.name}' are {form}; found {values.shape} for '{name}'.")
    legal = np.isfinite(values) if space.kind is SpaceKind.VALUES else space.is_valid(values)
    if not legal.all():
        form = "finite numbers" if space.kind is SpaceKind.VALUES else space.allowed
        raise SpecError(f"Predictions of the task '{space}' are {form}; '{name}' has others.")


def _cells(values: NDArray[Any], space: LabelSpace) -> list[str]:
    """The text of each row's values."""
    if space.kind is SpaceKind.VALUES:
        rounded = np.round(values.astype(np.float64), 4) + 0.0  # no minus before a zero
        return [",".join(f"{number:.4f}" for number in row) for row in rounded.tolist()]
    # Few rows differ: each is written once. Rows are compared as bytes, which is ten times as fast as by columns.
    rows = np.ascontiguousarray(values.astype(np.int8))
    _, first, which = np.unique(rows.view(f"V{rows.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    texts = [",".join(map(str, row)) for row in rows[first].tolist()]
    return [texts[row] for row in which.tolist()]
