"""YAML that a user wrote, read with limits on its nesting, its aliases and its numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from affstore.store.contract.errors import SpecError
from affstore.store.contract.printable import excerpt

_LONGEST = 1 << 20
"""Characters of a file, and of what it stands for when its aliases are written out."""

_DEEPEST = 40
_MOST_DIGITS = 40

_NUMBER = re.compile(r"[-+]?[0-9][-+0-9a-fA-FxoeE_.:]*")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc] # the fast loader, where PyYAML has it
    """Refuses a field that is written twice, of which YAML would keep the last."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    if len(mapping) < len(node.value):
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise yaml.constructor.ConstructorError(None, None, f"{excerpt(twice)} is there twice", node.start_mark)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG,
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def read_yaml(path: Path, what: str) -> Any:
    """Read the plain values of a file; sequences are tuples.

    Args:
        path: the file.
        what: what it should be, for the message, e.g. `"a configuration"`.

    Raises:
        SpecError: it cannot be read, is no YAML, or goes beyond the limits.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST:,} characters")
        _check(text)
        return yaml.load(text, _Loader)  # as safe as the loader it extends
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"'{path}' cannot be read as {what}: {' '.join(str(error).split())[:400]}.") from error


def line_of(path: Path, field: str) -> int | None:
    """The line of a file on which a field is written, or the nearest field around it.

    Args:
        path: the file.
        field: as `experiments.0.method.blend`; numbers count the entries of a sequence.

    Returns:
        The line, from 1; None where the file is not there or has not even the first part of the field.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    line = None
    for part in field.split("."):
        entries: dict[str, tuple[Any, Any]] = {}
        if isinstance(node, yaml.MappingNode):
            entries = {str(key.value): (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            entries = {str(i): (value, value) for i, value in enumerate(node.value)}
        if part not in entries:
            break
        at, node = entries[part]
        line = at.start_mark.line + 1
    return line


def _check(text: str) -> None:
    """See that a document keeps to the limits, before any value is built.

    Raises:
        ValueError: it does not; the message names the line.
    """
    sizes = _Sizes()
    for event in yaml.parse(text, _Loader):
        try:
            sizes.take(event)
        except ValueError as error:
            line = f"line {event.start_mark.line + 1} " if event.start_mark else ""
            raise ValueError(f"{line}{error}") from None


class _Sizes:
    """How deep a document is, and how long it becomes when its aliases are written out."""

    def __init__(self) -> None:
        self._of_anchors: dict[str, int] = {}
        self._open: list[tuple[str, int]] = []  # the anchor of each collection around an event, and its length so far

    def take(self, event: Any) -> None:
        """Count one event of the parser.

        Raises:
            ValueError: a limit is reached.
        """
        anchor = getattr(event, "anchor", None) or ""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((anchor, 0))
            if len(self._open) > _DEEPEST:
                raise ValueError(f"is nested more than {_DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(*self._open.pop())
        elif isinstance(event, yaml.ScalarEvent):
            digits = len(event.value)
            if digits > _MOST_DIGITS and event.implicit[0] and _NUMBER.fullmatch(event.value):
                raise ValueError(f"has a number of {digits:,} digits; {_MOST_DIGITS} are allowed")
            self._end(anchor, digits + 1)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == around for around, _ in self._open):
                raise ValueError("has a value that holds itself")
            self._end("", self._of_anchors.get(anchor, 0))

    def _end(self, anchor: str, length: int) -> None:
        if anchor:
            self._of_anchors[anchor] = length
        if self._open:
            around, before = self._open[-1]
            self._open[-1] = (around, before + length)
            if before + length > _LONGEST:
                raise ValueError(f"would be longer than {_LONGEST:,} characters with its aliases written out")
