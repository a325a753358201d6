"""The files of rows: which there are, and what they say before it is checked.

An experiment is one YAML file; its place under `flows/experiments` is its name.
`affstore.flows.config.experiment_schema` says what it may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affstore.flows.config.yaml_files import read_yaml
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.printable import excerpt

ROWS = Path(__file__).parents[1] / "experiments"
"""The rows of both papers and of their notebooks."""

SUFFIXES = (".yaml", ".yml")

RUN_FIELDS = (
    "task",
    "method",
    "smooth_frames",
    "smooth_over",
    "after_last_face",
    "requires",
    "thresholds",
    "without",
)
"""What a row takes over from the one that it is `like`; what is said about a row is always its own."""


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """A row's file as it is written.

    Attributes:
        path: where it is.
        fields: what it says, with what it takes over from the row that it is `like`; sequences are tuples.
    """

    path: Path
    fields: Mapping[str, Any]


def experiment_names() -> tuple[str, ...]:
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
        raise UnknownNameError.of("row", name, experiment_names())
    return path


def read_file(path: Path) -> ExperimentFile:
    """Read a row's file, and that of the row it is `like`.

    Raises:
        SpecError: a file cannot be read or holds no fields, or is like one that cannot be taken over from.
    """
    fields = _read(path)
    if "like" not in fields:
        return ExperimentFile(path, fields)
    base_path = _like(path, fields["like"])
    base = _read(base_path)
    if "like" in base:
        back = _like(base_path, base["like"]).resolve() == path.resolve()
        why = "which is like this one again" if back else f"which is itself like '{base['like']}'; name that one"
        raise SpecError(f"{path}: 'like' names '{fields['like']}', {why}.")
    taken = {name: base[name] for name in RUN_FIELDS if name in base}
    return ExperimentFile(path, {**taken, **{name: value for name, value in fields.items() if name != "like"}})


def _read(path: Path) -> dict[str, Any]:
    fields = read_yaml(path, "a row")
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise SpecError(f"'{path}' holds no row: it should name `title`, `source`, `task`, `method` …")
    return fields


def _like(path: Path, name: Any) -> Path:
    """The file that a file's `like` names: a row of affstore's, or a file beside it."""
    if not isinstance(name, str):
        raise SpecError(f"{path}: 'like' is wrong: it should be a row's name or a file (found {excerpt(name)}).")
    base = path.parent / name if name.endswith(SUFFIXES) else ROWS / f"{name}.yaml"
    if base.resolve() == path.resolve():
        raise SpecError(f"{path}: 'like' names this row itself.")
    if not name.endswith(SUFFIXES):
        try:
            return path_of(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{path}: 'like' is wrong: {error}") from error
    return base
