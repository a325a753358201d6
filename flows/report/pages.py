"""The offline pages: Jinja2 templates, one file each, nothing from a network, and no script but our own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from affstore.store.contract.keys import key_of
from affstore.store.contract.printable import printable

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Script:
    """A script of a page.

    Attributes:
        text: the script.
        digest: SHA-256 in base 64, by which the page lets the browser run this script and no other.
    """

    text: Markup
    digest: Markup

    @classmethod
    def of(cls, *names: str) -> Script:
        """The scripts of these names among the templates, one after the other."""
        text = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in names)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(Markup(text), Markup(digest))


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it.
        kind: its class in the style, e.g. `number`.
        columns: over how many it stretches.
        rows: over how many it stretches.
        link: the anchor on the page that the text leads to.
        note: what stands behind the text, in smaller letters.
    """

    text: str
    kind: str = ""
    columns: int = 1
    rows: int = 1
    link: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page.

    Attributes:
        head: the titles of its columns.
        rows: the cells, row by row.
    """

    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, head: Iterable[str | Cell] = (), rows: Iterable[Iterable[str | Cell]] = ()) -> Table:
        """A table whose cells may be plain texts."""
        return cls(_cells(head), tuple(_cells(row) for row in rows))


def numbers(texts: Iterable[str]) -> list[str | Cell]:
    """Cells that stand under each other to the digit."""
    return [Cell(text, "number") for text in texts]


def json_in_page(document: Any) -> Markup:
    """A document as it can stand in a page: nothing in it ends the script that holds it."""
    return Markup(json.dumps(document, separators=(",", ":")).replace("<", "\\u003c"))


def render(template: str, **values: Any) -> str:
    """A page; every text among the values is escaped, and shown without what could steer a terminal or a browser.

    Args:
        template: its file in `templates`.
        values: what the template names.
    """
    return _templates().get_template(template).render(values) + "\n"


def digest_of_templates(names: Iterable[str]) -> str:
    """What decides how pages of some templates look.

    Args:
        names: their files in `templates`.
    """
    return key_of([(_TEMPLATES / name).read_text(encoding="utf-8") for name in names])


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: Any) -> Any:
    """A text without control characters; HTML that a template made is no plain `str`, and stays as it is."""
    return printable(value) if type(value) is str else value


def _cells(texts: Iterable[str | Cell]) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)
