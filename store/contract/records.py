"""Addresses, artifacts and their records: what is stored, where, and what it came from."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from affstore.store.contract.errors import SchemaError
from affstore.store.contract.keys import key_of

Arrays = Mapping[str, NDArray[Any]]

Provenance = Literal["published", "unofficial", "untrained"]
"""What is known of the parameters behind a number, from the most to the least trusted: they were read from a file with
the published digest; from another file, or one whose digest nobody published; they are seeded and untrained."""

SLASH = "%2F"
"""How a `/` within a producer's name is written in paths."""

_TRUST: tuple[Provenance, ...] = get_args(Provenance)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where an artifact lives.

    Attributes:
        family: one of `schema.yaml`'s families.
        producer: detector, extractor, task or experiment; empty for a source.
        video: the video's name; empty for a head.
        subject: `main`, `left`, `right`, or `person1`, `person2` …; empty where the family has none.
    """

    family: str
    producer: str = ""
    video: str = ""
    subject: str = ""

    @property
    def path(self) -> str:
        """The group's path in the store, e.g. `visual/emotieffnet_b0/12-24-1920x1080/left`.

        A `/` in a producer's name, as in `timm/vit_base_patch16_224`, is written as `%2F`.
        """
        producer = self.producer.replace("/", SLASH)
        # A store of 600 videos asks for 100,000 of them: a generator would take four times as long.
        return "/".join(filter(None, (self.family, producer, self.video, self.subject)))

    @property
    def place(self) -> Address:
        """Where all that is of this family and by this producer lives."""
        return Address(self.family, self.producer)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True, order=True)
class Parent:
    """One artifact that another was computed from, as it was then."""

    path: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a task hands to the store.

    Attributes:
        address: where it will live.
        recipe: everything its numbers depend on, as plain values; its digest is the key.
        arrays: name to array, as `schema.yaml` states for the family.
        attributes: what the family requires beside the record.
        parents: the artifacts it was computed from.
        made: how: extractor, weights and their provenance, engine, precision, device.
    """

    address: Address
    recipe: Mapping[str, Any]
    arrays: Arrays
    attributes: Mapping[str, Any]
    parents: tuple[Parent, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """An artifact's line of lineage, stored in its group's attributes and committed with its arrays.

    Attributes:
        address: where it lives.
        key: digest of `recipe`; equal keys mean equal numbers.
        recipe: everything the numbers depend on.
        digest: of the arrays.
        parents: what it was computed from, as it was then.
        made: how: extractor, weights, engine, precision, device.
        code: versions of the packages that had a part in it, and the `commit` of affstore where it was known.
        run_id: the run that made it; not part of any key.
        made_at: when, ISO 8601 UTC; not part of any key.
        attributes: what the family requires beside the record.
    """

    address: Address
    key: str
    recipe: Mapping[str, Any]
    digest: str
    parents: tuple[Parent, ...]
    made: Mapping[str, Any]
    code: Mapping[str, str]
    run_id: str
    made_at: str
    attributes: Mapping[str, Any]

    def __repr__(self) -> str:
        frames = self.attributes.get("frames")
        length = "" if frames is None else f" {frames} frames,"
        return f"<Record {self.address}:{length} key {self.key[:12]}, made {self.made_at} by run {self.run_id}>"

    @property
    def provenance(self) -> Provenance | None:
        """The provenance of the network parameters behind the numbers; None where there are none.

        Records of earlier versions say only whether the parameters were trained; of trained ones it is not known that
        they are the published ones.
        """
        found = self.made.get("provenance")
        if found in _TRUST:
            return _TRUST[_TRUST.index(found)]
        if "trained" not in self.made:
            return None
        return provenance_of(self.made["trained"], official=False)

    def as_parent(self) -> Parent:
        """This artifact as a parent of another."""
        return Parent(self.address.path, self.key, self.digest)

    def is_of(self, recipe: Mapping[str, Any], parents: Iterable[Parent]) -> bool:
        """Whether this is what a recipe gives, and was computed from those artifacts with the numbers they have now."""
        return self.key == key_of(recipe) and set(self.parents) == set(parents)

    def to_attributes(self, family_version: int) -> dict[str, Any]:
        """The group attributes that hold this record, with a checksum over all of them."""
        attributes = {
            "affstore": {
                "family": self.address.family,
                "path": self.address.path,
                "version": family_version,
                "key": self.key,
                "recipe": dict(self.recipe),
                "digest": self.digest,
                "parents": [[parent.path, parent.key, parent.digest] for parent in self.parents],
                "made": dict(self.made),
                "code": dict(self.code),
                "run_id": self.run_id,
                "made_at": self.made_at,
            },
            **self.attributes,
        }
        # Written and read once, so that tuples and the like count as what the store makes of them.
        attributes["affstore"]["checksum"] = checksum_of(json.loads(json.dumps(attributes)))
        return attributes

    @classmethod
    def from_attributes(cls, address: Address, attributes: Mapping[str, Any]) -> Record:
        """Read a record back from a group's attributes.

        Raises:
            SchemaError: the group holds no record, or one that is damaged.
        """
        own = attributes.get("affstore")
        if not isinstance(own, Mapping):
            raise damaged_record(address, "its record is missing")
        if [type(own.get(name)) for name in _OWN] != _TYPES:
            for name, kind in _OWN.items():
                if type(own.get(name)) is not kind:
                    raise damaged_record(address, f"'{name}' of its record is {_short(own.get(name, 'missing'))}")
        if "checksum" in own and not _has_checksum(attributes, own["checksum"]):
            raise damaged_record(address, "the checksum of its record differs")
        if "path" in own and own["path"] != address.path:  # records of earlier versions do not know theirs
            raise damaged_record(address, f"its record is that of '{own['path']}'")
        return cls(
            address=address,
            key=own["key"],
            recipe=own["recipe"],
            digest=own["digest"],
            parents=tuple(_parent(address, parent) for parent in own["parents"]),
            made=own["made"],
            code=own["code"],
            run_id=own["run_id"],
            made_at=own["made_at"],
            attributes={name: value for name, value in attributes.items() if name != "affstore"},
        )


_OWN: Mapping[str, type] = {
    "version": int,
    "key": str,
    "recipe": dict,
    "digest": str,
    "parents": list,
    "made": dict,
    "code": dict,
    "run_id": str,
    "made_at": str,
}
"""The fields of a record, and their types."""

_TYPES = list(_OWN.values())


def checksum_of(attributes: Mapping[str, Any]) -> str:
    """The CRC-32 of a group's attributes as JSON gives them back, the checksum itself left out."""
    own = {name: value for name, value in attributes["affstore"].items() if name != "checksum"}
    text = _SORTED.encode({**attributes, "affstore": own})
    return f"{zlib.crc32(text.encode()):08x}"


_SORTED = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
"""Made once: thousands of records are read at a time."""


def _has_checksum(attributes: Mapping[str, Any], checksum: str) -> bool:
    """Whether a checksum is that of a group's attributes.

    orjson writes the same text in a fifth of the time, but for letters beyond ASCII and some numbers (1e-05): what it
    writes is tried first.
    """
    own = dict(attributes["affstore"])
    del own["checksum"]
    try:
        text = orjson.dumps({**attributes, "affstore": own}, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # integers of more than 64 bits
        return checksum_of(attributes) == checksum
    return f"{zlib.crc32(text):08x}" == checksum or checksum_of(attributes) == checksum


def damaged_record(address: Address, what: str) -> SchemaError:
    """The error for a record that is not what affstore wrote."""
    return SchemaError(
        f"'{address}' is damaged: {what}. Another program changed it, or its bytes; restore the store from a copy, or "
        "read an earlier snapshot."
    )


def _parent(address: Address, parent: Any) -> Parent:
    if not isinstance(parent, list) or [type(part) for part in parent] != [str, str, str]:
        raise damaged_record(address, f"'parents' of its record holds {_short(parent)}")
    return Parent(*parent)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"


def record_of(artifact: Artifact, digest: str, code: Mapping[str, str], run_id: str, made_at: str) -> Record:
    """The record that will be committed with `artifact`."""
    return Record(
        address=artifact.address,
        key=key_of(artifact.recipe),
        recipe=artifact.recipe,
        digest=digest,
        parents=tuple(sorted(artifact.parents)),
        made=artifact.made,
        code=code,
        run_id=run_id,
        made_at=made_at,
        attributes=artifact.attributes,
    )


def rows(mask: NDArray[np.bool_]) -> int:
    """How many rows of a `present` or `known` mask are real."""
    return int(np.count_nonzero(mask))


def provenance_of(trained: bool, official: bool) -> Provenance:
    """The provenance of parameters that are trained or not, of a file that is the published one or not."""
    return "untrained" if not trained else "published" if official else "unofficial"


def least_trusted(found: Iterable[Provenance | None]) -> Provenance | None:
    """The provenance of what was computed from several artifacts: the least trusted of theirs; None without any."""
    return max((provenance for provenance in found if provenance), key=_TRUST.index, default=None)
