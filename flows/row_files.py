"""The files of rows: which there are, and what they say before it is checked.

A row is one YAML file; its place under `flows/experiments` is its name. `affstore.flows.row_schema` says what it may
hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from affstore.store.contract.errors import SpecError, UnknownNameError

ROWS = Path(__file__).parent / "experiments"
"""The rows of both papers and of their notebooks."""

SUFFIXES = (".yaml", ".yml")

RUN_FIELDS = ("task", "method", "smooth_frames", "thresholds", "without")
"""What a row takes over from the one that it is `like`; what is said about a row is always its own."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc] # the fast loader, where PyYAML has it
    """Refuses a field that is written twice, of which YAML would keep the last."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    if len(mapping) < len(node.value):
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise yaml.constructor.ConstructorError(None, None, f"'{twice}' is there twice", node.start_mark)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG,
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


@dataclass(frozen=True, slots=True)
class RowFile:
    """A row's file as it is written.

    Attributes:
        path: where it is.
        fields: what it says, with what it takes over from the row that it is `like`; sequences are tuples.
    """

    path: Path
    fields: Mapping[str, Any]


def row_names() -> tuple[str, ...]:
    """The rows that come with affstore, sorted; nothing is read but folders."""
    return tuple(sorted(path.relative_to(ROWS).with_suffix("").as_posix() for path in ROWS.rglob("*.yaml")))


def path_of(name: str) -> Path:
    """The file of a row that comes with affstore.

    Raises:
        UnknownNameError: there is none of that name; the message suggests the nearest.
    """
    path = ROWS / f"{name}.yaml"
    # Asking for the one file, as all names are listed only for the message.
    if ".." in name or not path.is_file():
        raise UnknownNameError.of("row", name, row_names())
    return path


def read_file(path: Path) -> RowFile:
    """Read a row's file, and that of the row it is `like`.

    Raises:
        SpecError: a file cannot be read or holds no fields, or is like one that cannot be taken over from.
    """
    fields = _read(path)
    if "like" not in fields:
        return RowFile(path, fields)
    base_path = _like(path, fields["like"])
    base = _read(base_path)
    if "like" in base:
        back = _like(base_path, base["like"]).resolve() == path.resolve()
        why = "which is like this one again" if back else f"which is itself like '{base['like']}'; name that one"
        raise SpecError(f"{path}: 'like' names '{fields['like']}', {why}.")
    taken = {name: base[name] for name in RUN_FIELDS if name in base}
    return RowFile(path, {**taken, **{name: value for name, value in fields.items() if name != "like"}})


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # as safe as the loader it extends
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"'{path}' cannot be read as a row: {' '.join(str(error).split())}.") from error
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise SpecError(f"'{path}' holds no row: it should name `title`, `source`, `task`, `method` …")
    return fields


def _like(path: Path, name: Any) -> Path:
    """The file that a file's `like` names: a row of affstore's, or a file beside it."""
    if not isinstance(name, str):
        raise SpecError(f"{path}: 'like' is wrong: it should be a row's name or a file (found {name!r}).")
    base = path.parent / name if name.endswith(SUFFIXES) else ROWS / f"{name}.yaml"
    if base.resolve() == path.resolve():
        raise SpecError(f"{path}: 'like' names this row itself.")
    if not name.endswith(SUFFIXES):
        try:
            return path_of(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{path}: 'like' is wrong: {error}") from error
    return base
