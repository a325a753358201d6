"""Windows of many videos as a torch `Dataset`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.contract.records import Record
from store.contract.windows import WindowSpec, window_starts
from store.engine.feature_store import FeatureStore

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

    It pickles, so a `DataLoader` may use several workers; each opens the store for itself.

    Attributes:
        records: the artifacts it walks over, in order.
    """

    def __init__(self, store: FeatureStore, records: Sequence[Record], spec: WindowSpec | None = None) -> None:
        """Plan the windows; nothing is read yet.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            records: visual or audio artifacts, e.g. `store.records("visual")` filtered by extractor.
            spec: window length and stride; the papers' 300 and 200 if not given.
        """
        self._url, self._snapshot = store.url, store.snapshot
        self._opened: FeatureStore | None = store
        self.records = tuple(records)
        self.spec = spec or WindowSpec()
        self._starts = [window_starts(self.spec, int(record.attributes["frames"])) for record in self.records]
        self._ends = list(accumulate(len(starts) for starts in self._starts))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Window:
        """Read window `index`.

        Raises:
            IndexError: there is no such window.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} windows; asked for {index}.")
        import torch

        video = bisect_right(self._ends, index)
        start = int(self._starts[video][index - (self._ends[video - 1] if video else 0)])
        rows = slice(start, start + self.spec.length)
        arrays = self._store().read(self.records[video].address, ["embedding", "present"], rows)
        embedding = torch.from_numpy(_padded(arrays["embedding"], self.spec.length))
        return Window(embedding, torch.from_numpy(_padded(arrays["present"], self.spec.length)), video, start)

    def _store(self) -> FeatureStore:
        if self._opened is None:
            self._opened = FeatureStore(self._url, self._snapshot)
        return self._opened


def _padded(rows: NDArray[np.generic], length: int) -> NDArray[np.generic]:
    """Rows, followed by zeros up to `length`."""
    if len(rows) == length:
        return rows
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])
