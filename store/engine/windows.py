"""Windows of many videos as a torch `Dataset`: embeddings of one network or several, with labels and masks."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.records import Record
from affstore.store.contract.windows import WindowSpec, window_starts
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.row_reader import RowReader
from affstore.store.engine.window_tracks import labels_of, tracks_of

if TYPE_CHECKING:
    import torch

UNKNOWN = -100
"""Stands for a class, unit or level that is not known: what torch's losses ignore (`ignore_index`)."""
_MOST_BYTES = 256 << 20
"""Masks and labels of all of Aff-Wild2, 2.8 million frames, take less."""


class Window(NamedTuple):
    """One window, or a batch of windows; what is beyond a short video's end is as where nothing is there.

    Attributes:
        embeddings: by extractor, `(length, width)` float32; zeros where its mask is False.
        masks: by extractor, `(length,)` bool: a face was seen, or sound plays, at that frame.
        labels: by label space, `(length, columns)`: int64 with `UNKNOWN` (-100) of classes, units and levels, float32
            with NaN of real numbers.
        known: by label space, `(length, columns)` bool: the label is known.
        video: index into `FrameWindows.videos`.
        start: the first frame.
    """

    embeddings: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]
    known: dict[str, torch.Tensor]
    video: int
    start: int

    @property
    def embedding(self) -> torch.Tensor:
        """The embeddings of all extractors side by side, `(length, widths)`."""
        import torch

        return torch.cat([*self.embeddings.values()], dim=-1)

    @property
    def present(self) -> torch.Tensor:
        """`(length,)` bool: every extractor has something at that frame."""
        import torch

        return torch.stack([*self.masks.values()]).all(dim=0)

    def __repr__(self) -> str:
        shapes = (f"{name} {tuple(one.shape)}" for name, one in (*self.embeddings.items(), *self.labels.items()))
        # A batch holds a number a window.
        video, start = ((one if isinstance(one, int) else "…") for one in (self.video, self.start))
        return f"<Window of video {video} from frame {start}: {', '.join(shapes)}>"


class FrameWindows:
    """A map-style torch dataset: `windows[i]` reads one window from the store, and nothing else.

    Embeddings of one video and subject by several networks are in one window, and so is a video's sound beside each of
    its subjects. What a video lacks is zeros under a mask that is False throughout.

    It pickles, so a `DataLoader` may use several workers, each of which opens the store for itself, with
    `multiprocessing_context="spawn"` or `"forkserver"`: a forked process has none of the engine's threads. A batch's
    windows are read side by side. Masks and labels, some bytes a frame, are kept up to 256 MB; embeddings are not.

    Attributes:
        records: the artifacts it walks over, as given.
        extractors: whose embeddings a window has, in their order.
        videos: of each video and subject that it walks over, both names.
        spec: length and stride.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> spec = affstore.WindowSpec(length=16, stride=8)
        >>> windows = affstore.FrameWindows(store, store.records("visual"), spec, labels=["expr"])
        >>> windows
        <FrameWindows: 4 windows of 16 frames, every 8, of 1 video: emotieffnet_b0; labels: expr>
        >>> windows[3]
        <Window of video 0 from frame 24: emotieffnet_b0 (16, 1280), expr (16, 1)>
        >>> windows[3].labels["expr"][4:8, 0].tolist()
        [4, 4, -100, -100]
    """

    def __init__(
        self, store: FeatureStore, records: Sequence[Record], spec: WindowSpec | None = None, labels: Sequence[str] = ()
    ) -> None:
        """Plan the windows; nothing is read yet.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            records: visual and audio artifacts, e.g. those of `store.records("visual", "audio")` by some extractors.
            spec: window length and stride; the papers' 300 and 200 if not given.
            labels: label spaces, as `expr`.

        Raises:
            SpecError: a record has no embedding, is there twice, or is of another length than others of its video.
            NotFoundError: no video has labels of a space; the message says what there is.
        """
        self._url, self._snapshot = store.url, store.snapshot
        self.records, self.spec = tuple(records), spec or WindowSpec()
        self._tracks = tracks_of(self.records)
        self.extractors = tuple(dict.fromkeys(record.address.producer for record in self.records))
        self.videos = tuple((track.video, track.subject) for track in self._tracks)
        self._spaces = (labels,) if isinstance(labels, str) else tuple(dict.fromkeys(labels))
        self._labels, self._label_of = labels_of(store, self._tracks, self._spaces)
        self._starts = [window_starts(self.spec, track.frames) for track in self._tracks]
        self._ends = list(accumulate(len(starts) for starts in self._starts))
        self._open(store)

    def __repr__(self) -> str:
        count, names = len(self._tracks), ", ".join(self.extractors)
        what = f"of {count} {'video' if count == 1 else 'videos or subjects'}: {names}"
        labels = f"; labels: {', '.join(self._spaces)}" if self._spaces else ""
        spec = f"{len(self)} windows of {self.spec.length} frames, every {self.spec.stride}"
        return f"<FrameWindows: {spec}, {what}{labels}>"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_embedding", "_whole")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._embedding: RowReader | None = None

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
        length, places = self.spec.length, [self._place(index) for index in indexes]
        whose = [(record, start) for video, start in places for record in self._tracks[video].records.values()]
        pieces = [(record, start, start + length) for record, start in whose]
        rows = iter(self._reader().read_many(pieces, length))
        return [self._window(video, start, rows) for video, start in places]

    def _window(self, video: int, start: int, rows: Any) -> Window:
        """A window, with the embeddings of its video from an iterator over what was read."""
        import torch

        track, length = self._tracks[video], self.spec.length
        found = {extractor: next(rows) for extractor in track.records}
        embeddings, masks, labels, known = {}, {}, {}, {}
        for extractor in self.extractors:
            if extractor in found:
                embeddings[extractor] = torch.from_numpy(found[extractor])
                mask = self._whole.read("present", track.records[extractor])
                masks[extractor] = torch.from_numpy(_piece(mask, start, length))
            else:
                embeddings[extractor] = torch.zeros(length, self._width(extractor))
                masks[extractor] = torch.zeros(length, dtype=torch.bool)
        for space in self._spaces:
            value, certain = self._label(video, space, start)
            labels[space], known[space] = torch.from_numpy(value), torch.from_numpy(certain)
        return Window(embeddings, masks, labels, known, video, start)

    def _label(self, video: int, space: str, start: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The labels of a window, and which of them are known."""
        number = self._label_of[space][video]
        like = self._whole.read("value", next(one for one in self._label_of[space] if one is not None))
        shape = (self.spec.length, like.shape[1])
        real = like.dtype.kind == "f"
        value: NDArray[Any] = np.full(shape, np.nan, np.float32) if real else np.full(shape, UNKNOWN, np.int64)
        if number is None:
            return value, np.zeros(shape, bool)
        known = _piece(self._whole.read("known", number), start, self.spec.length)
        stored = _piece(self._whole.read("value", number), start, self.spec.length)
        value[known] = stored[known]
        return value, known

    def _place(self, index: int) -> tuple[int, int]:
        """The video and the first frame of a window."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} windows; asked for {index}.")
        video = bisect_right(self._ends, index)
        return video, int(self._starts[video][index - (self._ends[video - 1] if video else 0)])

    def _width(self, extractor: str) -> int:
        like = next(track.records[extractor] for track in self._tracks if extractor in track.records)
        return self._reader().shape(like)[1]

    def _reader(self) -> RowReader:
        if self._embedding is None:
            self._open(FeatureStore(self._url, self._snapshot))
        return self._embedding  # type: ignore[return-value]

    def _open(self, store: FeatureStore) -> None:
        self._embedding = RowReader(store, self.records, "embedding")
        readers = {"present": RowReader(store, self.records, "present")}
        self._whole = _WholeArrays(
            readers | {name: RowReader(store, self._labels, name) for name in ("value", "known")}
        )


class _WholeArrays:
    """Masks and labels, which are read whole; those that were needed last are kept, and one always.

    Attributes:
        bytes: how much is kept.
    """

    def __init__(self, readers: Mapping[str, RowReader]) -> None:
        self._readers = readers
        self._kept: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()
        self.bytes = 0

    def read(self, name: str, index: int) -> NDArray[Any]:
        """The array of that name of the record at `index`; it must not be written to."""
        key = (name, index)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        reader = self._readers[name]
        found = self._kept[key] = reader.read(index, 0, reader.shape(index)[0])
        self.bytes += found.nbytes
        while self.bytes > _MOST_BYTES and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


def _piece(rows: NDArray[Any], start: int, length: int) -> NDArray[Any]:
    """Rows from `start` on, with zeros behind the last."""
    found = np.zeros((length, *rows.shape[1:]), rows.dtype)
    there = rows[start : start + length]
    found[: len(there)] = there
    return found
