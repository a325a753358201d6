"""What every artifact of a store was computed from, and what was computed from it, as a graph over their records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from affstore import FeatureStore
from affstore.store.contract.records import Address, Parent, Record
from affstore.store.contract.schema import address_of

LinkState = Literal["current", "replaced", "missing"]
"""Whether what an artifact was computed from is in the same snapshot: as it was then, as something else, or not."""

LeafKind = Literal["video", "annotation", "crops", "weights", "features"]


@dataclass(frozen=True, slots=True)
class Link:
    """One parent of an artifact.

    Attributes:
        parent: as the artifact's record names it.
        state: whether that is what the snapshot holds.
        record: what the snapshot holds at its path; None where that is nothing.
    """

    parent: Parent
    state: LinkState
    record: Record | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """Bytes outside the store that an artifact was computed from.

    Attributes:
        kind: what they are.
        digest: SHA-256; of a crop folder, the digest of all its pictures.
        name: of the weights, or where the file or folder was; it may have been moved since.
        provenance: of weights: published, unofficial or untrained; empty for others, and where it is not known.
    """

    kind: LeafKind
    digest: str
    name: str
    provenance: str = ""


class LineageGraph:
    """Artifacts of one snapshot, linked by their parents: all of them, or some with all that they stand on."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records: dict[str, Record] = {record.address.path: record for record in records}
        self._links: dict[str, tuple[Link, ...]] = {}
        self._leaves: dict[str, tuple[Leaf, ...]] = {}

    def links(self, record: Record) -> tuple[Link, ...]:
        """What an artifact was computed from, in the order of its record; looked up once for each."""
        path = record.address.path
        if path not in self._links:
            self._links[path] = tuple(self._link(parent) for parent in record.parents)
        return self._links[path]

    def leaves(self, record: Record) -> tuple[Leaf, ...]:
        """The bytes outside the store that an artifact was computed from; looked up once for each."""
        path = record.address.path
        if path not in self._leaves:
            self._leaves[path] = leaves_of(record)
        return self._leaves[path]

    def upstream(self, records: Iterable[Record]) -> dict[str, Record]:
        """Everything that artifacts were computed from, directly or not; they themselves are left out."""
        return self._reached(records, lambda record: (link.record for link in self.links(record) if link.record))

    def downstream(self, records: Iterable[Record]) -> dict[str, Record]:
        """Everything that was computed from artifacts as they are, directly or not; they themselves are left out."""
        return self._reached(records, lambda record: iter(self._children.get(record.address.path, ())))

    def gaps(self, record: Record) -> list[str]:
        """Sentences that say where the way from an artifact back to bytes is broken; none where it is whole."""
        found = []
        for one in (record, *self.upstream([record]).values()):
            links = self.links(one)
            found += [
                f"'{link.parent.path}', which '{one.address}' was computed from, {_SAYS[link.state]}."
                for link in links
                if link.state != "current"
            ]
            if not links and not self.leaves(one):
                found.append(f"'{one.address}' names nothing that it was computed from.")
        return found

    def _link(self, parent: Parent) -> Link:
        record = self.records.get(parent.path)
        if record is None:
            return Link(parent, "missing", None)
        same = (record.key, record.digest) == (parent.key, parent.digest)
        return Link(parent, "current" if same else "replaced", record)

    @cached_property
    def _children(self) -> Mapping[str, Sequence[Record]]:
        """By path, what was computed from the artifact that is there now."""
        found: dict[str, list[Record]] = {}
        for record in self.records.values():
            for link in self.links(record):
                if link.state == "current":
                    found.setdefault(link.parent.path, []).append(record)
        return found

    def _reached(self, start: Iterable[Record], following: Any) -> dict[str, Record]:
        roots = {record.address.path: record for record in start}
        found: dict[str, Record] = {}
        waiting = list(roots.values())
        while waiting:
            for record in following(waiting.pop()):
                if record.address.path not in found:
                    found[record.address.path] = record
                    waiting.append(record)
        return {path: found[path] for path in sorted(found.keys() - roots.keys())}


def with_ancestors(store: FeatureStore, records: Iterable[Record]) -> list[Record]:
    """Artifacts and everything in the store that they were computed from, directly or not, each once.

    They are read generation by generation; the other records of the store are not.
    """
    found = {record.address.path: record for record in records}
    newest = list(found.values())
    while newest:
        paths = {parent.path for record in newest for parent in record.parents} - found.keys()
        newest = store.find_all(address_of(path) for path in sorted(paths))
        found |= {record.address.path: record for record in newest}
    return list(found.values())


_SAYS: Mapping[LinkState, str] = {
    "replaced": "has been replaced since",
    "missing": "is not in the store any more",
}


def leaves_of(record: Record) -> tuple[Leaf, ...]:
    """The bytes outside the store that an artifact was computed from without another artifact between."""
    recipe, attributes = record.recipe, record.attributes
    found = list(_weights_of(record))
    location = str(attributes.get("location", ""))
    if record.address.family == "source":
        found.append(Leaf("video", str(attributes["sha256"]), location))
    elif record.address.family == "label":
        found.append(Leaf("annotation", str(recipe.get("bytes", "")), location))
    elif "crops" in recipe:
        found.append(Leaf("crops", str(recipe["crops"]), location))
    elif "imported" in recipe:
        made = record.made["imported"]
        found.append(Leaf("features", str(recipe["imported"]["bytes"]), str(made.get("location") or made["file"])))
    elif record.address.family == "quarantine":
        found.append(Leaf(_refused(record), str(recipe.get("bytes", "")), location))
    return tuple(found)


def _refused(record: Record) -> LeafKind:
    """What it is that was put into quarantine: by the stage, or by how it was read."""
    if record.address.producer == "annotate":
        return "annotation"
    return "crops" if record.recipe.get("decode", {}).get("kind") == "pictures" else "video"


def _weights_of(record: Record) -> Iterator[Leaf]:
    """The networks' parameters that a record names: how it was made, or anywhere in its recipe."""
    made, producer = record.made, record.address.producer
    found: dict[str, Leaf] = {}
    for digest, name, trained in _named_weights(record.recipe):
        provenance = "untrained" if trained is False else ""
        found[digest] = Leaf("weights", digest, name or producer, provenance)
    ran_with = made.get("weights")
    if isinstance(ran_with, str) and ran_with:
        provenance = str(made.get("provenance") or "")
        found[ran_with] = Leaf("weights", ran_with, str(made.get("weights_name") or producer), provenance)
    yield from found.values()


def _named_weights(recipe: Any) -> Iterator[tuple[str, str, Any]]:
    """Digest, name and whether they are trained, of all parameters in a recipe, in the order in which it names them."""
    waiting = [recipe]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):  # what JSON gives; the check against Mapping would take most of the time
            digest = part.get("sha256")
            if digest and isinstance(digest, str) and part.get("kind") == "weights":
                yield digest, str(part.get("name", "")), part.get("trained")
            if isinstance(part.get("weights_sha256"), str):
                yield part["weights_sha256"], "", None
            waiting += [value for value in reversed(part.values()) if isinstance(value, dict | list)]
        elif isinstance(part, list):
            waiting += [value for value in reversed(part) if isinstance(value, dict | list)]


def by_family(records: Iterable[Record | Address]) -> dict[str, int]:
    """How many artifacts there are of each family, in the order of the families' names."""
    counts: dict[str, int] = {}
    for one in records:
        family = one.family if isinstance(one, Address) else one.address.family
        counts[family] = counts.get(family, 0) + 1
    return dict(sorted(counts.items()))


def learns_nothing(head: Record) -> bool:
    """Whether a head gives the outputs of its network as they are, so that nothing was fitted."""
    return bool(head.recipe.get("fit", {}).get("head", {}).get("kind") == _PRETRAINED)


_PRETRAINED = "pretrained"
"""`PretrainedSpec.KIND`, which takes a trace 40 ms to import."""
