"""The inputs of heads, read from the store in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.heads.sequence.dataset import Labels, Piece, Streams
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.names import join_subject
from affstore.store.contract.records import Record
from affstore.store.engine.row_reader import RowReader
from affstore.tasks.specs import Input
from affstore.tasks.training.examples import LabelledSubject


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
    ) -> None:
        """Open the masks.

        Args:
            store: an open store; it is read at its snapshot.
            subjects: the records of each subject's inputs, in their order.
            inputs: which array of each is meant.

        Raises:
            SpecError: an extractor does not give the array that is asked for.
        """
        parts = list(zip(*subjects, strict=True))
        self._values = [RowReader(store, records, part.array) for records, part in zip(parts, inputs, strict=False)]
        self.widths = tuple(_width(reader, part) for reader, part in zip(self._values, inputs, strict=False))
        masks = [RowReader(store, records, "present") for records in parts]
        self._present = [
            np.stack([mask.read(i, 0, mask.shape(i)[0]) for mask in masks], axis=1) for i in range(len(subjects))
        ]

    def present(self, subject: int) -> NDArray[np.bool_]:
        """`(frames, inputs)`: where each input of a subject has something."""
        return self._present[subject]

    def read(self, pieces: Sequence[Piece]) -> list[tuple[NDArray[np.float32], ...]]:
        """The inputs of each piece, as far as it exists, `(frames, width)` each."""
        return list(zip(*(reader.read_many(pieces) for reader in self._values), strict=True))


class StoreSequences:
    """Labelled videos for heads on sequences, read from the store; see `heads.sequence.dataset.Sequences`.

    Attributes:
        names: of the subjects, as Aff-Wild2 writes them.
        widths: numbers a frame of each stream.
    """

    def __init__(self, store: FeatureStore, subjects: Sequence[LabelledSubject], inputs: Sequence[Input]) -> None:
        """Open the videos.

        Args:
            store: an open store; it is read at its snapshot, whatever is committed meanwhile.
            subjects: the labelled subjects with the records of their inputs.
            inputs: which array of each is a stream.

        Raises:
            SpecError: an extractor does not give the array that is asked for.
        """
        self._store, self._subjects = store, tuple(subjects)
        self._reader = InputReader(store, [one.features for one in subjects], inputs)
        self.names: Sequence[str] = tuple(name_of(one) for one in subjects)
        self.widths = self._reader.widths

    def labels(self, video: int) -> Labels:
        """See `Sequences.labels`."""
        arrays = self._store.read(self._subjects[video].label.address)
        return Labels(arrays["value"], np.logical_and.reduce(arrays["known"], axis=1))

    def read(self, pieces: Sequence[Piece]) -> list[Streams]:
        """See `Sequences.read`."""
        return [
            Streams(values, self._reader.present(video)[start:stop])
            for values, (video, start, stop) in zip(self._reader.read(pieces), pieces, strict=True)
        ]


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
    [values] = reader.read([Piece(0, 0, len(present))])
    return Streams(values, present)


def name_of(subject: LabelledSubject) -> str:
    """How Aff-Wild2 writes the name of a labelled subject."""
    return join_subject(subject.label.address.video, subject.label.address.subject)


def _width(reader: RowReader, part: Input) -> int:
    try:
        return reader.shape(0)[1]
    except NotFoundError as error:
        raise SpecError(f"'{part.extractor}' gives no {part.array}. Choose another input for this head.") from error
