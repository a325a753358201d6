"""The labels that the store has of a video, as columns beside what networks and heads say of the same frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.records import Address, Record
from affstore.store.engine.frames import class_texts
from affstore.store.engine.label_spaces import space_of_record
from affstore.store.engine.reading import read_known
from affstore.tasks.training.examples import face_of, named_subjects

type Column = tuple[str, NDArray[Any] | pa.Array]


def label_column(space: LabelSpace, name: str = "") -> str:
    """What the column of a label is called: `label_expr` of classes, else `label_au_AU12`."""
    return f"label_{space.name}_{name}" if name else f"label_{space.name}"


def labelled_spaces(store: FeatureStore, records: Iterable[Record]) -> list[LabelSpace]:
    """The label spaces of those artifacts that are labels, each once, in the order of their names."""
    found: dict[str, LabelSpace] = {}
    for record in records:
        if record.address.family == "label":
            name = str(record.attributes["task"])
            found[name] = found.get(name) or space_of_record(store, record)
    return [found[name] for name in sorted(found)]


def labels_by_subject(
    store: FeatureStore, video: str, faces: str, records: Iterable[Record]
) -> dict[str, dict[str, Address]]:
    """The labels of each subject of a video, by the name of their space.

    Args:
        store: an open store.
        video: its name.
        faces: the detector or kind of crop folder whose subjects are meant; labels name people in their own way.
        records: artifacts of the video, among them its labels.
    """
    named = named_subjects(store, video)
    found: dict[str, dict[str, Address]] = {}
    for record in records:
        if record.address.family == "label":
            said = record.address.subject
            subject = face_of(store, Address("face", faces, video, said), named) or said
            found.setdefault(subject, {}).setdefault(str(record.attributes["task"]), record.address)
    return found


def label_columns(
    store: FeatureStore, spaces: Sequence[LabelSpace], own: Mapping[str, Address], count: int
) -> Iterator[Column]:
    """A subject's labels; empty in frames without one, and of spaces in which only others are labelled.

    Args:
        store: an open store.
        spaces: in which somebody of the video is labelled.
        own: the subject's labels by space.
        count: of frames.
    """
    for space in spaces:
        address = own.get(space.name)
        value = np.full((count, space.columns), np.nan, np.float32)
        if address is not None:
            value = read_known(store, address, "value")["value"]
        if space.kind is SpaceKind.CLASSES:
            yield label_column(space), class_texts(value[:, 0], space.names)
        else:
            yield from ((label_column(space, name), value[:, i]) for i, name in enumerate(space.names))
