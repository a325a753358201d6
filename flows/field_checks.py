"""Saying where in a file something is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from affstore.flows.yaml_files import line_of
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
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            raise type(cause)(f"{place.at(*first['loc'])}: {cause}") from error
        if first["type"] == "extra_forbidden":
            known = _model_at(model, first["loc"][:-1])
            names = [*known.model_fields, *(also if known is model else ())]
            nearest = UnknownNameError.of(f"field of {article(what)}", str(first["loc"][-1]), names)
            raise UnknownNameError(f"{place.at(*first['loc'])}: {nearest}") from error
        field, why = why_wrong(error, value)
        raise place.at(*field).wrong(f"{why}.") from error


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    """The model of a mapping within what another describes."""
    for part in location:
        field = model.model_fields.get(str(part))
        inside = [] if field is None else _models_in(field.annotation)
        model = inside[0] if inside else model
    return model


def _models_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [model for part in get_args(hint) for model in _models_in(part)]


def why_wrong(error: ValidationError, value: Any) -> tuple[tuple[int | str, ...], str]:
    """The first field that is wrong, and what it should be, in words of a file and not of Python.

    Args:
        error: what the check of the value found.
        value: what was checked.

    Returns:
        The field's place within the value, and `it should be …`, with what was found.
    """
    faults = error.errors()
    field, found = _place_in(value, faults[0])
    # A field that may be of several kinds has a fault for each.
    kinds = [
        _should_be(fault)
        for fault in faults
        if fault is faults[0] or (_place_in(value, fault)[0] == field and fault["type"] != "too_short")
    ]
    if faults[0]["type"] == "invalid_key":
        return field[:-1], f"a field is called by text: put {faults[0]['loc'][-1]} in quotes"
    if faults[0]["type"] == "value_error":
        return field, f"{faults[0]['ctx']['error']} (found {excerpt(found)})"
    if faults[0]["type"] == "missing":
        return field, "it is not there, and has to be"
    return field, f"it should be {' or '.join(dict.fromkeys(kinds))} (found {excerpt(found)})"


def _place_in(value: Any, fault: ErrorDetails) -> tuple[tuple[int | str, ...], Any]:
    """Where in a value a fault is, and what is there; a fault's own place also names the kinds that were tried."""
    if fault["type"] == "missing":
        return fault["loc"], None
    place: list[int | str] = []
    for part in fault["loc"]:
        inside = (
            value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list | tuple) else {}
        )
        if part in inside:
            place.append(part)
            value = inside[part]
    return tuple(place), value


def _should_be(fault: ErrorDetails) -> str:
    kind, limits = fault["type"], fault.get("ctx", {})
    for kinds, words in _WORDS.items():
        if kind in kinds:
            return words.format(**limits)
    return fault["msg"].removeprefix("Input should be ")


_WORDS = {
    ("tuple_type", "list_type"): "a list, as [one, another]",
    (
        "dict_type",
        "model_type",
        "mapping_type",
        "dataclass_type",
        "dataclass_exact_type",
    ): "a mapping, as {{name: value}}",
    ("string_type", "path_type"): "text",
    ("int_type", "int_parsing", "int_from_float", "int_parsing_size"): "a whole number",
    ("float_type", "float_parsing"): "a number",
    ("finite_number",): "a finite number",
    ("bool_type", "bool_parsing"): "true or false",
    ("none_required",): "nothing",
    ("greater_than_equal",): "at least {ge:g}",
    ("less_than_equal",): "at most {le:g}",
    ("greater_than",): "more than {gt:g}",
    ("less_than",): "less than {lt:g}",
    ("too_short",): "a list of at least {min_length}",
    ("too_long",): "a list of at most {max_length}",
    ("literal_error", "enum"): "{expected}",
}
"""What should have been there, by what pydantic calls the fault."""


def article(what: str) -> str:
    """A word with its article."""
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def changed(spec: Any, changes: Mapping[str, Any], place: Place, what: str = "the head") -> Any:
    """A frozen spec with some fields changed, those of specs within it by a mapping.

    Args:
        spec: what is changed.
        changes: its fields, with their new values.
        place: where they are written.
        what: what a message calls the spec.

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
                raise UnknownNameError.of(f"field of {what}", str(name), hints)
        current = getattr(spec, name)
        within = dataclasses.is_dataclass(current) and isinstance(value, Mapping)
        values[name] = changed(current, value, at, f"{what}'s {name}") if within else _typed(hints[name], value, at)
    with place.named():
        return dataclasses.replace(spec, **values)


def _typed(hint: Any, value: Any, at: Place) -> Any:
    try:
        return TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else _STRICT).validate_python(
            value, strict=True
        )
    except ValidationError as error:
        field, why = why_wrong(error, value)
        raise at.at(*field).wrong(f"{why}.") from error


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@cache
def _hints(spec: Hashable) -> dict[str, Any]:
    kind: Any = spec
    hints = get_type_hints(kind)
    fixed = _FIXED if "version" in hints else ()
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in fixed}
