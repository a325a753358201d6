"""Artifacts of a video as tiers of labelled intervals, which tools for annotation read: ELAN and Praat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.labels import LabelSpace, SpaceKind, label_tier, unknown_text
from affstore.store.contract.names import LONGEST_BYTES
from affstore.store.contract.records import Record
from affstore.store.engine.exporters.base import Written
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.label_spaces import space_of_record
from affstore.store.engine.reading import read_clock


@dataclass(frozen=True, slots=True)
class Interval:
    """What holds from `start_s` to before `end_s`, in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Intervals of one kind, in order and apart; without one a unit is not shown, and of all else nothing is known."""

    name: str
    intervals: tuple[Interval, ...]


def by_video(
    records: Iterable[Record], folder: Path, suffix: str, written: Written
) -> Iterator[tuple[Path, str, list[Record]]]:
    """The artifacts of each video that have a row a frame, with the file that they are for, in a folder that is there.

    Args:
        records: what is exported.
        folder: that gets the files.
        suffix: of their names.
        written: is told of a video whose name, with the suffix, no file can have.
    """
    for video, own in groupby(sorted(of_frames(records), key=lambda one: (one.address.video, one.address)), _video):
        found = list(own)
        if len(f"{video}{suffix}".encode()) > LONGEST_BYTES:
            written.left_out.append(
                f"'{video}' was not exported: with '{suffix}' its name is longer than the {LONGEST_BYTES} bytes of a "
                "file's. Rename the video's file, and add it again."
            )
            written.without.extend(found)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            yield folder / f"{video}{suffix}", video, found


def of_frames(records: Iterable[Record]) -> list[Record]:
    """The artifacts that have a row a frame, but for videos themselves."""
    return [one for one in records if "frames" in one.attributes and one.address.family != "source"]


def tiers_by_video(
    store: FeatureStore, records: Iterable[Record], folder: Path, suffix: str, written: Written
) -> Iterator[tuple[Path, str, list[Tier]]]:
    """The tiers of each video that has any, with the file that they are for; see `by_video`.

    Args:
        store: where they are.
        records: what is exported.
        folder: that gets the files.
        suffix: of their names.
        written: is told of artifacts that have no tier.
    """
    silent: list[Record] = []
    for path, video, found in by_video(records, folder, suffix, written):
        tiers = {record.address: tiers_of(store, video, [record]) for record in found}
        silent.extend(record for record in found if not tiers[record.address])
        if any(tiers.values()):
            yield path, video, [tier for own in tiers.values() for tier in own]
    written.leave(silent, "which are no intervals of time (predicted numbers are curves) or hold nothing")


def tiers_of(store: FeatureStore, video: str, records: Sequence[Record]) -> list[Tier]:
    """The tiers of a video: labels, classes and units of predictions and networks, and where a face or sound is.

    Classes have their names as texts, where they are known. A unit has a tier of its own: there is its name where it is
    shown, `unknown` where nobody knows, and nothing where it is not shown. Intensities, and labels that are real
    numbers, have the number, where it is known; predicted real numbers are curves and have no tier.
    """
    clock = read_clock(store, video)
    edges = np.append(clock.starts_s, clock.end_s)
    return [
        Tier(name, tuple(_intervals(edges, texts)))
        for record in records
        for name, texts in _named_texts(store, record)
        if record.address.family == "label" or any(text is not None for text in texts)
    ]


def _named_texts(store: FeatureStore, record: Record) -> Iterator[tuple[str, list[str | None]]]:
    """The name of each tier of an artifact, and the text of every frame."""
    address = record.address
    if address.family in ("label", "prediction"):
        yield from _of_space(store, record, space_of_record(store, record))
        return
    title = "/".join(part for part in (address.family, address.producer, address.subject) if part)
    names = list(record.attributes.get("classes") or ())
    by_frames = address.family != "audio" or len(names) == 1  # several classes of sound are those of a segment
    if not (names and by_frames and "logits" in store.group(address)):
        present = store.read(address, ["present"])["present"]
        text = "sound" if address.family == "audio" else "face"
        yield title, [text if there else None for there in present]
        return
    held = store.read(address, ["logits", "present"])
    if len(names) > 1:
        yield title, _classes(names, held["logits"].argmax(1), held["present"])
    else:
        yield f"{title}/{names[0]}", _unit(names[0], held["logits"][:, 0] > 0, held["present"])


def _of_space(store: FeatureStore, record: Record, space: LabelSpace) -> Iterator[tuple[str, list[str | None]]]:
    """The tiers of a label or a prediction, which is unknown where it was filled in because nothing was seen."""
    address = record.address
    array, mask = ("value", "known") if address.family == "label" else ("prediction", "present")
    title = label_tier(space, address.subject)
    if address.family == "prediction":
        title = f"{address.family}/{address.producer}/{address.subject}"
        if space.kind is SpaceKind.VALUES:
            return
    held = store.read(address, [array, mask])
    values = held[array]
    known = np.broadcast_to(held[mask].reshape(len(values), -1), values.shape)
    if space.kind is SpaceKind.CLASSES:
        yield title, _classes(space.names, values[:, 0], known[:, 0])
        return
    for i, name in enumerate(space.names):
        if space.kind is SpaceKind.UNITS:
            yield f"{title}/{name}", _unit(name, values[:, i], known[:, i])
        else:
            numbers = map(_number, values[:, i])
            yield f"{title}/{name}", [text if k else None for text, k in zip(numbers, known[:, i], strict=True)]


def _classes(names: Sequence[str], values: NDArray[Any], known: NDArray[np.bool_]) -> list[str | None]:
    return [names[int(value)] if there else None for value, there in zip(values, known, strict=True)]


def _unit(name: str, values: NDArray[Any], known: NDArray[np.bool_]) -> list[str | None]:
    unknown = unknown_text(name)
    return [(name if v else None) if k else unknown for v, k in zip(values, known, strict=True)]


def _number(value: Any) -> str:
    """As few digits as give the same number again."""
    return np.format_float_positional(np.float32(value), trim="-") if value.dtype.kind == "f" else str(value)


def _intervals(edges: NDArray[np.float64], texts: Sequence[str | None]) -> Iterator[Interval]:
    first = 0
    for text, run in groupby(texts):
        last = first + sum(1 for _ in run)
        if text is not None:
            yield Interval(float(edges[first]), float(edges[last]), text)
        first = last


def _video(record: Record) -> str:
    return record.address.video
