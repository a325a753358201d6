"""Export as CSV tables with the column names of OpenFace 2 and of py-feat, for scripts that read those."""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.names import MAIN, in_order
from affstore.store.contract.records import Address, Record
from affstore.store.engine.exporters.base import EXPORTERS, Exporter, Written
from affstore.store.engine.exporters.tiers import by_video, of_frames
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.label_spaces import space_of_record
from affstore.store.engine.reading import read_clock, read_known

_UNIT = re.compile(r"AU_?0*([1-9][0-9]?)", re.IGNORECASE)
"""How a space may call an action unit of FACS: `AU1`, `au01` or `AU_1`."""

_PY_FEAT_EMOTIONS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happiness",
    "Sadness": "sadness",
    "Surprise": "surprise",
    "Neutral": "neutral",
}


@dataclass(frozen=True, slots=True)
class FaceRows:
    """What is known of one subject's face, frame by frame; NaN where it is not there, empty where nobody says.

    Attributes:
        video: its name.
        location: of its file.
        subject: whose face.
        number: of the subject among the video's, from 0.
        time_s: when frames begin.
        present: whether the face is there.
        box: `(frames, 4)` x0, y0, x1, y1 in px, or None.
        score: `(frames,)`, or None.
        emotions: probability by the class's name.
        units: action units that are shown (1) or not (0), by their numbers as `01`.
        intensities: how strong action units are, from 0 to `strongest`, by their numbers.
        strongest: the highest of the intensities' range.
        units_of: the artifacts that units and intensities are of.
    """

    video: str
    location: str
    subject: str
    number: int
    time_s: NDArray[np.float64]
    present: NDArray[np.bool_]
    box: NDArray[np.float32] | None
    score: NDArray[np.float32] | None
    emotions: Mapping[str, NDArray[np.float32]]
    units: Mapping[str, NDArray[np.float32]]
    intensities: Mapping[str, NDArray[np.float32]]
    strongest: float
    units_of: tuple[Address, ...]


class FaceTableExporter(Exporter):
    """A CSV a video, with a row a frame and face.

    Attributes:
        has_emotions: whether emotions have columns.
        strongest: the highest level of the intensities that have columns; None for any.
    """

    contract = 1
    has_emotions: ClassVar[bool] = False
    strongest: ClassVar[float | None] = None

    @abstractmethod
    def rows(self, one: FaceRows) -> Iterator[dict[str, Any]]:
        """The rows of a face, frame by frame, each with its columns' names."""

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """Of each face the first artifact that says where it is, the first with emotions, and all with action units."""
        of_whom: dict[tuple[str, str], list[Record]] = {}
        for one in sorted(of_frames(records), key=lambda one: one.address):
            of_whom.setdefault(_whose(one), []).append(one)
        found: set[Address] = set()
        for own in of_whom.values():
            seen = [one for one in own if one.address.family in _SEEN]
            emotions = [one for one in own if self.has_emotions and _emotion_names(one)]
            said = [one for one in own if any(_UNIT.fullmatch(name) for name in one.attributes.get("labels") or ())]
            if seen:
                found |= {one.address for one in (seen[0], *emotions[:1], *said)}
        return [one for one in records if one.address in found]

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the tables; of several heads or label spaces that say the same kind of thing, the first by name."""
        written, used = Written(), set()
        for path, video, found in by_video(records, folder, ".csv", written):
            rows: list[dict[str, Any]] = []
            for one in _faces(store, video, found, self.strongest):
                rows += self.rows(one)
                used |= {*one.units_of}
            if rows:
                names = list(dict.fromkeys(name for row in rows for name in row))
                with path.open("w", encoding="utf-8", newline="") as file:
                    table = csv.DictWriter(file, names, restval="")
                    table.writeheader()
                    table.writerows(rows)
                written.append(path)
        said = [one for one in self.taken(records) if one.address.family in _SAID and one not in written.without]
        why = "for others say the same, or their action units have no columns"
        written.leave([one for one in said if one.address not in used], why)
        return written


class OpenFaceExporter(FaceTableExporter):
    """A CSV a video, as OpenFace 2 writes it of several faces, with the columns that the store can fill.

    Frames are counted from 1, and a row is written for each frame and subject, with `success` 0 and empty cells where
    the face is not there. Units that are shown or not are `AU01_c`; those of a space with intensities from 0 to 5,
    which is OpenFace's range, are `AU01_r`. What is predicted is written or, where nothing is, what is annotated; units
    that are no action units of FACS are not. Gaze, pose and the 68 landmarks are not written: nothing here measures
    them.
    """

    name = "openface"
    description = "a CSV a video with OpenFace 2's names: frame, face_id, timestamp, success, AU01_r, AU01_c …"

    strongest = 5.0

    def rows(self, one: FaceRows) -> Iterator[dict[str, Any]]:
        """See `FaceTableExporter.rows`."""
        for frame, time_s in enumerate(one.time_s):
            there = bool(one.present[frame])
            row = {"frame": frame + 1, "face_id": one.number, "timestamp": _cell(time_s)}
            row |= {"confidence": "" if one.score is None else _cell(one.score[frame]), "success": int(there)}
            row |= {f"AU{number}_r": _cell(values[frame]) for number, values in one.intensities.items()}
            yield row | {f"AU{number}_c": _cell(values[frame]) for number, values in one.units.items()}


class PyFeatExporter(FaceTableExporter):
    """A CSV a video with py-feat's names: where the face is, action units, seven emotions, frame and input.

    py-feat has one column an action unit, `AU01`, from 0 to 1: whether it is shown or, where only a label space of
    intensities says something of it, the share of the strongest level.
    """

    name = "pyfeat"
    description = "a CSV a video with py-feat's names: frame, FaceRectX …, AU01 …, anger … neutral, input"

    has_emotions = True

    def rows(self, one: FaceRows) -> Iterator[dict[str, Any]]:
        """See `FaceTableExporter.rows`."""
        for frame, time_s in enumerate(one.time_s):
            row: dict[str, Any] = {"frame": frame, "approx_time": _cell(time_s)}
            if one.box is not None:
                x0, y0, x1, y1 = (float(corner) for corner in one.box[frame])
                names = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
                row |= dict(zip(names, map(_cell, (x0, y0, x1 - x0, y1 - y0)), strict=True))
            row["FaceScore"] = _cell(float(one.present[frame]) if one.score is None else one.score[frame])
            shares = {number: values / one.strongest for number, values in one.intensities.items()} | dict(one.units)
            row |= {f"AU{number}": _cell(values[frame]) for number, values in sorted(shares.items())}
            emotions = {_PY_FEAT_EMOTIONS.get(name, name.lower()): values for name, values in one.emotions.items()}
            row |= {name: _cell(values[frame]) for name, values in emotions.items()}
            yield row | {"Identity": one.subject, "input": one.location}


_SEEN, _SAID = ("face", "visual"), ("prediction", "label")
"""Families that say where a face is, and those that say something of it."""


def _whose(record: Record) -> tuple[str, str]:
    return record.address.video, record.address.subject or MAIN


def _faces(store: FeatureStore, video: str, records: Sequence[Record], strongest: float | None) -> Iterator[FaceRows]:
    """The faces of a video; of several networks or heads that say the same kind of thing, the first by name."""
    subjects = in_order(
        {one.address.subject or MAIN for one in records if one.address.family in ("face", "visual", "prediction")}
    )
    source = store.get(Address("source", video=video))
    for number, subject in enumerate(subjects):
        own = [one for one in records if (one.address.subject or MAIN) == subject]
        seen = [one for one in own if one.address.family in _SEEN]
        if not seen:
            continue
        first = read_known(store, seen[0].address, "box", "score")
        units, intensities = _units(store, own, SpaceKind.UNITS), _units(store, own, SpaceKind.INTENSITIES, strongest)
        yield FaceRows(
            video,
            str(source.attributes["location"]),
            subject,
            number,
            read_clock(store, video).starts_s,
            first["present"],
            first.get("box"),
            first.get("score"),
            _emotions(store, own),
            units.columns,
            intensities.columns,
            intensities.strongest,
            tuple(one.of for one in (units, intensities) if one.of is not None),
        )


def _emotions(store: FeatureStore, records: Sequence[Record]) -> dict[str, NDArray[np.float32]]:
    for record in records:
        names = _emotion_names(record)
        if names:
            logits = read_known(store, record.address, "logits")["logits"]
            raised = np.exp(logits - logits.max(1, keepdims=True))
            return dict(zip(names, (raised / raised.sum(1, keepdims=True)).T, strict=True))
    return {}


def _emotion_names(record: Record) -> Sequence[str]:
    """The classes of a face network that knows emotions; none of any other artifact."""
    names = record.attributes.get("classes") or ()
    return names if record.address.family == "visual" and "Happiness" in names else ()


@dataclass(frozen=True, slots=True)
class _Units:
    """Action units by their numbers, written as `01`, with the highest label of their space and whose they are."""

    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    strongest: float = 1.0
    of: Address | None = None


def _units(store: FeatureStore, records: Sequence[Record], kind: SpaceKind, strongest: float | None = None) -> _Units:
    """The action units of the first prediction, or else label, of a space of that kind and, if given, highest label."""
    for family, array in zip(_SAID, ("prediction", "value"), strict=True):
        for record in records:
            if record.address.family != family:
                continue
            space = space_of_record(store, record)
            columns = _action_units(space) if space.kind is kind and strongest in (None, space.high) else {}
            if columns:
                values = read_known(store, record.address, array)[array]
                found = {number: values[:, column] for number, column in columns.items()}
                return _Units(found, space.high, record.address)
    return _Units()


def _action_units(space: LabelSpace) -> dict[str, int]:
    """The columns of a space that are action units of FACS, by their numbers in order; a space may have others."""
    found = ((_UNIT.fullmatch(name), column) for column, name in enumerate(space.names))
    return dict(sorted((f"{int(match[1]):02d}", column) for match, column in found if match))


def _cell(value: Any) -> str:
    return f"{float(value):.9g}" if np.isfinite(value) else ""


for _one in (OpenFaceExporter(), PyFeatExporter()):
    EXPORTERS.register(_one.name, _one)
