"""The generated pages of the reference: what the code says of commands, API, experiment files, schema and columns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from mkdocs.structure.files import File, Files

import affstore
from affstore.flows.cli import whole_app
from affstore.flows.config.experiment_schema import ExperimentConfig
from affstore.flows.config.heads import HeadConfig
from affstore.flows.config.run_config import LabelFolderConfig, PublishConfig, RunConfig
from affstore.models.evaluation.evaluate import EvaluationSpec
from affstore.store.contract import labels, schema
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.tasks.analysis.frame_table import COLUMNS
from affstore.tasks.analysis.summary import Episode, Measure
from affstore.tasks.experiments import Experiment


def on_files(files: Files, config: Any) -> Files:
    """Called by mkdocs once the files are known."""
    pages = {
        "commands": "".join(_commands(whole_app())),
        "api": "".join(_api()),
        "experiments": "".join(_experiments()),
        "schema": "".join(_schema()),
        "label_spaces": "".join(_label_spaces()),
        "columns": "".join(_columns()),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def _commands(of: Any, path: tuple[str, ...] = ("affstore",)) -> Iterator[str]:
    if len(path) == 1:
        yield "# Commands\n\nEvery command has `--help` and `--json`. A variable stands beside its default.\n\n"
    for name in of:
        if name.startswith("-"):
            continue
        command, words = of[name], (*path, name)
        yield f"{'#' * len(words)} {' '.join(words)}\n\n{_prose(command.help or '')}\n\n"
        if command.default_command is not None:
            # cyclopts' own view of the command, so that the options of shared dataclasses are in.
            shown = [one for one in command.assemble_argument_collection(parse_docstring=True) if one.show]
            yield from _table("argument", [one for one in shown if one.index is not None])
            yield from _table("option", [one for one in shown if one.index is None])
        yield from _commands(command, words)


def _prose(text: str) -> str:
    """A help text without its parameters, whose example becomes a block."""
    about, _, _ = inspect.cleandoc(text).partition("Parameters\n----------")
    return _EXAMPLE.sub(lambda found: f"```text\n$ {' '.join(found[1].split())}\n```", about).strip()


_EXAMPLE = re.compile(r"^Example: (.+?)$(?=\n\n|\s*\Z)", re.MULTILINE | re.DOTALL)


def _table(kind: str, arguments: Sequence[Any]) -> Iterator[str]:
    if arguments:
        yield f"| {kind} | takes | default | what it says |\n| --- | --- | --- | --- |\n"
        yield from (f"| {' | '.join(_row(one))} |\n" for one in arguments)
        yield "\n"


def _row(argument: Any) -> Iterator[str]:
    variables = ", or ".join(f"`{name}`" for name in argument.parameter.env_var or ())
    yield " ".join(f"`{name}`" for name in argument.names)
    yield _cell(_takes(argument))
    yield _default(argument) + (f", or {variables}" if variables else "")
    yield _cell(argument.parameter.help or "")


def _takes(argument: Any) -> str:
    """What may be written after an option: its choices, or the kind of value, and whether several."""
    hint = argument.hint
    kinds = [one for one in (get_args(hint) or (hint,)) if one in _KINDS]
    words = [*(_KINDS[one] for one in kinds), *(f"`{one}`" for one in argument.get_choices() or ())]
    several = ", or several" if get_origin(hint) is tuple else ""
    return (", ".join(words[:-1]) + " or " if words[1:] else "") + words[-1] + several


_KINDS = {str: "text", Path: "a path", int: "a whole number", float: "a number", bool: "a switch"}


def _default(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required:
        return "must be named"
    if isinstance(default, tuple):
        return ", ".join(f"`{one}`" for one in default)
    nothing = default is None or default is False or default in ("", argument.field_info.empty)
    return "" if nothing else f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _api() -> Iterator[str]:
    yield "# Python API\n\nEverything here is imported from `affstore`.\n\n"
    for name in sorted(affstore.__all__):
        thing = getattr(affstore, name)
        yield f"::: {thing.__module__}.{thing.__qualname__}\n\n"


def _experiments() -> Iterator[str]:
    yield "# Configurations and experiment files\n\nAn unknown field is a mistake; the message has its line.\n\n"
    for title, config, others in (
        ("A configuration (`affstore run`)", RunConfig, ()),
        ("A folder or table of labels (`labels:` of a configuration)", LabelFolderConfig, ()),
        ("A publication (`publish:` of a configuration)", PublishConfig, ()),
        (
            "An experiment (`experiments:` of a configuration, or a file)",
            ExperimentConfig,
            (Experiment, EvaluationSpec),
        ),
        ("A head of an experiment", HeadConfig, ()),
    ):
        about = _docstring(config).partition("Attributes:\n")[0]
        said = {name: text for one in (*others, config) for name, text in attributes_of(one)}
        yield f"## {title}\n\n{_cell(about)}\n\n| field | default | what it says |\n| --- | --- | --- |\n"
        for name, field in config.model_fields.items():
            default = "must be there" if field.is_required() else _plain(field.get_default(call_default_factory=True))
            yield f"| `{name}` | {default} | {_cell(said[name])} |\n"
        yield "\n"


def attributes_of(kind: type) -> list[tuple[str, str]]:
    """What the docstring of a class says of each attribute."""
    _, _, fields = _docstring(kind).partition("Attributes:\n")
    return re.findall(r"^    (\w+): ((?:.+\n?)(?:        .+\n?)*)", fields, re.MULTILINE)


def _docstring(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _plain(default: Any) -> str:
    """A default as it would be written in YAML; nothing of one that is empty or made of parts."""
    if isinstance(default, tuple) and default and all(isinstance(one, str) for one in default):
        return f"`[{', '.join(default)}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`" if _is_plain(default) else ""


def _is_plain(default: Any) -> bool:
    return isinstance(default, bool | int | float) or (isinstance(default, str) and default != "")


def _columns() -> Iterator[str]:
    yield "# Columns of `analyze`\n\n"
    yield "What `affstore analyze` writes, as CSV and, of each video, as Parquet. An empty cell (null in Parquet) says "
    yield "that nothing is known: no face, no sound, or no network for it. It is never 0.\n\n"
    yield "## videos/NAME.csv, videos/NAME.parquet\n\nA row a frame and subject.\n\n"
    yield "| column | what it is |\n| --- | --- |\n"
    for names, about in COLUMNS.items():
        yield f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {_cell(about)} |\n"
    yield "\n`NAME`, `SPACE` and `n` stand for a class, a label space of yours and the number of an action unit. "
    yield "Columns of a network that is not on this machine are left out.\n\n"
    for file, kind in (("summary.csv", Measure), ("episodes.csv", Episode)):
        yield f"## {file}\n\n{_cell(_docstring(kind).partition('Attributes:')[0])}\n\n"
        yield "| column | what it is |\n| --- | --- |\n"
        yield "".join(f"| `{name}` | {_cell(about)} |\n" for name, about in attributes_of(kind)) + "\n"


def _schema() -> Iterator[str]:
    yield "# What the store holds\n\nEvery write and read is checked against this; rows are frames.\n\n"
    for name in schema.families():
        family = schema.family(name)
        written = _SCHEMA["families"][name]
        yield f"## {name}\n\n`{written['path']}` — {written['about']}\n\n"
        if family.arrays:
            yield "| array | dimensions | type | what it is |\n| --- | --- | --- | --- |\n"
        for array, one in written.get("arrays", {}).items():
            yield f"| `{array}` | {', '.join(one['dims'])} | {_either(one['dtype'])} | {one['about']} |\n"
        yield f"\nAttributes: {', '.join(f'`{one}`' for one in written['attributes'])}.\n\n"


def _either(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)


_SCHEMA = yaml.safe_load(schema.SCHEMA_FILE.read_text(encoding="utf-8"))


def _label_spaces() -> Iterator[str]:
    yield "# Label spaces\n\nA label space is data: your own are written in a configuration as `label_spaces`.\n\n"
    yield "| space | kind | names | how nothing is written |\n| --- | --- | --- | --- |\n"
    words = {SpaceKind.CLASSES: "classes", SpaceKind.UNITS: "units", SpaceKind.VALUES: "values"}
    for space in vars(labels).values():
        if isinstance(space, LabelSpace):
            unknown, kind = ", ".join(space.unknown) or "empty", words.get(space.kind, "intensities")
            yield f"| `{space.name}` | {kind} | {', '.join(space.names)} | {unknown} |\n"
