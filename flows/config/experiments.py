"""The rows of both papers by name, and rows that a user writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.config.experiment_files import SUFFIXES, experiment_names, path_of, read_file
from affstore.store.contract.errors import DuplicateNameError, SpecError, UnknownNameError, nearest

if TYPE_CHECKING:
    from affstore.tasks.experiments import Experiment

__all__ = [
    "experiment_names",
    "extractors_of",
    "find_experiments",
    "read_experiment",
    "read_experiment_file",
    "table_names",
]


def read_experiment(name: str) -> Experiment:
    """A row that comes with affstore.

    Raises:
        UnknownNameError: there is none of that name; the message suggests the nearest.
        SpecError: its file says something wrong.
    """
    from affstore.flows.config.experiment_schema import experiment_from_file

    file = read_file(path_of(name))
    if "name" in file.fields:
        raise SpecError(f"{file.path}: 'name' is wrong: a row of affstore's is named by its file's place.")
    return experiment_from_file(file, name)


def read_experiment_file(path: Path) -> Experiment:
    """A row that a user wrote; it is called as its file is, or what its field `name` says.

    Raises:
        SpecError: the file cannot be read, or says something wrong; the message names file and field.
        DuplicateNameError: a row that comes with affstore has that name.
    """
    from affstore.flows.config.experiment_schema import experiment_from_file

    row = experiment_from_file(read_file(path), path.stem.lower())
    if row.name in experiment_names():
        raise DuplicateNameError(f"{path}: a row of affstore's is called '{row.name}'. Give this one another `name`.")
    return row


def find_experiments(patterns: Sequence[str]) -> tuple[Experiment, ...]:
    """The rows that are meant, each once, in the order of the patterns; those of one pattern sorted.

    Args:
        patterns: of each, a row's name, a table (`abaw6/table5`), a paper (`abaw5`), a glob over names
            (`*smoothed`, in which `*` takes slashes too), or a file of the user's own (`my_row.yaml`).

    Raises:
        UnknownNameError: a pattern means nothing; the message suggests the nearest.
        DuplicateNameError: two files give their row one name.
        SpecError: a file says something wrong.
    """
    found: dict[str, Experiment] = {}
    files: dict[str, Path] = {}
    for pattern in patterns:
        if not pattern.endswith(SUFFIXES):
            found |= {name: read_experiment(name) for name in _matching(pattern) if name not in found}
            continue
        path = Path(pattern)
        row = read_experiment_file(path)
        if row.name in files and files[row.name].resolve() != path.resolve():
            raise DuplicateNameError(f"'{files[row.name]}' and '{path}' are both called '{row.name}'. Rename one.")
        found[row.name], files[row.name] = row, path
    return tuple(found.values())


def table_names() -> tuple[str, ...]:
    """Every table and every paper that `find_experiments` knows, sorted."""
    return tuple(sorted({parent.as_posix() for name in experiment_names() for parent in Path(name).parents} - {"."}))


def extractors_of(rows: Iterable[Experiment]) -> tuple[str, ...]:
    """The face and sound networks that rows need, sorted."""
    return tuple(sorted({part.extractor for row in rows for head in row.heads for part in head.inputs}))


def _matching(pattern: str) -> tuple[str, ...]:
    names = experiment_names()
    within = pattern.rstrip("/")
    if within in names:
        return (within,)
    found = tuple(name for name in names if name.startswith(f"{within}/")) or tuple(
        name for name in names if fnmatchcase(name, pattern)
    )
    if not found:
        # Of more than a hundred rows only near ones are worth naming; else the tables.
        near = nearest(pattern, names)
        raise UnknownNameError.of("row, table or paper", pattern, names if near else table_names())
    return found
