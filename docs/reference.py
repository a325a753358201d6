"""The generated pages of the reference: what the code itself says of commands, API, experiment files and schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

import affstore
from affstore.flows.cli import app
from affstore.flows.config.experiment_schema import ExperimentConfig
from affstore.flows.config.heads import HeadConfig
from affstore.flows.config.run_config import RunConfig
from affstore.store.contract import labels, schema
from affstore.store.contract.labels import LabelSpace, SpaceKind


def on_files(files: Files, config: Any) -> Files:
    """Called by mkdocs once the files are known."""
    pages = {
        "commands": "".join(_commands()),
        "api": "".join(_api()),
        "experiments": "".join(_experiments()),
        "schema": "".join(_schema()),
        "label_spaces": "".join(_label_spaces()),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def _commands(of: Any = app, path: tuple[str, ...] = ("affstore",)) -> Iterator[str]:
    if of is app:
        yield "# Commands\n\nEvery command has `--help` and `--json`; whatever writes has `--dry-run`.\n\n"
    for name in of:
        if name.startswith("-"):
            continue
        command, words = of[name], (*path, name)
        about, _, options = (command.help or "").partition("Parameters\n----------\n")
        yield f"{'#' * len(words)} {' '.join(words)}\n\n{_prose(about)}\n\n{_options(options)}\n"
        yield from _commands(command, words)


def _prose(text: str) -> str:
    """A help text, whose example becomes a block."""
    about, _, example = text.partition("Example: ")
    block = f"\n\n```text\n$ {' '.join(example.split())}\n```" if example else ""
    return f"{about.strip()}{block}"


def _options(text: str) -> str:
    found = re.findall(r"^(\S+)\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    rows = [
        f"| `{name.rstrip('_')}` | {' '.join(about.split()).replace('|', chr(92) + '|')} |" for name, about in found
    ]
    return "\n".join(["| option | what it says |", "| --- | --- |", *rows, ""]) if rows else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _api() -> Iterator[str]:
    yield "# Python API\n\nEverything here is imported from `affstore`.\n\n"
    for name in sorted(affstore.__all__):
        thing = getattr(affstore, name)
        yield f"::: {thing.__module__}.{thing.__qualname__}\n\n"


def _experiments() -> Iterator[str]:
    yield "# Configurations and experiment files\n\nAn unknown field is a mistake; the message has its line.\n\n"
    for title, config in (
        ("A configuration (`affstore run`)", RunConfig),
        ("An experiment", ExperimentConfig),
        ("A head of an experiment", HeadConfig),
    ):
        about, _, fields = (config.__doc__ or "").partition("Attributes:\n")
        yield f"## {title}\n\n{' '.join(about.split())}\n\n| field | what it says |\n| --- | --- |\n"
        found = re.findall(r"^        (\w+): ((?:.+\n?)(?:            .+\n?)*)", fields, re.MULTILINE)
        yield "".join(f"| `{name}` | {_cell(text)} |\n" for name, text in found) + "\n"


def _schema() -> Iterator[str]:
    yield "# What the store holds\n\nEvery write and read is checked against this; rows are frames.\n\n"
    for name in schema.families():
        family = schema.family(name)
        written = _SCHEMA["families"][name]
        yield f"## {name}\n\n`{written['path']}` — {written['about']}\n\n"
        if family.arrays:
            yield "| array | dimensions | type | what it is |\n| --- | --- | --- | --- |\n"
        for array, one in written.get("arrays", {}).items():
            yield f"| `{array}` | {', '.join(one['dims'])} | {one['dtype']} | {one['about']} |\n"
        yield f"\nAttributes: {', '.join(f'`{one}`' for one in written['attributes'])}.\n\n"


_SCHEMA = yaml.safe_load(schema.SCHEMA_FILE.read_text(encoding="utf-8"))


def _label_spaces() -> Iterator[str]:
    yield "# Label spaces\n\nA label space is data: your own are written in a configuration as `label_spaces`.\n\n"
    yield "| space | kind | names | how nothing is written |\n| --- | --- | --- | --- |\n"
    words = {SpaceKind.CLASSES: "classes", SpaceKind.UNITS: "units", SpaceKind.VALUES: "values"}
    for space in vars(labels).values():
        if isinstance(space, LabelSpace):
            unknown, kind = ", ".join(space.unknown) or "empty", words.get(space.kind, "intensities")
            yield f"| `{space.name}` | {kind} | {', '.join(space.names)} | {unknown} |\n"
