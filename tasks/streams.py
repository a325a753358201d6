"""The inputs of heads, read from the store in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.heads.sequences import Labels, Streams
from store import FeatureStore
from store.contract.errors import NotFoundError, SpecError
from store.contract.names import join_subject
from store.contract.records import Record
from store.engine.row_reader import RowReader
from tasks.examples import Seen
from tasks.specs import Input

_KEPT_CHUNKS = 8
"""An input: windows that follow each other, as those of a validation video, share chunks."""


class InputReader:
    """The inputs of some subjects of videos. Arrays are opened once; masks are in memory, features are not.

    Attributes:
        widths: numbers a frame of each input, as the first subject has them; empty without subjects.
    """

    def __init__(
        self,
        store: FeatureStore,
        subjects: Sequence[Sequence[Record]],
        inputs: Sequence[Input],
        kept_chunks: int = 0,
    ) -> None:
        """Open the masks.

        Args:
            store: an open store; it is read at its snapshot.
            subjects: the records of each subject's inputs, in their order.
            inputs: which array of each is meant.
            kept_chunks: see `RowReader`.

        Raises:
            SpecError: an extractor does not give the array that is asked for.
        """
        parts = list(zip(*subjects, strict=True))
        self._values = [
            RowReader(store, records, part.array, kept_chunks) for records, part in zip(parts, inputs, strict=False)
        ]
        self.widths = tuple(_width(reader, part) for reader, part in zip(self._values, inputs, strict=False))
        masks = [RowReader(store, records, "present") for records in parts]
        self._present = [
            np.stack([mask.read(i, 0, mask.shape(i)[0]) for mask in masks], axis=1) for i in range(len(subjects))
        ]

    def present(self, subject: int) -> NDArray[np.bool_]:
        """`(frames, inputs)`: where each input of a subject has something."""
        return self._present[subject]

    def read(self, subject: int, start: int, stop: int) -> tuple[NDArray[np.float32], ...]:
        """Its inputs in the frames `[start, stop)` that exist, `(frames, width)` each."""
        return tuple(reader.read(subject, start, stop) for reader in self._values)


class StoreSequences:
    """Labelled videos for heads on sequences, read from the store; see `models.heads.sequences.Sequences`.

    Attributes:
        names: of the subjects, as Aff-Wild2 writes them.
        widths: numbers a frame of each stream.
    """

    def __init__(self, store: FeatureStore, seen: Sequence[Seen], inputs: Sequence[Input]) -> None:
        """Open the videos.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            seen: the labelled subjects with the records of their inputs.
            inputs: which array of each is a stream.

        Raises:
            SpecError: an extractor does not give the array that is asked for.
        """
        self._store, self._seen = store, tuple(seen)
        self._reader = InputReader(store, [one.features for one in seen], inputs, _KEPT_CHUNKS)
        self.names: Sequence[str] = tuple(name_of(one) for one in seen)
        self.widths = self._reader.widths

    def labels(self, video: int) -> Labels:
        """See `Sequences.labels`."""
        arrays = self._store.read(self._seen[video].label.address)
        return Labels(arrays["value"], np.logical_and.reduce(arrays["known"], axis=1))

    def read(self, video: int, start: int, stop: int) -> Streams:
        """See `Sequences.read`."""
        return Streams(self._reader.read(video, start, stop), self._reader.present(video)[start:stop])


def streams_of(store: FeatureStore, features: Sequence[Record], inputs: Sequence[Input]) -> Streams:
    """All frames of a subject, as a head on sequences is applied to them.

    Args:
        store: an open store.
        features: the records of its inputs, in order.
        inputs: which array of each is a stream.

    Raises:
        SpecError: an extractor does not give the array that is asked for.
    """
    reader = InputReader(store, [features], inputs)
    present = reader.present(0)
    return Streams(reader.read(0, 0, len(present)), present)


def name_of(seen: Seen) -> str:
    """How Aff-Wild2 writes the name of a labelled subject."""
    return join_subject(seen.label.address.video, seen.label.address.subject)


def _width(reader: RowReader, part: Input) -> int:
    try:
        return reader.shape(0)[1]
    except NotFoundError as error:
        raise SpecError(f"'{part.extractor}' gives no {part.array}. Choose another input for this head.") from error
