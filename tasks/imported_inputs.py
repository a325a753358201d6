"""Imported features as inputs of heads: what a store has of them, and which videos lack them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from affstore import FeatureStore
from affstore.models.extractor_specs import IMPORTED, ImportedFeatures
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import canonical
from affstore.store.contract.names import join_subject
from affstore.store.contract.records import Address, Record
from affstore.tasks.remarks import Remark
from affstore.tasks.specs import HeadRun, Input


def features_called(store: FeatureStore, name: str) -> ImportedFeatures:
    """The imported features of a name; a head takes them where all videos have the same numbers.

    Raises:
        UnknownNameError: no video has them; the message suggests the nearest.
        SpecError: two videos have different ones.
    """
    first: tuple[Record, ImportedFeatures] | None = None
    for record in _records(store, name):
        found = imported_by(store, record)
        if first is None:
            first = record, found
        if not found.is_like(first[1]):
            raise SpecError(
                f"'{name}' is not the same in all videos: {_called(first[0])} has {_told(first[1])}, and "
                f"{_called(record)} {_told(found)}. Import one of them again, as the other is, or under another "
                "--name."
            )
        if found.columns and not first[1].columns:
            first = record, found
    if first is None:
        known = {one.producer for one in store.addresses("visual", "audio") if one.producer.startswith(IMPORTED)}
        if known:
            raise UnknownNameError.of("imported features of this store", name, sorted(known))
        raise SpecError(
            f"No video of this store has '{name}'. `affstore import FILE --video VIDEO --name "
            f"{name.removeprefix(IMPORTED)}` takes it in."
        )
    return first[1]


def difference(store: FeatureStore, name: str) -> str:
    """Why no head can take all that was imported under a name, or an empty text."""
    try:
        features_called(store, IMPORTED + name)
    except SpecError as error:
        return str(error)
    return ""


def imported_by(store: FeatureStore, record: Record) -> ImportedFeatures:
    """The imported features that a record speaks of."""
    _, *columns = record.recipe["imported"]["take"]
    width = record.made["imported"].get("width")
    if width is None:  # what was imported by an earlier affstore
        embedding: Any = store.group(record.address)["embedding"]
        width = embedding.shape[1]
    return ImportedFeatures(record.address.producer, width, tuple(columns), record.address.family == "audio")


def is_meant(store: FeatureStore, head: HeadRun, part: Input, record: Record) -> bool:
    """Whether a stored artifact is what an input of a head means: by its network, or imported like those it knows."""
    spec = head.spec_of(part)
    if isinstance(spec, ImportedFeatures):
        return not _fault(store, spec, record)
    return spec not in head.extractors or bool(record.recipe["extractor"] == canonical(spec))


def without_features(
    store: FeatureStore, heads: Iterable[HeadRun], videos: Collection[str] | None = None
) -> list[Remark]:
    """The videos, of all or of some, that heads leave out because imported features are missing or of another kind."""
    wanted = dict.fromkeys(spec for head in heads for part in head.inputs for spec in _imported(head, part))
    sources = sorted(one.video for one in store.addresses("source")) if wanted else ()
    return [
        Remark(video, "features", f"{fault} Heads on '{spec.name}' leave it out.")
        for spec in wanted
        for video in sources
        if (videos is None or video in videos) and (fault := missing_features(store, spec, video))
    ]


def lacks_features(store: FeatureStore, head: HeadRun, video: str) -> str:
    """Why a head says nothing of a video, where that is for want of imported features; an empty text else."""
    faults = (missing_features(store, spec, video) for part in head.inputs for spec in _imported(head, part))
    return next(filter(None, faults), "")


def missing_features(store: FeatureStore, spec: ImportedFeatures, video: str) -> str:
    """Why a video has no such features as are meant, or an empty text."""
    records = _records(store, spec.name, video)
    if not records:
        name = spec.name.removeprefix(IMPORTED)
        return f"It has no '{spec.name}': `affstore import FILE --video {video} --name {name}` takes it in."
    faults = [_fault(store, spec, record) for record in records]
    return "" if "" in faults else faults[0]


def _fault(store: FeatureStore, spec: ImportedFeatures, record: Record) -> str:
    """Why a head that knows some features cannot take what is stored under their name, or an empty text."""
    if record.recipe["source"] != store.get(Address("source", video=record.address.video)).key:
        return f"'{spec.name}' was imported for other bytes of it: import it again."
    found = imported_by(store, record)
    if spec.width and not found.is_like(spec):
        return f"Its '{spec.name}' has {_told(found)}, and {_told(spec)} are meant: import it again."
    return ""


def _imported(head: HeadRun, part: Input) -> Iterator[ImportedFeatures]:
    spec = head.spec_of(part)
    if isinstance(spec, ImportedFeatures):
        yield spec


def _records(store: FeatureStore, name: str, video: str = "") -> list[Record]:
    addresses = store.addresses("visual", "audio", video=video)
    return store.find_all(sorted(address for address in addresses if address.producer == name))


def _called(record: Record) -> str:
    """What the features are of, as a file of them would be called."""
    address = record.address
    return f"'{join_subject(address.video, address.subject) if address.subject else address.video}'"


def _told(features: ImportedFeatures) -> str:
    return f"{features.numbers} of its sound" if features.of_sound else features.numbers
