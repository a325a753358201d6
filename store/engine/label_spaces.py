"""Which label space the columns of a label or of a prediction are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from affstore.store.contract.labels import TASKS, LabelSpace, SpaceKind, space_from_fields, space_of
from affstore.store.contract.records import Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.feature_store import FeatureStore


def space_of_record(store: FeatureStore, record: Record) -> LabelSpace:
    """The label space of a label or a prediction.

    A user's space is written in the record of a label, and in those of the heads behind a prediction. Where these are
    gone, it is told from what the arrays hold.
    """
    name = str(record.attributes["task"])
    if name in TASKS:
        return TASKS[name]
    if "space" in record.attributes:
        return space_of(name, record.attributes["space"])
    return next(_of_heads(store, record, name), None) or _by_arrays(store, record, name)


def _of_heads(store: FeatureStore, record: Record, name: str) -> Iterator[LabelSpace]:
    """The space as the heads behind a prediction have it; an experiment's prediction is made from those of heads."""
    behind = [address_of(parent.path) for parent in record.parents]
    for parent in store.find_all(one for one in behind if one.family in ("head", "prediction")):
        if parent.address.family == "head":
            yield from _written(parent.attributes["head"], name)
        else:
            yield from _of_heads(store, parent, name)


def _written(value: Any, name: str) -> Iterator[LabelSpace]:
    """The space of that name wherever it is written within a head's facts."""
    if isinstance(value, Mapping):
        if value.get("name") == name and value.get("kind") in set(SpaceKind):
            yield space_from_fields(value)
        else:
            for inner in value.values():
                yield from _written(inner, name)


def _by_arrays(store: FeatureStore, record: Record, name: str) -> LabelSpace:
    array = "value" if record.address.family == "label" else "prediction"
    values, names = store.read(record.address, [array])[array], tuple(record.attributes["labels"])
    low, high = (float(end) for end in (values.min(initial=0), values.max(initial=1)))
    if values.dtype.kind == "f":
        return LabelSpace(name, SpaceKind.VALUES, names, (low, high))
    if values.shape[1] < len(names):
        return LabelSpace(name, SpaceKind.CLASSES, names)
    return (
        LabelSpace(name, SpaceKind.UNITS, names)
        if high == 1
        else LabelSpace(name, SpaceKind.INTENSITIES, names, (0, high))
    )
