"""What a number depends on, as one digest: canonical recipes, keys and digests of arrays."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

_BLOCK_BYTES = 1 << 20
_NO_DEFAULT = object()
_PLAIN = (str, int, bool, type(None))
"""Types of which JSON holds every value; asked first, for most of a recipe is of them."""
_DEFAULTS: dict[type, dict[str, Any]] = {}

NOT_IN_KEYS = {"in_keys": False}
"""Metadata of a dataclass field that no number depends on, so that no recipe and no key holds it."""


def plain(value: Any) -> Any:
    """The value as plain JSON types, with every field of a dataclass; for records that people and programs read back.

    Fields with the metadata `NOT_IN_KEYS` are left out.

    Raises:
        SpecError: the value is something whose identity JSON cannot hold (an array, a path, NaN …).
    """
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _keyed_fields(type(value))}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise SpecError(f"A recipe holds plain values only; found {type(value).__name__}: {value!r}.")


def canonical(value: Any) -> Any:
    """The value as the plain JSON types that keys are made of, where a spec is its kind and what differs from defaults.

    A spec is written as the constant `KIND` of its class, its `version`, every field without a default, and the fields
    that differ from their default. So a new field with a default changes no key, and no key holds a class's name. A
    default that gives other numbers than before is a new version.

    Raises:
        SpecError: a spec's class has no `KIND`, or a value's identity cannot be held by JSON.
    """
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = getattr(value, "KIND", None)
        if not isinstance(kind, str):
            raise SpecError(f"{type(value).__name__} has no constant KIND, so no key can be made of it. Add one.")
        return {"kind": kind, **_decisive_fields(value)}
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    return plain(value)


def _decisive_fields(spec: Any) -> dict[str, Any]:
    """The fields of a spec that its key holds: its version, and what differs from a default."""
    kind: Any = type(spec)
    defaults = _defaults(kind)
    values = {name: canonical(getattr(spec, name)) for name in _keyed_fields(kind)}
    return {
        name: value for name, value in values.items() if name == "version" or value != defaults.get(name, _NO_DEFAULT)
    }


@cache
def _keyed_fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.metadata.get("in_keys", True)]


def _defaults(kind: type) -> dict[str, Any]:
    """A spec's defaults in canonical form; kept by its KIND, so that `changes` can name what a recipe leaves out."""
    if kind not in _DEFAULTS:
        _DEFAULTS[kind] = {
            field.name: canonical(default)
            for field in dataclasses.fields(kind)
            if (default := _default(field)) is not dataclasses.MISSING
        }
    return _DEFAULTS[kind]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _filled(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a recipe with the defaults that it leaves out, where they are known."""
    known = [defaults for kind, defaults in _DEFAULTS.items() if getattr(kind, "KIND", "") == recipe.get("kind", "-")]
    return {**known[-1], **recipe} if known else recipe


def key_of(recipe: Any) -> str:
    """The SHA-256 of a recipe's canonical JSON: sorted names, no spaces, floats in their shortest form."""
    text = json.dumps(canonical(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over name, dtype, shape and little-endian bytes of every array, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def digest_of_unchanged(path: Path) -> str:
    """The same, computed once as long as the file does not change: a table of a thousand videos is asked for each."""
    facts = path.stat()
    return _digest_of(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return digest_file(path)


def changes(old: Any, new: Any, at: str = "") -> list[str]:
    """What differs between two recipes, one readable line a field: `extractor.precision: float32 → bfloat16`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        lines: list[str] = []
        old, new = _filled(old), _filled(new)
        for name in sorted({*old, *new}):
            lines += changes(old.get(name), new.get(name), f"{at}.{name}" if at else name)
        return lines
    return [] if old == new else [f"{at}: {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    """A value as a person wants to see it: digests by their first eight characters."""
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text[:8] if len(text) == 64 and text.isalnum() else text
