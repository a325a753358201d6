"""`store/schema.yaml` as frozen values, and the checks that every write and read passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from affstore.store.contract.errors import NewerSchemaError, SchemaError, UnknownNameError
from affstore.store.contract.keys import digest_arrays
from affstore.store.contract.records import SLASH, Address, Arrays, Record, damaged_record

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "schema.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C reads the file in a tenth of the time, which every command waits for."""


@dataclass(frozen=True, slots=True)
class ArraySchema:
    """What one array of a family must be."""

    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    chunk: int
    codec: str
    block: int = 0
    optional: bool = False
    former: str = ""


@dataclass(frozen=True, slots=True)
class FamilySchema:
    """What an artifact of a family must hold.

    Attributes:
        name: the family.
        version: raised when its arrays change meaning.
        path: template of the group's path.
        arrays: by name.
        sizes: axes of fixed length.
        places: names of the places along such axes, where they have any.
        mask: the array that says where the others are real; empty where all of them always are.
        free_arrays: prefixes under which any array of the given type may stand, e.g. a head's parameters.
        attributes: names that must be present beside the record.
    """

    name: str
    version: int
    path: str
    arrays: Mapping[str, ArraySchema]
    sizes: Mapping[str, int]
    places: Mapping[str, tuple[str, ...]]
    mask: str
    free_arrays: Mapping[str, str]
    attributes: tuple[str, ...]

    def array(self, name: str) -> ArraySchema:
        """The schema of one array.

        Raises:
            SchemaError: the family has no such array.
        """
        if name in self.arrays:
            return self.arrays[name]
        for prefix, dtype in self.free_arrays.items():
            if name.startswith(f"{prefix}_"):
                return ArraySchema(("any",), (dtype,), 65536, "zstd")
        raise SchemaError(f"'{self.name}' has no array '{name}'; schema.yaml knows {_list(self.arrays)}.")

    def name_of(self, stored: str) -> str:
        """What an array is called that lies in the store under this name; an earlier version may have named it."""
        return next((name for name, array in self.arrays.items() if array.former == stored), stored)

    def stored_name(self, name: str, group: Any) -> str:
        """Under which name an array lies in a group: its own, or what an earlier version called it."""
        former = self.arrays[name].former if name in self.arrays else ""
        return former if former and former in group and name not in group else name

    def formerly_named(self, arrays: Arrays) -> dict[str, Any]:
        """The arrays by the names that an earlier version gave them, under which it computed their digest."""
        return {self.arrays[name].former or name if name in self.arrays else name: arrays[name] for name in arrays}

    def has_digest(self, arrays: Arrays, digest: str) -> bool:
        """Whether a record's digest is that of these arrays, by their names of today or of an earlier version."""
        return any(digest_arrays(named) == digest for named in (arrays, self.formerly_named(arrays)))

    def check_address(self, address: Address) -> None:
        """See that an address has exactly the parts its family's path names.

        Raises:
            SchemaError: a part is missing or too many.
        """
        named = set(re.findall(r"{(\w+)}", self.path))
        given = {part for part in ("producer", "video", "subject") if getattr(address, part)}
        unwritable = SLASH in address.producer or any("/" in part for part in (address.video, address.subject))
        if named != given or unwritable:
            raise SchemaError(f"'{address}' is no address of family '{self.name}', which is {self.path}.")

    def check(self, arrays: Arrays, attributes: Mapping[str, Any]) -> None:
        """See that an artifact is what its family promises.

        Raises:
            SchemaError: the message names the array or attribute, what it should be, and what it is.
        """
        missing = [name for name, array in self.arrays.items() if not array.optional and name not in arrays]
        if missing:
            raise SchemaError(f"'{self.name}' needs the array '{missing[0]}'; found {_list(arrays)}.")
        self.check_attributes(attributes)
        lengths = dict(self.sizes)
        if "frames" in attributes:
            lengths["frame"] = int(attributes["frames"])
        for name in sorted(arrays):
            self._check_array(name, arrays[name], lengths)

    def check_kinds(self, arrays: Arrays, frames: int | None = None) -> None:
        """See that arrays, or parts of them, are of the family's types and axes.

        Args:
            arrays: some of the artifact's.
            frames: rows that they must have where an axis is the video's frames; None for any number.

        Raises:
            SchemaError: the message names the array.
        """
        for name, array in arrays.items():
            self._check_array(name, array, {} if frames is None else {"frame": frames})

    def check_attributes(self, attributes: Mapping[str, Any]) -> None:
        """See that the attributes beside the record are there, and are what they are called.

        Raises:
            SchemaError: the message names the attribute, what it should be, and what it is.
        """
        missing = [name for name in self.attributes if name not in attributes]
        if missing:
            raise SchemaError(f"'{self.name}' needs the attribute '{missing[0]}'; found {_list(attributes)}.")
        for name, value in attributes.items():
            kind = _schema().kinds.get(name)
            if kind and name in self.attributes and not _KINDS[kind][1](value):
                found = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]} …"
                raise SchemaError(f"'{self.name}' needs {_KINDS[kind][0]} as attribute '{name}'; found {found}.")

    def _check_array(self, name: str, array: Any, lengths: dict[str, int]) -> None:
        """Check one array; `lengths` gathers the axes' lengths seen so far."""
        schema = self.array(name)
        if str(array.dtype) not in schema.dtypes:
            dtypes = " or ".join(schema.dtypes)
            raise SchemaError(f"'{self.name}.{name}' must be {dtypes}; found {array.dtype}.")
        if schema.dims == ("any",):
            return
        if len(array.shape) != len(schema.dims):
            raise SchemaError(f"'{self.name}.{name}' has the axes {schema.dims}; found shape {tuple(array.shape)}.")
        for dim, length in zip(schema.dims, array.shape, strict=True):
            if lengths.setdefault(dim, length) != length:
                raise SchemaError(f"'{self.name}.{name}' must have {lengths[dim]} along '{dim}'; found {length}.")


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_ratio(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_is_integer(part, 1, 2**63) for part in value)


_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "texts": (
        "a list of texts",
        lambda value: isinstance(value, list | tuple) and all(isinstance(text, str) for text in value),
    ),
    "count": ("a whole number up to 2147483647", lambda value: _is_integer(value, 0, 2**31 - 1)),
    "integer": ("an integer of 64 bits", lambda value: _is_integer(value, -(2**63), 2**63 - 1)),
    "ratio": ("two whole numbers from 1 on", _is_ratio),
}
"""The kinds of attributes that `schema.yaml` names: what to call a value, and whether one is of it."""


def check_record(record: Record, version: int) -> None:
    """See that a record that was read has what its family promises, in a version that this affstore knows.

    Raises:
        NewerSchemaError: it is of a newer version.
        SchemaError: it is damaged.
    """
    address = record.address
    known = family(address.family).version
    if version <= known:
        try:
            family(address.family).check_attributes(record.attributes)
        except SchemaError as error:
            raise damaged_record(address, str(error).rstrip(".")) from error
    else:
        raise NewerSchemaError(
            f"'{address}' is of version {version} of its family; this affstore knows up to {known}. Update affstore."
        )


def check_finite(family: str, arrays: Arrays) -> None:
    """See that no stored number is NaN or infinite: gaps are masks, never NaN.

    Raises:
        SchemaError: the message names the array and how many values are not finite.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise SchemaError(f"'{family}.{name}' has {bad} values that are not finite numbers; mask them instead.")


def families() -> Mapping[str, FamilySchema]:
    """Every family of `schema.yaml`, by name."""
    return _schema().families


def layout_version() -> int:
    """The version of the tree of groups that this affstore writes and can read."""
    return _schema().layout


def family(name: str) -> FamilySchema:
    """One family's schema.

    Raises:
        UnknownNameError: there is no such family.
    """
    if name not in families():
        raise UnknownNameError.of("family", name, families())
    return families()[name]


def address_of(path: str) -> Address:
    """The address whose path this is.

    Raises:
        SchemaError: no family has such a path.
    """
    name, *parts = path.strip("/").split("/")
    fields = _fields(name) if name in families() else ()
    if fields and len(fields) == len(parts) and all(parts):
        found = dict(zip(fields, parts, strict=True))
        if SLASH in path and "producer" in found:
            found["producer"] = found["producer"].replace(SLASH, "/")
        return Address(name, **found)
    paths = ", ".join(schema.path for schema in families().values())
    raise SchemaError(f"'{path}' is no address of an artifact. Addresses are {paths}.")


@cache
def _fields(family: str) -> tuple[str, ...]:
    """The parts of an address of a family, in the order of its path."""
    return tuple(re.findall(r"{(\w+)}", families()[family].path))


class Schema(NamedTuple):
    """The whole of `schema.yaml`: the layout's version, the kinds of attributes by their names, and the families."""

    layout: int
    kinds: Mapping[str, str]
    families: Mapping[str, FamilySchema]


@cache
def _schema() -> Schema:
    """Read `schema.yaml` once."""
    document = yaml.load(SCHEMA_FILE.read_text(encoding="utf-8"), _LOADER)
    families = {name: _family(name, body) for name, body in document["families"].items()}
    return Schema(document["layout"], document["attribute_kinds"], families)


def _family(name: str, body: Mapping[str, Any]) -> FamilySchema:
    arrays = {array: _array(fields) for array, fields in body.get("arrays", {}).items()}
    sizes = body.get("sizes", {})
    places = {axis: tuple(size) for axis, size in sizes.items() if isinstance(size, list)}
    return FamilySchema(
        name=name,
        version=body["version"],
        path=body["path"],
        arrays=arrays,
        sizes={axis: len(places[axis]) if axis in places else size for axis, size in sizes.items()},
        places=places,
        mask=body.get("mask", ""),
        free_arrays=body.get("free_arrays", {}),
        attributes=tuple(body["attributes"]),
    )


def _array(fields: Mapping[str, Any]) -> ArraySchema:
    dtype = fields["dtype"]
    return ArraySchema(
        dims=tuple(fields["dims"]),
        dtypes=tuple(dtype) if isinstance(dtype, list) else (dtype,),
        chunk=fields["chunk"],
        codec=fields["codec"],
        block=fields.get("block", 0),
        optional=fields.get("optional", False),
        former=fields.get("former", ""),
    )


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
