"""What differs between two states of a store: artifacts, what decided them, their scores, and numbers by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.keys import changes
from affstore.store.contract.names import video_name
from affstore.store.contract.records import SLASH, Address, Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.history import may_differ
from affstore.store.engine.reading import find_source
from affstore.tasks.lineage.graph import by_family

_OF_PARENTS = ("face", "source", "head", "inputs", "train", "validation")
"""Fields of recipes that hold keys of parents; which of those changed is said by their paths instead."""


@dataclass(frozen=True, slots=True)
class ArrayChange:
    """How one array of an artifact differs.

    Attributes:
        array: its name.
        note: what cannot be counted: that it is new, gone, or of another shape or type; empty else.
        rows: how many rows differ: frames, where the artifact has them.
        of: how many there are.
        ranges: the rows that differ, each from its first to its last.
        largest: the largest difference between two numbers.
    """

    array: str
    note: str = ""
    rows: int = 0
    of: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class ArtifactChange:
    """An artifact that both states have, and that is another one in the second.

    Attributes:
        old: as it was.
        new: as it is.
        reasons: what differs in what decided it, in the packages and in what is noted of it.
        scores: by name, before and after; None where one state does not have it.
        arrays: how its arrays differ; empty where they are the same, or were not compared.
    """

    old: Record
    new: Record
    reasons: tuple[str, ...]
    scores: Mapping[str, tuple[Any, Any]]
    arrays: tuple[ArrayChange, ...] = ()

    @property
    def has_other_numbers(self) -> bool:
        """Whether the arrays differ."""
        return self.old.digest != self.new.digest


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two states of a store.

    Attributes:
        before: snapshot of the first.
        after: snapshot of the second.
        added: where only the second has something.
        removed: where only the first has.
        changed: what both have, with another key, other numbers or other facts.
        rewritten: what was written again and came out the same.
    """

    before: str
    after: str
    added: tuple[Address, ...] = field(default=())
    removed: tuple[Address, ...] = field(default=())
    changed: tuple[ArtifactChange, ...] = field(default=())
    rewritten: tuple[Record, ...] = field(default=())

    def counts(self) -> dict[str, dict[str, int]]:
        """How many artifacts were added, removed, changed and rewritten, by family; families without any left out."""
        kinds = {
            "added": by_family(self.added),
            "removed": by_family(self.removed),
            "changed": by_family(change.new for change in self.changed),
            "rewritten": by_family(self.rewritten),
        }
        families = sorted({family for counts in kinds.values() for family in counts})
        return {family: {kind: counts.get(family, 0) for kind, counts in kinds.items()} for family in families}

    def alike(self) -> list[list[ArtifactChange]]:
        """What changed, in groups of one producer's artifacts of which the same is to be said."""
        groups: dict[tuple[Any, ...], list[ArtifactChange]] = {}
        for change in self.changed:
            address = change.new.address
            alone = address.path if change.scores or change.arrays else ""
            groups.setdefault((address.family, address.producer, change.reasons, alone), []).append(change)
        return list(groups.values())

    def as_document(self) -> dict[str, Any]:
        """The difference as plain values, for other programs."""
        return {
            "before": self.before,
            "after": self.after,
            "families": self.counts(),
            "added": [address.path for address in self.added],
            "removed": [address.path for address in self.removed],
            "rewritten": [record.address.path for record in self.rewritten],
            "changed": [_as_document(change) for change in self.changed],
        }


def _as_document(change: ArtifactChange) -> dict[str, Any]:
    return {
        "artifact": change.new.address.path,
        "key": [change.old.key, change.new.key],
        "digest": [change.old.digest, change.new.digest],
        "reasons": list(change.reasons),
        "scores": {name: list(values) for name, values in change.scores.items()},
        "arrays": [
            {
                "array": one.array,
                "note": one.note or None,
                "rows": one.rows,
                "of": one.of,
                "ranges": [list(ends) for ends in one.ranges],
                "largest": one.largest,
            }
            for one in change.arrays
        ],
    }


def difference(before: FeatureStore, after: FeatureStore, part: str = "", numbers: bool = False) -> Difference:
    """Compare two states of a store, or two stores.

    Args:
        before: the first.
        after: the second.
        part: only artifacts whose path begins so, or those of the video that has this name or alias.
        numbers: whether arrays are read and compared frame by frame.

    Raises:
        NotFoundError: neither state has such a part; the message suggests the nearest.
    """
    candidates = sorted(may_differ(before, after))
    addresses = [address for address in candidates if _is_of(address, part)]
    if not addresses and part:
        part = _known_part(before, after, part)
        addresses = [address for address in candidates if _is_of(address, part)]
    old, new = set(before.present(addresses)), set(after.present(addresses))
    changed, rewritten = [], []
    for a, b in _pairs(before, after, old & new):
        if a == b:
            continue
        if (a.key, a.digest, a.attributes, a.parents) == (b.key, b.digest, b.attributes, b.parents):
            rewritten.append(b)
            continue
        arrays = tuple(_arrays(before, after, a.address)) if numbers and a.digest != b.digest else ()
        changed.append(ArtifactChange(a, b, tuple(_reasons(a, b)), _scores(a, b), arrays))
    added, removed = (tuple(sorted(one, key=_path)) for one in (new - old, old - new))
    return Difference(before.snapshot, after.snapshot, added, removed, tuple(changed), tuple(rewritten))


def _pairs(before: FeatureStore, after: FeatureStore, addresses: Iterable[Address]) -> Iterator[tuple[Record, Record]]:
    """What two states hold where both hold something, in the order of the paths; nothing else need be read."""
    both = sorted(addresses, key=_path)
    return zip(before.find_all(both), after.find_all(both), strict=True)


def _path(address: Address) -> str:
    return address.path


def _known_part(before: FeatureStore, after: FeatureStore, part: str) -> str:
    """The part as the states call it: a video by its name where that is an alias."""
    addresses = {*before.addresses(), *after.addresses()}
    for text in (part, video_name(part)):
        if any(_is_of(address, text) for address in addresses):
            return text
    for store in (after, before):
        with suppress(NotFoundError):
            return find_source(store, part).address.video
    known = {text for one in addresses for text in (one.path, _place(one.path), one.video)} - {""}
    raise NotFoundError.of(after.url, "artifact or video", part, known, "`affstore show` lists what there is.")


def _is_of(address: Address, part: str) -> bool:
    paths = (address.path, address.path.replace(SLASH, "/"))
    return not part or address.video == part or any(f"{path}/".startswith(f"{part.rstrip('/')}/") for path in paths)


def _reasons(old: Record, new: Record) -> Iterator[str]:
    """Sentences of what decided an artifact and is another now; nothing in them but their parents names a video."""
    parents = list(_parent_changes(old, new))
    yield from (line for line in changes(old.recipe, new.recipe) if not (parents and line.split(":")[0] in _OF_PARENTS))
    yield from parents
    if old.digest != new.digest:
        if old.key == new.key:
            yield "the same key gave other numbers"
        yield from changes(old.code, new.code, "code")
        yield from changes(_how(old), _how(new), "made")
    elif old.key != new.key:
        yield "the numbers stayed the same"
    yield from changes(_facts(old), _facts(new), "noted")


def _how(record: Record) -> dict[str, Any]:
    return {name: record.made.get(name) for name in ("engine", "precision", "device", "weights", "provenance")}


def _facts(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.attributes.items() if name != "scores"}


def score_text(value: Any) -> str:
    """A score as a person reads it."""
    return "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _parent_changes(old: Record, new: Record) -> Iterator[str]:
    """Which kinds of artifacts it was computed from are others, and how many."""
    was, is_ = ({parent.path: parent for parent in record.parents} for record in (old, new))
    kinds = (
        ("another", "others", [path for path in was.keys() & is_.keys() if was[path] != is_[path]]),
        ("one more", "more", is_.keys() - was.keys()),
        ("one less", "less", was.keys() - is_.keys()),
    )
    for one, several, paths in kinds:
        for place, count in sorted(Counter(map(_place, paths)).items()):
            yield f"computed from {one} {place}" if count == 1 else f"computed from {count} {several} of {place}"


def _place(path: str) -> str:
    address = address_of(path)
    return f"{address.family}/{address.producer}" if address.producer else address.family


def _scores(old: Record, new: Record) -> dict[str, tuple[Any, Any]]:
    """The scores that differ, and what was chosen for a result."""
    was, is_ = (dict(record.attributes.get("scores") or {}) for record in (old, new))
    names = dict.fromkeys((*was, *is_))
    return {name: (was.get(name), is_.get(name)) for name in names if was.get(name) != is_.get(name)}


def _arrays(before: FeatureStore, after: FeatureStore, address: Address) -> Iterator[ArrayChange]:
    old, new = before.read(address), after.read(address)
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield ArrayChange(name, "is new" if name in new else "is gone")
        elif (old[name].shape, old[name].dtype) != (new[name].shape, new[name].dtype):
            shapes = [f"{array.dtype} {array.shape}" for array in (old[name], new[name])]
            yield ArrayChange(name, " → ".join(shapes))
        elif not np.array_equal(old[name], new[name]):
            yield _compared(name, old[name], new[name])


def _compared(name: str, old: NDArray[Any], new: NDArray[Any]) -> ArrayChange:
    old, new = np.atleast_1d(old), np.atleast_1d(new)
    differs = (old != new).reshape(len(old), -1).any(axis=1)
    largest = float(np.abs(old[differs].astype(np.float64) - new[differs].astype(np.float64)).max())
    return ArrayChange(name, "", int(differs.sum()), len(differs), tuple(_ranges(np.flatnonzero(differs))), largest)


def _ranges(rows: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Runs of neighbouring rows, from the first to the last of each."""
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(rows, breaks) if len(run)]
