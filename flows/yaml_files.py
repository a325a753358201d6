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
    """Refuses a field that is written twice, of which YAML would keep the last, and what no field can be called."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._looked_at: set[int] = set()

    def flatten_mapping(self, node: Any) -> None:
        """See that a mapping names each field once, and merge into it what it takes over by `<<`."""
        # Once a mapping is merged, what it has of its own cannot be told from what it took over.
        if id(node) not in self._looked_at:
            self._looked_at.add(id(node))
            self._check_fields(node)
        super().flatten_mapping(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError):  # what the constructors raise for a date or number that is none
            raise _fault(f"{excerpt(node.value)} is no date or number; put it in quotes if it is text", node) from None

    def _check_fields(self, node: Any) -> None:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault("a field is called by a word or a number, not by a list or a mapping", key)
            if key.tag == _MERGE:
                continue
            name, line = self.construct_object(key), key.start_mark.line + 1
            if name in lines:
                where = f"lines {lines[name]} and {line}" if lines[name] != line else f"line {line}"
                raise yaml.YAMLError(f"{excerpt(name)} is there twice, in {where}: leave one of them")
            lines[name] = line


_MERGE = "tag:yaml.org,2002:merge"


def _fault(why: str, node: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node, deep=True)
)
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
    text = ""
    try:
        text = _text_of(path)
        _check(text)
        return yaml.load(text, _Loader)  # as safe as the loader it extends
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"'{path}' cannot be read as {what}: {reading_fault(error, text)[:400]}.") from error


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(4 * _LONGEST + 1)  # no character takes more than four bytes
    if len(data) > 4 * _LONGEST or len(text := data.decode()) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST:,} characters")
    return text


def reading_fault(error: Exception, text: str = "") -> str:
    """Why a file that a user wrote cannot be read, in words for after a colon.

    Args:
        error: what reading it as YAML raised.
        text: of the file, as far as it was read.
    """
    match error:
        case FileNotFoundError():
            return "there is no such file; check its name"
        case IsADirectoryError():
            return "it is a folder; name a file"
        case OSError():
            return str(error.strerror or error)
        case UnicodeDecodeError():
            line = error.object[: error.start].count(b"\n") + 1
            return f"line {line} is no UTF-8 text; save it as UTF-8, if it is text at all"
        case yaml.reader.ReaderError():
            return "it holds a character that no text has; name a file of text"
        case yaml.MarkedYAMLError():
            return _at_its_line(error, text)
    return " ".join(str(error).split())


def _at_its_line(error: Any, text: str) -> str:
    """What the parser found wrong, and where, in its own words but where they would be a riddle."""
    mark, began, problem = error.problem_mark, error.context_mark, str(error.problem).removeprefix("but ")
    if "cannot start any token" in problem:
        found = text[mark.index : mark.index + 1]
        problem = f"no value begins with {found}; put it in quotes"
        if found == "\t":
            problem = "there is a tab; YAML indents with spaces"
    elif error.context:
        where = f", which begins in line {began.line + 1}" if began is not None and began.line != mark.line else ""
        problem = f"{problem} ({error.context}{where})"
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


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
