"""Which labelled videos a head is fitted on, and which choose its epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.names import split_subject, without_suffix
from affstore.store.contract.printable import some
from affstore.store.contract.table_files import VIDEO
from affstore.store.contract.video_columns import rows_of_videos, table_with_columns

SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Folds:
    """How the training videos are cut for cross-validation.

    A video's fold depends on that video alone (or on its group), so that videos which are added later move no other.
    Folds are therefore of about the same size, and of few videos one may be empty.

    Attributes:
        count: how many folds.
        groups: from videos to the group of each, as all videos of one person; a group is never in two folds. None are
            given, or one for every training video.
        seed: another one gives another cut.
        each_group: whether every group is a fold of its own, in the order of their names.
    """

    KIND: ClassVar[str] = "folds"

    count: int = 5
    groups: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    each_group: bool = False

    @classmethod
    def by_group(cls, groups: Mapping[str, str]) -> Folds:
        """Every group is held out once.

        Raises:
            SpecError: there are fewer than two.
        """
        count = len(set(groups.values()))
        if count < 2:
            raise SpecError(f"To hold each group out once takes 2 groups at least; {count} were given by --groups.")
        return cls(count, groups, each_group=True)

    def __post_init__(self) -> None:
        if self.count < 2:
            raise SpecError(f"Videos are cut into 2 folds at least; {self.count} were asked for.")

    def fold_of(self, names: Iterable[str], sha256: str) -> int:
        """The fold of a video, from 0.

        Args:
            names: of the video: one or more.
            sha256: of its bytes.

        Raises:
            AnnotationError: there are groups, and the video has none.
        """
        if self.each_group:
            return sorted(set(self.groups.values())).index(self.group_of(names))
        identity = f"group {self.group_of(names)}" if self.groups else sha256
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{identity}".encode()).digest()) % self.count

    def group_of(self, names: Iterable[str]) -> str:
        """The group of a video.

        Raises:
            AnnotationError: it has none, or its names have several.
        """
        names = tuple(names)
        found = sorted({self.groups[name] for name in names if name in self.groups})
        if not found:  # two people of one video who are in two groups
            of_videos = groups_of_videos(self.groups)
            found = sorted({group for name in names for group in of_videos.get(name, ())})
        if len(found) != 1:
            has = f"is in the groups {' and '.join(found)}" if found else "is in no group"
            raise AnnotationError(f"Every training video needs one group, and '{names[0]}' {has}. Correct the groups.")
        return found[0]


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """Which labelled videos a head is fitted on, and which choose its epoch.

    Attributes:
        train: the splits it is fitted on.
        validation: the splits that choose its epoch, and are measured; none where its epochs are fixed.
        folds: how the videos of `train` are cut, or None. With folds, the one that is `held_out` takes the place of
            `validation`, and the head sees the others.
        held_out: which fold, from 0.
        blind: whether the head is fitted without a look at the fold that is held out, which is then what is reported.
    """

    KIND: ClassVar[str] = "division"

    train: tuple[str, ...] = ("train",)
    validation: tuple[str, ...] = ("validation",)
    folds: Folds | None = None
    held_out: int = 0
    blind: bool = False

    def __post_init__(self) -> None:
        unknown = sorted({*self.train, *self.validation} - set(SPLITS))
        if unknown or not self.train:
            raise SpecError(f"A head is fitted on {' or '.join(SPLITS)}; found {', '.join(unknown) or 'nothing'}.")
        if self.folds and not 0 <= self.held_out < self.folds.count:
            raise SpecError(f"Of {self.folds.count} folds number {self.held_out} cannot be held out.")
        if not self.folds and set(self.train) & set(self.validation):
            raise SpecError("A split cannot both train a head and choose its epoch.")


_FIRST_FEW = 5


GROUP_COLUMNS = ("group", "participant", "participant_id", "person", "subject_id")
"""The columns that may name a video's group, the first that a table has."""


def read_groups(path: Path) -> dict[str, str]:
    """Read the groups of videos from a table with a column `video`, and one of `GROUP_COLUMNS` or one that is named.

    A table is read as one of labels is: CSV with commas, semicolons or tabs, or Parquet; headers without regard to
    case. It may have other columns, and several rows of a video. A row of `12_left` is of a video of that name, and of
    the video `12` if that has no row of its own; so is one of `12.mp4`.

    Args:
        path: of the table; `FILE:COLUMN` names the column.

    Raises:
        SpecError: it cannot be read, or is no such table; the message has the line.
    """
    table, asked = table_with_columns(path, "groups")
    wanted = asked or GROUP_COLUMNS
    column = next((one for one in wanted if table.header.count(one) == 1), "")
    if table.header.count(VIDEO) != 1 or not column:
        expected = f"'video' and '{wanted[0]}'" + ("" if asked else f" (or {', '.join(wanted[1:])}; or FILE:COLUMN)")
        header = ",".join(table.header)
        raise SpecError(f"'{table.path}': found the header {header!r}, expected the columns {expected}, each once.")
    groups: dict[str, str] = {}
    for line, video, group in rows_of_videos(table, column):
        if groups.setdefault(video, group) != group:
            raise SpecError(f"'{table.path}', line {line}: '{video}' is in the group '{groups[video]}' already.")
    # One that is itself called `12.mp4` keeps its row, and gives one to `12`.
    for name, group in tuple(groups.items()):
        video = without_suffix(name)
        if groups.setdefault(video, group) != group:
            raise SpecError(f"'{table.path}': '{video}' is in the group '{groups[video]}', and '{name}' in '{group}'.")
    return {name: min(found) for name, found in groups_of_videos(groups).items() if len(found) == 1}


def groups_of_videos(groups: Mapping[str, str]) -> dict[str, set[str]]:
    """The groups of each video by the rows of a table: its own, else those of its people's rows (`12_left`)."""
    found = {name: {group} for name, group in groups.items()}
    for name, group in groups.items():
        video = split_subject(name)[0]
        if video not in groups:
            found.setdefault(video, set()).add(group)
    return found


def check_leak(splits: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Check that no video, and no video's bytes, are in two splits.

    Args:
        splits: of each, its videos: name and SHA-256 of the bytes.

    Raises:
        AnnotationError: there are such; up to five are named.
    """
    videos_of = {split: set(videos) for split, videos in splits.items()}
    found: list[str] = []
    for first, second in combinations(videos_of, 2):
        found += _same_name(first, second, videos_of) + _same_bytes(first, second, videos_of)
    if found:
        faults = some(found, _FIRST_FEW, "; ")
        raise AnnotationError(f"Splits share videos: {faults}. Keep the annotations of one split only.")


_VideosOfSplits = Mapping[str, set[tuple[str, str]]]


def _same_name(first: str, second: str, videos_of: _VideosOfSplits) -> list[str]:
    both = {name for name, _ in videos_of[first]} & {name for name, _ in videos_of[second]}
    return [f"'{name}' is in {first} and in {second}" for name in sorted(both)]


def _same_bytes(first: str, second: str, videos_of: _VideosOfSplits) -> list[str]:
    """Videos of two names whose bytes are equal."""
    by_digest: dict[str, list[str]] = {}
    for name, sha256 in sorted(videos_of[second]):
        by_digest.setdefault(sha256, []).append(name)
    return [
        f"'{name}' of {first} and '{other}' of {second} have the same bytes (SHA-256 {sha256[:12]}…)"
        for name, sha256 in sorted(videos_of[first])
        for other in by_digest.get(sha256, [])
        if other != name
    ]
