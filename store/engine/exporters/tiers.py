"""Artifacts of a video as tiers of labelled intervals, which tools for annotation read: ELAN and Praat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import read_clock

_FACE = "face"


@dataclass(frozen=True, slots=True)
class Interval:
    """What holds from `start_s` to before `end_s`, in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Intervals of one kind, in order and apart; where there is none, nothing is known or nothing holds."""

    name: str
    intervals: tuple[Interval, ...]


def by_video(records: Iterable[Record]) -> Iterator[tuple[str, list[Record]]]:
    """The artifacts that have a row a frame, video by video."""
    framed = [one for one in records if "frames" in one.attributes and one.address.family != "source"]
    for video, found in groupby(sorted(framed, key=lambda one: (one.address.video, one.address)), _video):
        yield video, list(found)


def tiers_of(store: FeatureStore, video: str, records: Sequence[Record]) -> list[Tier]:
    """The tiers of a video: classes and units of labels, predictions and networks, and where a face is."""
    clock = read_clock(store, video)
    edges = np.append(clock.starts_s, clock.end_s)
    return [
        Tier(name, tuple(_intervals(edges, texts)))
        for record in records
        for name, texts in _named_texts(store, record)
        if any(text is not None for text in texts)
    ]


def _named_texts(store: FeatureStore, record: Record) -> Iterator[tuple[str, list[str | None]]]:
    """The name of each tier of an artifact, and the text of every frame."""
    address, group = record.address, store.group(record.address)
    title = "/".join(part for part in (address.family, address.producer, address.subject) if part)
    names = list(record.attributes.get("labels") or record.attributes.get("classes") or ())
    schema = family(address.family)
    mask_name = schema.mask or "present"  # predictions are filled in where nothing was seen
    array = next((one for one in ("prediction", "value", "logits") if schema.stored_name(one, group) in group), None)
    if address.family == "audio" and len(names) != 1:
        array = None  # of a segment, not of a frame
    if array is None or not names:
        present = store.read(address, [mask_name])[mask_name]
        yield title, [_FACE if there else None for there in present.reshape(len(present), -1).any(1)]
        return
    held = store.read(address, [array, mask_name])
    values, mask = held[array], held[mask_name]
    if values.dtype.kind == "f" and array != "logits":
        return  # real numbers are curves, not intervals
    known = np.broadcast_to(mask if mask.ndim > 1 else mask[:, None], values.shape)
    if array == "logits" and len(names) > 1:
        values, known = values.argmax(1)[:, None], known[:, :1]
    elif array == "logits":
        values = values > 0
    if values.shape[1] == 1 and len(names) > 1:
        yield title, [names[int(v)] if k else None for v, k in zip(values[:, 0], known[:, 0], strict=True)]
    else:
        for i, name in enumerate(names):
            yield f"{title}/{name}", _unit(name, values[:, i], known[:, i])


def _unit(name: str, values: NDArray[Any], known: NDArray[np.bool_]) -> list[str | None]:
    return [name if v and k else None for v, k in zip(values, known, strict=True)]


def _intervals(edges: NDArray[np.float64], texts: Sequence[str | None]) -> Iterator[Interval]:
    first = 0
    for text, run in groupby(texts):
        last = first + sum(1 for _ in run)
        if text is not None:
            yield Interval(float(edges[first]), float(edges[last]), text)
        first = last


def _video(record: Record) -> str:
    return record.address.video
