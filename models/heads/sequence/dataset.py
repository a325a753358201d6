"""Videos as sequences: streams of features with their masks, labels, windows over them, and merging these again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """What was extracted from some frames of a video, one array an extractor.

    Attributes:
        values: `(frames, width)` float32 each; what stands where a stream is not present is never looked at.
        present: `(frames, streams)`: where a stream has something, as a face that was found.
    """

    values: tuple[NDArray[np.float32], ...]
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shapes = [array.shape for array in self.values]
        frames = len(self.present)
        if self.present.shape != (frames, len(shapes)) or any(len(s) != 2 or s[0] != frames for s in shapes):
            raise SpecError(
                f"Streams are arrays (frames, width) and a mask (frames, streams); found {shapes} and "
                f"{self.present.shape}."
            )

    def __len__(self) -> int:
        return len(self.present)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers a frame of each stream."""
        return tuple(array.shape[1] for array in self.values)

    def cut(self, start: int, stop: int) -> Streams:
        """The frames `[start, stop)` that exist."""
        return Streams(tuple(array[start:stop] for array in self.values), self.present[start:stop])


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of all frames of a video.

    Attributes:
        value: `(frames, 1)` int8 class, `(frames, 12)` int8 0 or 1, or `(frames, 2)` float32, as annotations keep them.
        known: `(frames,)`: where every column is known; a frame that lacks one is left out, as in the papers.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.value.ndim != 2 or self.known.shape != self.value.shape[:1]:
            raise SpecError(
                f"Labels are (frames, columns) and known (frames,); found {self.value.shape} and {self.known.shape}."
            )


class Piece(NamedTuple):
    """Frames of a video that follow each other.

    Attributes:
        video: index of the video in its source.
        start: first frame.
        stop: the frame after the last.
    """

    video: int
    start: int
    stop: int


class Sequences(Protocol):
    """Labelled videos (more exactly: subjects of videos) that can be read piece by piece.

    A trainer holds all labels and a few batches of features, so an implementation may read a store in bounded memory.
    It is called by one thread at a time, which need not always be the same.
    """

    @property
    def names(self) -> Sequence[str]:
        """What to call each in a message."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers a frame of each stream."""

    def labels(self, video: int) -> Labels:
        """All labels of the video at that index; they say how many frames it has."""

    def read(self, pieces: Sequence[Piece]) -> list[Streams]:
        """The frames of each piece, which exist."""


class MemorySequences:
    """Labelled videos that are held in memory."""

    def __init__(self, videos: Sequence[tuple[str, Streams, Labels]]) -> None:
        """Take videos by name.

        Raises:
            SpecError: streams and labels have not the same frames, or two videos have streams of other widths.
        """
        self._videos = tuple(videos)
        self.names = tuple(name for name, _, _ in self._videos)
        for name, streams, labels in self._videos:
            check_widths(f"Video '{name}'", streams.widths, self.widths)
            if len(streams) != len(labels.known):
                raise SpecError(f"Video '{name}' has {len(streams)} frames and {len(labels.known)} labels.")

    @property
    def widths(self) -> tuple[int, ...]:
        """See `Sequences.widths`."""
        return self._videos[0][1].widths if self._videos else ()

    def labels(self, video: int) -> Labels:
        """See `Sequences.labels`."""
        return self._videos[video][2]

    def read(self, pieces: Sequence[Piece]) -> list[Streams]:
        """See `Sequences.read`."""
        return [self._videos[video][1].cut(start, stop) for video, start, stop in pieces]


def check_widths(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """See that streams have the widths they should.

    Raises:
        SpecError: they have others.
    """
    if found != expected:
        raise SpecError(f"{what} has streams of widths {list(found)}; needed are {list(expected)}, in that order.")


def check_finite(name: str, start: int, streams: Streams) -> None:
    """See that features are numbers where a stream is present.

    Raises:
        SpecError: NaN or infinity; the frame is named.
    """
    with np.errstate(invalid="ignore"):
        sums = [array.sum(axis=1, dtype=np.float64) for array in streams.values]  # finite numbers cannot overflow it
    bad = np.stack([~np.isfinite(total) for total in sums], axis=1) & streams.present
    if bad.any():
        frame, stream = np.argwhere(bad)[0]
        raise SpecError(
            f"Stream {stream} of video '{name}' holds NaN or infinity in frame {start + frame}. "
            "Extract the video again, or mark the frame as not present."
        )


def merge(frames: int, starts: NDArray[np.int64], outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The outputs for each frame: the mean over the windows that hold it.

    Args:
        frames: of the video.
        starts: `(windows,)` first frames, as `window_starts` gives them.
        outputs: of each window, `(length, k)`; what reaches beyond the last frame is padding.

    Returns:
        `(frames, k)`.

    Raises:
        SpecError: there is no window, or a frame that is in none.
    """
    counts = np.zeros(frames, np.int64)
    total = np.zeros((frames, outputs[0].shape[1] if len(outputs) else 0))
    for start, output in zip(starts, outputs, strict=True):
        stop = min(int(start) + len(output), frames)
        total[start:stop] += output[: stop - start]
        counts[start:stop] += 1
    if not counts.all() or not frames:
        raise SpecError(f"Windows from {starts.tolist()} do not cover {frames} frames.")
    return (total / counts[:, None]).astype(np.float32)
