"""Labelled videos to train on or to score: checked, with all labels in memory and features read window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.sequence.dataset import Labels, Piece, Sequences, Streams, check_finite, check_widths
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import Task, task_space
from affstore.store.contract.windows import WindowSpec, window_starts


class Window(NamedTuple):
    """Where a window begins.

    Attributes:
        video: index of the video in its source.
        start: first frame.
    """

    video: int
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVideos:
    """Videos to read, with their labels, which are held in memory."""

    source: Sequences
    labels: tuple[Labels, ...]

    @classmethod
    def of(cls, task: Task, source: Sequences, what: str) -> LabelledVideos:
        """Read all labels and check them.

        Args:
            task: what is predicted.
            source: the videos.
            what: what they are for, as a message should say, e.g. `"training"`.

        Raises:
            SpecError: labels have other columns than the task.
            AnnotationError: no label is known, or one is outside the task's space.
        """
        labels = tuple(source.labels(video) for video in range(len(source.names)))
        for name, one in zip(source.names, labels, strict=True):
            check_labels(task, name, one)
        if not any(one.known.any() for one in labels):
            raise AnnotationError(f"No frame of {len(labels)} {what} videos has a known label of the task '{task}'.")
        return cls(source, labels)

    @property
    def known_values(self) -> NDArray[Any]:
        """The known labels of all videos, one after the other, `(frames, columns)`."""
        return np.concatenate([labels.value[labels.known] for labels in self.labels])

    def windows(self, spec: WindowSpec) -> list[Window]:
        """Every window that holds a known label."""
        return [
            Window(video, int(start))
            for video, labels in enumerate(self.labels)
            for start in window_starts(spec, len(labels.known))
            if labels.known[start : start + spec.length].any()
        ]

    def truth(self, window: Window, length: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The labels of a window's frames that exist, and which of them are known."""
        labels, frames = self.labels[window.video], slice(window.start, window.start + length)
        return labels.value[frames], labels.known[frames]

    def read(self, windows: Sequence[Window], length: int) -> list[Streams]:
        """The features of each window's frames that exist.

        Raises:
            SpecError: they have other widths than the source says, or are no numbers where present.
        """
        found = self.source.read([self._piece(window, length) for window in windows])
        for (video, start), streams in zip(windows, found, strict=True):
            name = self.source.names[video]
            check_widths(f"Video '{name}'", streams.widths, self.source.widths)
            check_finite(name, start, streams)
        return found

    def _piece(self, window: Window, length: int) -> Piece:
        video, start = window
        return Piece(video, start, min(start + length, len(self.labels[video].known)))


def check_labels(task: Task, name: str, labels: Labels) -> None:
    """See that a video's labels are of the task.

    Raises:
        SpecError: they have other columns.
        AnnotationError: a known label is outside the task's space.
    """
    space = task_space(task)
    if labels.value.shape[1] != space.columns:
        raise SpecError(
            f"The task '{task}' has {space.columns} label columns; those of video '{name}' have "
            f"{labels.value.shape[1]}."
        )
    inside = space.is_valid(labels.value).all(axis=1)
    if not np.all(inside | ~labels.known):
        frame = int(np.argmin(inside | ~labels.known))
        raise AnnotationError(
            f"Frame {frame} of video '{name}' has the label {labels.value[frame].tolist()}, not in "
            f"[{space.low:g}, {space.high:g}]. Mark it as unknown or correct it."
        )
