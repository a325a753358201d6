"""What has to go when a video is forgotten: all that was computed from its bytes, in every state that a store keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SpecError, nearest
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import video_name
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.history import source_versions
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks.lineage.graph import by_family

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What has to go.

    Attributes:
        digests: SHA-256 of the videos' bytes.
        names: what the videos are called, in every state.
        locations: where their files were.
        addresses: by snapshot, of the newest state and of all tags, what has to go of it.
        records: what has to go, each artifact once.
        tags: by tag, how many artifacts of its snapshot have to go; those that lose nothing are left out.
        named_tags: tags that are called by a video's name.
        kept: what videos that stay are called, where one of the names is part of it.
    """

    digests: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    addresses: Mapping[str, frozenset[Address]] | None = None
    records: tuple[Record, ...] = ()
    tags: Mapping[str, int] | None = None
    named_tags: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        """How many artifacts have to go; one that is the same in several states counts once."""
        return len(self.records)

    @property
    def families(self) -> Mapping[str, int]:
        """The same by family."""
        return by_family(self.records)

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads that were trained on the videos, and have to be trained again without them."""
        return tuple(sorted({r.address.producer for r in self.records if r.address.family == "head"}))

    @property
    def experiments(self) -> tuple[str, ...]:
        """Experiments whose predictions or results have to be made again."""
        found = {r.address.producer for r in self.records if r.address.family in ("prediction", "result")}
        return tuple(sorted({producer.partition("@")[0] for producer in found}))


def plan_erasure(store: FeatureStore, videos: Sequence[str]) -> Erasure:
    """Find all that was computed from videos; nothing is changed.

    Args:
        store: the newest state of the store.
        videos: each by name, alias, file or SHA-256 (8 letters are enough).

    Raises:
        NotFoundError: the store has no such video, not even in its history.
        SpecError: a text stands for several videos.
    """
    if not videos:
        return Erasure()
    records = _kept_records(store)
    inputs = _Inputs(store, records)
    digests = frozenset(inputs.digest_of(text) for text in videos)
    own = [one for one in inputs.all if _bytes_of(one) in digests]
    names = frozenset(name for one in own for name in _names_of(one))
    locations = frozenset(str(one.attributes["location"]) for one in own)
    addresses = _derived(records, digests, names)
    gone = {
        (record.address, record.key, record.digest, record.made_at): record
        for snapshot, found in records.items()
        for record in found
        if record.address in addresses[snapshot]
    }
    tags = {tag: len(addresses[snapshot]) for tag, snapshot in store.tags().items() if addresses[snapshot]}
    named = tuple(tag for tag in store.tags() if any(_is_called_by(tag, name) for name in names))
    kept = kept_names(store, names)
    return Erasure(digests, names, locations, addresses, tuple(gone.values()), tags, named, kept)


def kept_names(store: FeatureStore, names: frozenset[str]) -> frozenset[str]:
    """What other videos of a store are called, where one of some names is part of it, as `talk` of `talk_2`."""
    known = {name for record in store.records("source") for name in _names_of(record)} - names
    return frozenset(other for other in known if any(name in other for name in names))


def interrupted(store: FeatureStore) -> list[str]:
    """SHA-256 of the videos that the store knows and whose deletion was begun and has not ended, sorted."""
    tombstones = Tombstones.of(store)
    if not tombstones.unfinished:
        return []  # to compare digests takes 50 ms each
    return tombstones.began_with({_bytes_of(one) for one in _Inputs(store, _kept_records(store)).all})


def _kept_records(store: FeatureStore) -> dict[str, list[Record]]:
    """By snapshot, the records of the newest state and of every tag."""
    states = {store.snapshot: store}
    states |= {snapshot: store.state(tag) for tag, snapshot in store.tags().items()}
    return {snapshot: state.records() for snapshot, state in states.items()}


class _Inputs:
    """The videos and refused files of every state that a store keeps, and of its history where they are asked for."""

    def __init__(self, store: FeatureStore, states: Mapping[str, Sequence[Record]]) -> None:
        self._store = store
        kept = [one for found in states.values() for one in found if one.address.family in ("source", "quarantine")]
        self.all = [*kept, *source_versions(store)]

    def digest_of(self, text: str) -> str:
        """The SHA-256 of the one video that a text stands for."""
        for fits in (_by_name, _by_digest, _by_place, _by_bytes):
            meant = [one for one in self.all if fits(one, text)]
            # What was refused under a video's name goes with it, whatever its bytes were.
            videos = [one for one in meant if one.address.family == "source"]
            found = {_bytes_of(one): one for one in videos or meant}
            if len(found) > 1:
                several = ", ".join(f"{one.attributes['location']} (sha256 {sha[:16]})" for sha, one in found.items())
                raise SpecError(
                    f"'{text}' stands for {len(found)} videos in the history of the store at '{self._store.url}': "
                    f"{several}. Name one by its digest."
                )
            if found:
                return next(iter(found))
        near = nearest(text, sorted({name for one in self.all for name in _names_of(one)}))
        hint = f"Did you mean '{near}'?" if near else "Name a video by its name, an alias, its file or its SHA-256."
        raise NotFoundError(f"The store at '{self._store.url}' has no video '{text}', now or in its history. {hint}")


def _bytes_of(record: Record) -> str:
    return str(record.attributes["sha256"] if record.address.family == "source" else record.recipe.get("bytes", ""))


def _names_of(record: Record) -> Iterator[str]:
    if record.address.family == "source":
        yield record.address.video
        yield from record.attributes["aliases"]
    else:
        yield str(record.attributes["name"])


def _by_name(record: Record, text: str) -> bool:
    return video_name(text) in {video_name(name) for name in _names_of(record)}


def _by_digest(record: Record, text: str) -> bool:
    return bool(_DIGEST.fullmatch(text.lower())) and _bytes_of(record).startswith(text.lower())


def _by_place(record: Record, text: str) -> bool:
    return bool(record.attributes["location"] == os.path.realpath(text))


def _by_bytes(record: Record, text: str) -> bool:
    path = Path(text)
    return path.is_file() and _bytes_of(record) == digest_file(path)


def _derived(
    states: Mapping[str, Sequence[Record]], digests: frozenset[str], names: frozenset[str]
) -> dict[str, frozenset[Address]]:
    """By snapshot, all that was computed from bytes, directly or not.

    What was computed from an artifact is told by that artifact's key, which depends on the bytes. Where a key is in no
    state any more, the video's name in the parent's path has to do.
    """
    found = {snapshot: _of_bytes(records, digests) for snapshot, records in states.items()}
    keys = {record.key for gone in found.values() for record in gone.values()}
    others = {
        record.key
        for snapshot, records in states.items()
        for record in records
        if record.address not in found[snapshot]
    }
    grows = True
    while grows:
        grows = False
        for snapshot, records in states.items():
            for record in records:
                if record.address not in found[snapshot] and _stands_on(record, keys, others - keys, names):
                    found[snapshot][record.address] = record
                    keys.add(record.key)
                    grows = True
    return {snapshot: frozenset(gone) for snapshot, gone in found.items()}


def _of_bytes(records: Iterable[Record], digests: frozenset[str]) -> dict[Address, Record]:
    """The videos of these bytes in one state, with all that is filed under them, and what is in quarantine of them."""
    known = list(records)
    inputs = [one for one in known if one.address.family in ("source", "quarantine") and _bytes_of(one) in digests]
    videos = {one.address.video for one in inputs if one.address.family == "source"}
    called = {video_name(name) for one in inputs for name in _names_of(one)}
    places = {one.attributes["location"] for one in inputs}
    return {
        record.address: record
        for record in known
        if record in inputs
        or (record.address.family != "quarantine" and record.address.video in videos)
        or (record.address.family == "quarantine" and _is_refusal_of(record, called, places))
    }


def _is_refusal_of(record: Record, called: set[str], places: set[str]) -> bool:
    """Whether what is in quarantine is about a video: an annotation or a crop folder of it, or an earlier try."""
    return record.attributes["location"] in places or video_name(str(record.attributes["name"])) in called


def _stands_on(record: Record, keys: set[str], others: set[str], names: frozenset[str]) -> bool:
    return any(
        parent.key in keys or (parent.key not in others and address_of(parent.path).video in names)
        for parent in record.parents
    )


def _is_called_by(tag: str, name: str) -> bool:
    return bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", tag))
