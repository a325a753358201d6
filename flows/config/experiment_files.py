"""The files of experiments: which there are, and what they say before it is checked.

An experiment is one YAML file; its place under `flows/experiments` is its name.
`affstore.flows.config.experiment_schema` says what it may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affstore.flows.yaml_files import read_yaml
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.printable import excerpt

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
"""The experiments of both papers and of their notebooks."""

SUFFIXES = (".yaml", ".yml")

METHOD_FIELDS = ("head", "inputs", "train", "epochs", "preset", "changes", "blend", "threshold_blend", "other_step")
"""What may stand under `method`, or beside the other fields of an experiment."""

RUN_FIELDS = (
    "task",
    "method",
    *METHOD_FIELDS,
    "smooth_frames",
    "smooth_over",
    "after_last_face",
    "requires",
    "thresholds",
    "without",
)
"""What an experiment takes over from the one that it is `like`; title, source and note are always its own."""


def experiment_names() -> tuple[str, ...]:
    """The experiments that come with affstore, sorted; nothing is read but folders."""
    return tuple(
        sorted(path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in EXPERIMENTS.rglob("*.yaml"))
    )


def path_of(name: str) -> Path:
    """The file of an experiment that comes with affstore.

    Raises:
        UnknownNameError: there is none of that name; the message suggests the nearest.
    """
    path = EXPERIMENTS / f"{name}.yaml"
    # Asking for the one file, as all names are listed only for the message.
    if ".." in name or not path.is_file():
        raise UnknownNameError.of("experiment", name, experiment_names())
    return path


def read_file(path: Path) -> Mapping[str, Any]:
    """Read an experiment's file, and that of the experiment it is `like`.

    Raises:
        SpecError: a file cannot be read or holds no fields, or is like one that cannot be taken over from.
    """
    return with_base(_read(path), path, str(path))


def with_base(fields: Mapping[str, Any], path: Path, where: str) -> Mapping[str, Any]:
    """The fields of an experiment, with what they take over from the experiment that they are `like`.

    Args:
        fields: as written.
        path: of the file they are in; a file that they name lies beside it.
        where: what a message calls the place they are in.

    Raises:
        SpecError: the other experiment cannot be read, or is itself like another.
    """
    if "like" not in fields:
        return fields
    base_path = _like(path, fields["like"], where)
    base = _read(base_path)
    if "like" in base:
        back = _like(base_path, base["like"], str(base_path)).resolve() == path.resolve()
        why = "which is like this one again" if back else f"which is itself like '{base['like']}'; name that one"
        raise SpecError(f"{where}: 'like' names '{fields['like']}', {why}.")
    own = {name: value for name, value in fields.items() if name != "like"}
    if {"method", *METHOD_FIELDS} & set(own):  # a method is taken over as a whole, or not at all
        base = {name: value for name, value in base.items() if name != "method" and name not in METHOD_FIELDS}
    return {name: base[name] for name in RUN_FIELDS if name in base} | own


def _read(path: Path) -> dict[str, Any]:
    fields = read_yaml(path, "an experiment")
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise SpecError(f"'{path}' holds no experiment: it should name `task`, `inputs`, `head` …")
    return fields


def _like(path: Path, name: Any, where: str) -> Path:
    """The file that a file's `like` names: an experiment of affstore's, or a file beside it."""
    if not isinstance(name, str):
        raise SpecError(
            f"{where}: 'like' is wrong: it should be an experiment's name or a file (found {excerpt(name)})."
        )
    base = path.parent / name if name.endswith(SUFFIXES) else EXPERIMENTS / f"{name}.yaml"
    if base.resolve() == path.resolve():
        raise SpecError(f"{where}: 'like' names this experiment itself.")
    if not name.endswith(SUFFIXES):
        try:
            return path_of(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{where}: 'like' is wrong: {error}") from error
    return base
