"""Windows of many videos as a torch `Dataset`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.records import Record
from affstore.store.contract.windows import WindowSpec, window_starts
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.row_reader import RowReader

if TYPE_CHECKING:
    import torch


class Window(NamedTuple):
    """One window, padded with zeros (and present False) to the spec's length.

    Attributes:
        embedding: `(length, width)` float32.
        present: `(length,)` bool.
        video: index into `FrameWindows.records`.
        start: the first frame.
    """

    embedding: torch.Tensor
    present: torch.Tensor
    video: int
    start: int


class FrameWindows:
    """A map-style torch dataset: `windows[i]` reads one window from the store, and nothing else.

    It pickles, so a `DataLoader` may use several workers, each of which opens the store for itself, with
    `multiprocessing_context="spawn"` or `"forkserver"`: a forked process has none of the engine's threads. A batch's
    windows are read side by side. Every video's mask is kept, a byte a frame.

    Attributes:
        records: the artifacts it walks over, in order.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> windows = affstore.FrameWindows(store, store.records("visual"), affstore.WindowSpec(length=16, stride=8))
        >>> len(windows), tuple(windows[0].embedding.shape)
        (4, (16, 1280))
    """

    def __init__(self, store: FeatureStore, records: Sequence[Record], spec: WindowSpec | None = None) -> None:
        """Plan the windows; nothing is read yet.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            records: visual or audio artifacts, e.g. `store.records("visual")` filtered by extractor.
            spec: window length and stride; the papers' 300 and 200 if not given.
        """
        self._url, self._snapshot = store.url, store.snapshot
        self.records = tuple(records)
        self.spec = spec or WindowSpec()
        self._readers: tuple[RowReader, RowReader] | None = self._readers_of(store)
        self._masks: dict[int, NDArray[np.bool_]] = {}
        self._starts = [window_starts(self.spec, int(record.attributes["frames"])) for record in self.records]
        self._ends = list(accumulate(len(starts) for starts in self._starts))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_readers": None, "_masks": {}}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Window:
        """Read window `index`.

        Raises:
            IndexError: there is no such window.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indexes: Sequence[int]) -> list[Window]:
        """Read several windows side by side; torch's `DataLoader` calls this for a batch.

        Raises:
            IndexError: there is no such window.
        """
        import torch

        length = self.spec.length
        places = [self._place(index) for index in indexes]
        rows = self._reader(0).read_many([(video, start, start + length) for video, start in places], length)
        return [
            Window(torch.from_numpy(embedding), torch.from_numpy(self._present(video, start)), video, start)
            for embedding, (video, start) in zip(rows, places, strict=True)
        ]

    def _place(self, index: int) -> tuple[int, int]:
        """The video and the first frame of a window."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} windows; asked for {index}.")
        video = bisect_right(self._ends, index)
        return video, int(self._starts[video][index - (self._ends[video - 1] if video else 0)])

    def _present(self, video: int, start: int) -> NDArray[np.bool_]:
        present = np.zeros(self.spec.length, bool)
        found = self._mask(video)[start : start + len(present)]
        present[: len(found)] = found
        return present

    def _mask(self, video: int) -> NDArray[np.bool_]:
        if video not in self._masks:
            self._masks[video] = self._reader(1).read(video, 0, self._reader(1).shape(video)[0])
        return self._masks[video]

    def _reader(self, which: int) -> RowReader:
        if self._readers is None:
            self._readers = self._readers_of(FeatureStore(self._url, self._snapshot))
        return self._readers[which]

    def _readers_of(self, store: FeatureStore) -> tuple[RowReader, RowReader]:
        """Of embeddings and of masks."""
        return (
            RowReader(store, self.records, "embedding"),
            RowReader(store, self.records, "present"),
        )
