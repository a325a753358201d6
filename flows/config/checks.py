"""Saying where in a file something is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from affstore.flows.config.yaml_files import line_of
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.printable import excerpt

_FIXED = ("name", "task", "version")
"""Fields of a head's spec that a file says elsewhere, or not at all."""


@dataclass(frozen=True, slots=True)
class Place:
    """A field of a file, for messages.

    Attributes:
        file: as it was named.
        field: `method.blend.weight`; empty for the whole.
    """

    file: str
    field: str = ""

    def at(self, *parts: Any) -> Place:
        """A place within this one."""
        return Place(self.file, ".".join(str(part) for part in (self.field, *parts) if part != ""))

    def wrong(self, why: str) -> SpecError:
        """What to raise for what is found here."""
        return SpecError(f"{self}: {why}")

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the place before the message of whatever is found wrong inside."""
        try:
            yield
        except SpecError as error:
            if str(error).startswith(self.file):  # it says more exactly where
                raise
            raise type(error)(f"{self}: {error}") from error

    def __str__(self) -> str:
        if not self.field:
            return self.file
        line = line_of(Path(self.file), self.field)
        return f"{self.file}, line {line}: '{self.field}'" if line else f"{self.file}: '{self.field}'"


def checked[Model: BaseModel](
    model: type[Model], value: Any, place: Place, what: str, also: Iterable[str] = ()
) -> Model:
    """A model of plain values.

    Args:
        model: what they should be.
        value: plain values.
        place: where they were found.
        what: what they describe, e.g. `"blend"`.
        also: fields that may be written beside the model's own, which are suggested too.

    Raises:
        SpecError: something in them is wrong; the message names file and field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors()
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        at = place.at(*first["loc"])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            raise type(cause)(f"{at}: {cause}") from error
        if first["type"] == "extra_forbidden":
            nearest = UnknownNameError.of(
                f"field of {article(what)}", str(first["loc"][-1]), [*model.model_fields, *also]
            )
            raise UnknownNameError(f"{at}: {nearest}") from error
        found = "" if first["type"] == "missing" else f" (found {excerpt(first['input'])})"
        raise at.wrong(f"{first['msg']}{found}.") from error


def article(what: str) -> str:
    """A word with its article."""
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def changed(spec: Any, changes: Mapping[str, Any], place: Place) -> Any:
    """A frozen spec with some fields changed, those of specs within it by a mapping.

    Raises:
        SpecError: a field is unknown or its value of another kind, or the spec will not have it.
    """
    kind: Any = type(spec)
    hints = _hints(kind)
    values = {}
    for name, value in changes.items():
        at = place.at(name)
        if name not in hints:
            with at.named():
                raise UnknownNameError.of(f"field of a {type(spec).__name__}", str(name), hints)
        current = getattr(spec, name)
        within = dataclasses.is_dataclass(current) and isinstance(value, Mapping)
        values[name] = changed(current, value, at) if within else _typed(hints[name], value, at)
    with place.named():
        return dataclasses.replace(spec, **values)


def _typed(hint: Any, value: Any, at: Place) -> Any:
    try:
        return TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else _STRICT).validate_python(
            value, strict=True
        )
    except ValidationError as error:
        raise at.wrong(f"{error.errors()[0]['msg']} (found {excerpt(value)}).") from error


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@cache
def _hints(spec: Hashable) -> dict[str, Any]:
    kind: Any = spec
    hints = get_type_hints(kind)
    fixed = _FIXED if "version" in hints else ()
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in fixed}
