"""Experiments: those of both papers by name, and those that a user writes in files and configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affstore.flows.config.experiment_files import SUFFIXES, experiment_names, path_of, read_file, with_base
from affstore.store.contract.errors import DuplicateNameError, SpecError, UnknownNameError, nearest
from affstore.store.contract.printable import excerpt

if TYPE_CHECKING:
    from affstore.flows.field_checks import Place
    from affstore.store.contract.labels import LabelSpace
    from affstore.tasks.experiments import Experiment


def read_experiment(name: str) -> Experiment:
    """An experiment that comes with affstore.

    Raises:
        UnknownNameError: there is none of that name; the message suggests the nearest.
        SpecError: its file says something wrong.
    """
    from affstore.flows.config.experiment_schema import experiment_of
    from affstore.flows.field_checks import Place

    path = path_of(name)
    fields = read_file(path)
    if "name" in fields:
        raise SpecError(f"{path}: 'name' is wrong: an experiment of affstore's is named by its file's place.")
    return experiment_of(fields, Place(str(path)), name)


def read_experiment_file(path: Path, spaces: Mapping[str, LabelSpace] | None = None) -> Experiment:
    """An experiment that a user wrote; it is called as its file is, or what its field `name` says.

    Raises:
        SpecError: the file cannot be read, or says something wrong; the message names file and field.
        DuplicateNameError: an experiment that comes with affstore has that name.
    """
    from affstore.flows.config.experiment_schema import experiment_of
    from affstore.flows.field_checks import Place

    return _own(experiment_of(read_file(path), Place(str(path)), path.stem.lower(), spaces), str(path))


def _own(experiment: Experiment, where: str) -> Experiment:
    """A user's experiment, which may not take the name of one of affstore's."""
    if experiment.name in experiment_names():
        raise DuplicateNameError(
            f"{where}: an experiment of affstore's is called '{experiment.name}'. Give this one another `name`."
        )
    return experiment


def experiments_in(
    written: Any, place: Place, folder: Path, spaces: Mapping[str, LabelSpace]
) -> tuple[Experiment, ...]:
    """The experiments that a configuration lists.

    Args:
        written: of each, its fields as in a file of its own, what `find_experiments` takes, or an experiment itself.
        place: where they are written.
        folder: which paths of files are relative to.
        spaces: a user's label spaces by name.

    Raises:
        SpecError: one is wrong, or two have one name; the message names file, line and field.
    """
    from affstore.flows.config.experiment_schema import experiment_of
    from affstore.tasks.experiments import Experiment

    if not isinstance(written, list | tuple):
        raise place.wrong("it is a list of experiments: names, files, or mappings with `name`, `task`, `inputs` …")
    found: dict[str, Experiment] = {}
    for number, entry in enumerate(written):
        at = place.at(number)
        new: tuple[Experiment, ...]
        if isinstance(entry, Experiment):
            new = (entry,)
        elif isinstance(entry, Mapping):
            if "name" not in entry:
                raise at.wrong("an experiment needs a `name`.")
            fields = with_base(_with_tuples(entry), folder / "a configuration", str(at))
            new = (_own(experiment_of(fields, at, spaces=spaces), str(at)),)
        elif isinstance(entry, str):
            with at.named():
                new = find_experiments([str(folder / entry) if entry.endswith(SUFFIXES) else entry], spaces)
        else:
            raise at.wrong(f"an experiment is a name, a file, or a mapping with `name` …; found {excerpt(entry)}.")
        for experiment in new:
            if found.get(experiment.name, experiment) != experiment:
                raise DuplicateNameError(f"{at}: Two experiments are called '{experiment.name}'. Rename one of them.")
            found[experiment.name] = experiment
    return tuple(found.values())


def _with_tuples(value: Any) -> Any:
    """Plain values as files are read: sequences are tuples."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(one) for name, one in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def find_experiments(patterns: Sequence[str], spaces: Mapping[str, LabelSpace] | None = None) -> tuple[Experiment, ...]:
    """The experiments that are meant, each once, in the order of the patterns; those of one pattern sorted.

    Args:
        patterns: of each, an experiment's name, a table (`abaw6/table5`), a paper (`abaw5`), a glob over names
            (`*smoothed`, in which `*` takes slashes too), or a file of the user's own (`mine.yaml`).
        spaces: a user's label spaces by name, for files of the user's own.

    Raises:
        UnknownNameError: a pattern means nothing; the message suggests the nearest.
        DuplicateNameError: two files give their experiment one name.
        SpecError: a file says something wrong.
    """
    found: dict[str, Experiment] = {}
    files: dict[str, Path] = {}
    for pattern in patterns:
        if not pattern.endswith(SUFFIXES):
            found |= {name: read_experiment(name) for name in _matching(pattern) if name not in found}
            continue
        path = Path(pattern)
        mine = read_experiment_file(path, spaces)
        if mine.name in files and files[mine.name].resolve() != path.resolve():
            raise DuplicateNameError(f"'{files[mine.name]}' and '{path}' are both called '{mine.name}'. Rename one.")
        found[mine.name], files[mine.name] = mine, path
    return tuple(found.values())


def table_names() -> tuple[str, ...]:
    """Every table and every paper that `find_experiments` knows, sorted."""
    return tuple(sorted({parent.as_posix() for name in experiment_names() for parent in Path(name).parents} - {"."}))


def extractors_of(experiments: Iterable[Experiment]) -> tuple[str, ...]:
    """The face and sound networks that experiments need, sorted."""
    parts = {part for experiment in experiments for head in experiment.heads for part in head.inputs}
    return tuple(sorted({part.extractor for part in parts if not part.is_imported}))


def _matching(pattern: str) -> tuple[str, ...]:
    names = experiment_names()
    within = pattern.rstrip("/")
    if within in names:
        return (within,)
    found = tuple(name for name in names if name.startswith(f"{within}/")) or tuple(
        name for name in names if fnmatchcase(name, pattern)
    )
    if not found:
        # Of more than a hundred experiments only near ones are worth naming; else the tables.
        near = nearest(pattern, names)
        raise UnknownNameError.of("experiment, table or paper", pattern, names if near else table_names())
    return found
