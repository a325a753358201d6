"""What a format of label files is: which files it reads, and how. One file here, or of a plugin, adds one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import LabelSpace, Task
from affstore.store.contract.names import split_subject, video_name
from affstore.store.contract.registry import Registry
from affstore.store.contract.walk import Leavings, files_in

Split = Literal["train", "validation", "test"]
"""What labels are for; those of `test` are in no store, as no head may see them."""

_SPLIT_FOLDERS: dict[str, Split] = {
    "train_set": "train",
    "training_set": "train",
    "train": "train",
    "validation_set": "validation",
    "val_set": "validation",
    "validation": "validation",
    "val": "validation",
}

_TEST = ("test", "test_set", "testing")

TEST_ROWS = "labels of test videos, which no head sees"
"""Why files, or rows of a table, are passed over."""


class FrameLabels(NamedTuple):
    """Labels by 0-based frame; `complaint` is a sentence about what of the file could not be used, or None.

    `note` says how the file was understood, where it could have been understood in another way.

    `value` is `(frames, columns)` of the space's type, whatever stands where `known`, of the same shape, is False.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]
    complaint: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class LabelFile:
    """A file of labels: what its place and name say of it, and what a configuration adds.

    `12_left.txt` is of the video `12` and its subject `left`, unless a video is itself called `12_left`. Whether
    `12_person3.txt` is of a person of `12` only the names of all videos say.

    Attributes:
        task: what the labels are of; empty where the place does not say.
        split: what the frames are for.
        video: the video's name.
        subject: of the video.
        path: where the file is.
        format: the name of its format.
        within: how a file of many videos calls this one; empty for a file of one video.
        fault: why nothing of it can be used, where finding it has shown that; empty else.
    """

    task: Task
    split: Split
    video: str
    subject: str
    path: Path
    format: str = "abaw"
    within: str = ""
    fault: str = ""

    def of_video(self, name: str, split: Split) -> LabelFile:
        """One video's rows of this file."""
        video, subject = split_subject(video_name(name))
        return replace(self, split=split, video=video, subject=subject, within=name)

    @classmethod
    def at(cls, path: Path, format: str, task: Task = "") -> LabelFile:
        """A file by its name and its folders; for training where no folder says otherwise."""
        return cls(task, split_by_folders(path) or "train", *split_subject(video_name(path.stem)), path, format)

    @property
    def in_quarantine(self) -> str:
        """How quarantine calls what cannot be used of it: FILE, or FILE:VIDEO of a file of many videos."""
        return f"{self.path.name}:{self.within}" if self.within else self.path.name

    @property
    def name(self) -> str:
        """The name of the file, or of the video within it, as videos are called."""
        return video_name(self.within or self.path.stem)


class LabelFormat(ABC):
    """A format of label files.

    Attributes:
        contract: number of this contract that a plugin was written for; today's is 2.
        name: what it is called in configurations.
        version: raised whenever the same file would give other labels.
        description: what it reads, in one line.
        needs: what must be installed for it, as `pip install …`; empty where nothing is missing.
    """

    contract: ClassVar[int]
    name: ClassVar[str]
    version: ClassVar[int]
    description: ClassVar[str]
    needs: ClassVar[str] = ""

    @abstractmethod
    def at(self, path: Path) -> LabelFile | None:
        """What a file is by its place and name alone, which is not opened; None for one that is not of this format."""

    def find(self, folder: Path, leavings: Leavings | None = None) -> list[LabelFile]:
        """All files of this format in a folder, at any depth, sorted by their paths; maybe none. A file is itself.

        Linked folders are followed; hidden ones are not.

        Args:
            folder: the folder, or a file.
            leavings: gets what is passed over when the folder is searched.

        Raises:
            SpecError: there is no such folder or file.
        """
        root = folder.resolve()
        if not root.exists():
            raise SpecError(f"Labels are looked for in '{folder}', which does not exist. Check the path.")
        paths = [root] if root.is_file() else files_in(root, Leavings() if leavings is None else leavings)
        return [found for path in paths if (found := self.at(path)) is not None]

    def files_of(self, folder: Path, task: Task, leavings: Leavings | None = None) -> list[LabelFile]:
        """All files of this format in a folder that may hold labels of a task; one of several people once for each.

        Args:
            folder: see `find`.
            task: what the labels are of.
            leavings: see `find`.

        Raises:
            SpecError: see `find`.
        """
        return [replace(one, task=task) for one in self.find(folder, leavings)]

    @abstractmethod
    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """The labels of every frame of a video.

        Args:
            found: the file.
            space: what the labels are of.
            clock: when the video's frames begin.

        Raises:
            AnnotationError: the file is not of this format, or not of this video; the message has file and line.
            UnknownNameError: this format does not know the space.
        """


FORMATS: Registry[LabelFormat] = Registry(
    "label format", "affstore.models.labels", "affstore.labels", contract=2, base=LabelFormat
)


def label_file_at(path: Path) -> LabelFile | None:
    """What a file is by its place alone, if a format can tell what its labels are of; None for any other file."""
    found = (FORMATS.get(name).at(path) for name in FORMATS.names())
    return next((one for one in found if one is not None and one.task), None)


def split_by_folders(path: Path) -> Split | None:
    """What a file's folders say that its frames are for; the innermost decides."""
    folders = map(str.lower, reversed(path.parent.parts))
    return next((_SPLIT_FOLDERS[folder] for folder in folders if folder in _SPLIT_FOLDERS), None)


def split_called(text: str) -> Split | None:
    """The split that a table calls so; None where that is none."""
    called = text.strip().lower()
    return "test" if called in _TEST else _SPLIT_FOLDERS.get(called)


def check_labelled_once(found: Iterable[LabelFile]) -> None:
    """See that two files of the same labels do not take turns in the store, run by run.

    Raises:
        SpecError: one subject of a video is labelled twice for one task.
    """
    first: dict[tuple[str, str], Path] = {}
    for one in found:
        path = first.setdefault((str(one.task), one.name), one.path)
        if path != one.path:
            raise SpecError(
                f"'{one.name}' is annotated twice for the task '{one.task}': '{path}' and '{one.path}'. "
                "Point at the folder of one edition."
            )
