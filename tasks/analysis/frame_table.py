"""A video as one table: a row a frame and subject, with all that the store has of that moment in named columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.files import replacing
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import AU
from affstore.store.contract.names import MAIN, in_order
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import family
from affstore.store.engine.frames import class_texts, nullable, opening_columns
from affstore.store.engine.reading import read_clock, read_known
from affstore.tasks.analysis.label_columns import Column, label_columns, labelled_spaces, labels_by_subject

_VERSION = 2
"""Raised whenever the same artifacts would give another table."""


@dataclass(frozen=True, slots=True)
class AnalysisNetworks:
    """What a table is made from, by the names of what the store has; empty where there is none.

    Attributes:
        expression: a face network with logits of expressions.
        affect: a face network with valence and arousal.
        speech: a sound network with a logit of speech.
        voice: a sound network with arousal, dominance and valence.
        faces: where the faces come from.
        heads: experiments or heads of the store, as its predictions are called.
        labels: whether the store's labels of the video get columns, too.
    """

    expression: str = ""
    affect: str = ""
    speech: str = ""
    voice: str = ""
    faces: str = "mtcnn"
    heads: tuple[str, ...] = ()
    labels: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The networks, each once."""
        return tuple(dict.fromkeys(filter(None, (self.expression, self.affect, self.speech, self.voice))))


COLUMNS: Mapping[str, str] = {
    "video": "name of the video in the store",
    "frame": "number of the frame, from 0, by full decode",
    "time_s": "when the frame begins to play, in seconds, by the container's timestamps",
    "subject": "main; left and right of two people; person1, person2 … from left to right where more are kept",
    "present": "whether a face of this subject was found in the frame",
    "face_score": "the detector's confidence, 0 to 1",
    "box_x0, box_y0, box_x1, box_y1": "the face, in px of the upright picture with square pixels",
    ", ".join(
        f"{point}_{axis}" for point in family("face").places["point"] for axis in "xy"
    ): "eyes, nose and corners of the mouth, in the same px; left is left in the picture",
    "expression": "the expression with the largest probability",
    "p_NAME": "probability of that expression, 0 to 1; those of a frame sum to 1",
    "valence, arousal": "as the network gives them, from about -1 to 1",
    "AUn, AUn_probability": "whether the action unit is shown, and its smoothed probability, by a head of this store",
    "SPACE, SPACE_p_NAME": "of classes of your own: the predicted one, and the smoothed probability of each, by a head",
    "SPACE_NAME": "of values and intensities of your own, as a head predicts them",
    "speech, speech_probability": "whether somebody speaks when the frame begins, and how likely that is",
    "voice_arousal, voice_dominance, voice_valence": "of the sound that plays when the frame begins, 0 to 1",
    "label_SPACE, label_SPACE_NAME": "the label that the store has: the class; of units, values and intensities, each",
}
"""The columns, in order; an empty cell says that nothing is known: no face, no sound, or no network for it."""

_FACE = family("face").places
PLACE_COLUMNS = (
    *(f"box_{corner}" for corner in _FACE["corner"]),
    *(f"{point}_{axis}" for point in _FACE["point"] for axis in _FACE["axis"]),
)
"""The columns that say where in the picture a face is."""


def inputs_of(store: FeatureStore, video: str, networks: AnalysisNetworks) -> list[Record]:
    """The artifacts that a video's table is made from."""
    wanted = {("face", networks.faces), ("visual", networks.expression), ("visual", networks.affect)}
    wanted |= {("audio", networks.speech), ("audio", networks.voice)}
    always = ("source", "label") if networks.labels else ("source",)
    there = store.addresses("face", "visual", "audio", "prediction", *always, video=video)
    wanted |= {("prediction", head) for head in networks.heads}
    return [store.get(one) for one in there if one.family in always or (one.family, one.producer) in wanted]


def table_key(records: list[Record], networks: AnalysisNetworks) -> str:
    """What decides a table: two of one key hold the same."""
    found = [[record.address.path, record.key, record.digest] for record in records]
    return key_of([_VERSION, [*networks.names, *networks.heads], found])


def frame_table(store: FeatureStore, video: str, networks: AnalysisNetworks) -> pa.Table:
    """The table of a video; null where there is no face, no sound, or no network that says anything.

    A video in which nobody was ever found has the rows of one subject, `main`, who is never present.
    """
    inputs = inputs_of(store, video, networks)
    records = {record.address: record for record in inputs}
    subjects = _subjects(records, "face") or _subjects(records, "prediction") or [MAIN]
    tables = [_subject_table(store, video, subject, networks, records) for subject in subjects]
    if spaces := labelled_spaces(store, inputs):
        labels = labels_by_subject(store, video, networks.faces, inputs)
        for i, subject in enumerate(subjects):
            for name, values in label_columns(store, spaces, labels.get(subject, {}), tables[i].num_rows):
                tables[i] = tables[i].append_column(name, nullable(values))
    return pa.concat_tables(tables)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as a CSV file, whole or not at all."""
    with replacing(path) as new:
        pa.csv.write_csv(table, new, pa.csv.WriteOptions(quoting_style="needed"))


def _subjects(records: Iterable[Address], family: str) -> list[str]:
    return in_order({address.subject for address in records if address.family == family})


def _subject_table(
    store: FeatureStore, video: str, subject: str, networks: AnalysisNetworks, records: Mapping[Address, Record]
) -> pa.Table:
    times = read_clock(store, video).starts_s
    count, columns = len(times), opening_columns(video, subject, times)
    read = _Reader(store, records)
    face = read(Address("face", networks.faces, video, subject), "box", "landmark", "score")
    columns["present"] = pa.array(face.get("present", np.zeros(count, bool)))
    parts = [
        *_face_columns(face, count),
        *_expression_columns(read, Address("visual", networks.expression, video, subject), count),
        *_affect_columns(read, Address("visual", networks.affect, video, subject), count),
        *(column for head in networks.heads for column in _head_columns(read, head, (video, subject), count)),
        *_speech_columns(read, Address("audio", networks.speech, video), count),
        *_voice_columns(read, Address("audio", networks.voice, video), count),
    ]
    return pa.table(columns | {name: nullable(values) for name, values in parts})


class _Reader:
    """Reads arrays of the artifacts of a table, NaN where nothing is; nothing of one that there is not."""

    def __init__(self, store: FeatureStore, records: Mapping[Address, Record]) -> None:
        self._store, self._records = store, records

    def __call__(self, address: Address, *names: str) -> dict[str, NDArray[Any]]:
        return read_known(self._store, address, *names) if address in self._records else {}

    def first_of(self, family: str, producer: str) -> Record | None:
        """An artifact of that kind, of whichever subject."""
        like = (one for at, one in self._records.items() if (at.family, at.producer) == (family, producer))
        return next(like, None)


def _face_columns(face: Mapping[str, NDArray[Any]], count: int) -> Iterator[Column]:
    sizes = family("face").places
    corners, points = sizes["corner"], sizes["point"]
    yield "face_score", face.get("score", _nothing(count))
    box = face.get("box", _nothing(count, len(corners)))
    yield from ((f"box_{corner}", box[:, i]) for i, corner in enumerate(corners))
    landmark = face.get("landmark", _nothing(count, len(points), 2))
    for i, point in enumerate(points):
        yield from ((f"{point}_{axis}", landmark[:, i, j]) for j, axis in enumerate("xy"))


def _expression_columns(read: _Reader, address: Address, count: int) -> Iterator[Column]:
    """Probabilities by softmax; where the subject has no artifact, the columns of one that has are left empty."""
    sibling = read.first_of("visual", address.producer)
    if sibling is None or not (names := sibling.attributes["classes"]):
        return
    logits = read(address, "logits").get("logits", _nothing(count, len(names)))
    raised = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = raised / raised.sum(1, keepdims=True)
    known = np.isfinite(probabilities[:, 0])
    best = np.where(known, np.nan_to_num(probabilities).argmax(1), np.nan)
    yield "expression", class_texts(best, names)
    yield from ((f"p_{name}", probabilities[:, i]) for i, name in enumerate(names))


def _affect_columns(read: _Reader, address: Address, count: int) -> Iterator[Column]:
    if address.producer:
        values = read(address, "valence_arousal").get("valence_arousal", _nothing(count, 2))
        yield from (("valence", values[:, 0]), ("arousal", values[:, 1]))


def _head_columns(read: _Reader, head: str, of: tuple[str, str], count: int) -> Iterator[Column]:
    """What a head predicts; where the subject has no prediction, the columns of one that has are left empty."""
    sibling = read.first_of("prediction", head)
    if sibling is None:
        return
    names, space = sibling.attributes["labels"], str(sibling.attributes["task"])
    of_sibling = read(sibling.address, "prediction")["prediction"]
    found = read(Address("prediction", head, *of), "smoothed", "prediction")
    decision = found.get("prediction", _nothing(count, of_sibling.shape[1]))
    smoothed = found.get("smoothed", _nothing(count, len(names)))
    if of_sibling.shape[1] < len(names):
        yield space, class_texts(decision[:, 0], names)
        yield from ((f"{space}_p_{name}", smoothed[:, i]) for i, name in enumerate(names))
    elif space == AU.name:
        for suffix, values in (("", decision), ("_probability", smoothed)):
            yield from ((f"{name}{suffix}", values[:, i]) for i, name in enumerate(names))
    else:
        yield from ((f"{space}_{name}", decision[:, i]) for i, name in enumerate(names))


def _speech_columns(read: _Reader, address: Address, count: int) -> Iterator[Column]:
    if address.producer:
        logit = read(address, "logits").get("logits", _nothing(count, 1))[:, 0]
        yield "speech", pa.array(logit > 0, mask=~np.isfinite(logit))
        yield "speech_probability", 1 / (1 + np.exp(-logit))


def _voice_columns(read: _Reader, address: Address, count: int) -> Iterator[Column]:
    if address.producer:
        names = family("audio").places["dimension"]
        values = read(address, "affect").get("affect", _nothing(count, len(names)))
        yield from ((f"voice_{name}", values[:, i]) for i, name in enumerate(names))


def _nothing(*shape: int) -> NDArray[np.float32]:
    return np.full(shape, np.nan, np.float32)
