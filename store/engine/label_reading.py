"""One video's labels, or predictions, with their clock and their mask; NaN where nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.clock import FrameClock
from affstore.store.contract.names import MAIN
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import family
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import find_record, find_source, in_one_line, read_clock, read_known, with_gaps


class _OfSpace:
    """What has a record whose columns are a label space's."""

    __slots__ = ()
    record: Record

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, units or dimensions of the label space, in order."""
        return tuple(self.record.attributes["labels"])


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlignedLabels(_OfSpace):
    """Labels of one label space with one row a video frame.

    Attributes:
        value: `(frames, columns)` float32, NaN where `known` is False. Of classes there is one column, the class's
            index in `names`; otherwise a column for each of `names`: 0 or 1, a level, or a real number.
        known: `(frames, columns)` bool: the annotator gave a valid value.
        clock: when each frame begins, exactly.
        record: from which file, of which split (`record.attributes["split"]`), and how it was read.

    Examples:
        >>> import affstore
        >>> labels = affstore.read_labels(affstore.FeatureStore("affstore-data"), "interview", "expr")
        >>> labels
        <AlignedLabels label/expr/interview/main: 40 frames × 1, 30 with a label, 0 s to 1.6 s, 8 names>
        >>> labels.names[int(labels.value[0, 0])], labels.value[35, 0]
        ('Happiness', np.float32(nan))
    """

    value: NDArray[np.float32]
    known: NDArray[np.bool_]
    clock: FrameClock
    record: Record

    def __repr__(self) -> str:
        labelled = f"{int(self.known.any(axis=1).sum())} with a label"
        return in_one_line(self, self.value, labelled, f"{len(self.names)} names")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlignedPrediction(_OfSpace):
    """What a head or an experiment predicts, with one row a video frame.

    Where `present` is False nothing was seen: rows are NaN, or what was filled in from the neighbouring frames if that
    was asked for.

    Attributes:
        prediction: `(frames, columns)` float32: the decision. Of classes there is one column, the class's index in
            `names`; otherwise a column for each of `names`.
        raw: `(frames, names)` float32: probabilities, or real numbers such as valence and arousal.
        smoothed: `(frames, names)` float32: the same after smoothing over time.
        present: `(frames,)` bool: predicted from the frame itself.
        clock: when each frame begins, exactly.
        record: by which head and from what.

    Examples:
        >>> import affstore
        >>> predicted = affstore.read_predictions(affstore.FeatureStore("affstore-data"), "interview", "mlp")
        >>> predicted
        <AlignedPrediction prediction/mlp/interview/main: 40 frames × 1, 40 present, 0 s to 1.6 s, 8 names>
        >>> predicted.names[int(predicted.prediction[0, 0])], predicted.raw.shape
        ('Neutral', (40, 8))
    """

    prediction: NDArray[np.float32]
    raw: NDArray[np.float32]
    smoothed: NDArray[np.float32]
    present: NDArray[np.bool_]
    clock: FrameClock
    record: Record

    def __repr__(self) -> str:
        seen = f"{int(self.present.sum())} present"
        return in_one_line(self, self.prediction, seen, f"{len(self.names)} names")


def read_labels(store: FeatureStore, video: str, space: str, subject: str = MAIN) -> AlignedLabels:
    """One video's labels of one label space, frame by frame.

    Args:
        store: an open store.
        video: the video's name, or an alias.
        space: the label space, as `expr`, `au`, `va` or one of your own.
        subject: whose labels; `main` in a video of one person.

    Raises:
        NotFoundError: no such video, labels or subject; the message says what there is.

    Examples:
        >>> import affstore
        >>> labels = affstore.read_labels(affstore.FeatureStore("affstore-data"), "interview", "expr")
        >>> labels.value.shape, int(labels.known.sum())
        ((40, 1), 30)
    """
    name = find_source(store, video).address.video
    record = find_record(store, (Address("label", space, name, subject),), f"labels of '{space}'")
    arrays: dict[str, Any] = with_gaps(family("label"), store.read(record.address))
    return AlignedLabels(clock=read_clock(store, name), record=record, **arrays)


def read_predictions(
    store: FeatureStore, video: str, experiment: str, subject: str = MAIN, *, filled: bool = False
) -> AlignedPrediction:
    """What one experiment or head predicts of a video, frame by frame.

    Args:
        store: an open store.
        video: the video's name, or an alias.
        experiment: an experiment or a head, as `affstore show VIDEO` names it.
        subject: of whom; `main` in a video of one person.
        filled: keep what was filled in from neighbouring frames where nothing was seen, as scores and challenge files
            have it; NaN otherwise.

    Raises:
        NotFoundError: no such video, prediction or subject; the message says what there is.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> affstore.read_predictions(store, "interview", "mlp").smoothed.shape
        (40, 8)
    """
    name = find_source(store, video).address.video
    record = find_record(store, (Address("prediction", experiment, name, subject),), f"prediction by '{experiment}'")
    if filled:
        found = store.read(record.address)
        arrays: dict[str, Any] = {one: a if one == "present" else a.astype(np.float32) for one, a in found.items()}
    else:
        arrays = read_known(store, record.address, "prediction", "raw", "smoothed")
    return AlignedPrediction(clock=read_clock(store, name), record=record, **arrays)
