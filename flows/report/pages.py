"""What the offline pages are made of: one file each, no script, nothing from a network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from affstore.store.contract.printable import printable

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.quarantined, .failed { color: #a40000; } .cached { color: #666; }
.notice { background: #fff4d6; padding: .6rem 1rem; border-left: 4px solid #d9a300; }
code { font-size: 90%; }
"""
# A browser that shows the page refuses to load anything that is not in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Markup(str):
    """Text that is HTML already; every other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: what stands in it.
        kind: its class in the style, e.g. `number`.
        columns: over how many it stretches.
        rows: over how many it stretches.
    """

    text: str
    kind: str = ""
    columns: int = 1
    rows: int = 1


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole page.

    Args:
        title: its title and heading, not yet escaped.
        parts: HTML, in order.
        style: added to the style of all pages.
    """
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{markup(title)}</title>'
        f"<style>{_STYLE}{style}</style>"
    )
    body = f"<h1>{markup(title)}</h1>{''.join(parts)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def markup(text: str) -> Markup:
    """A text as HTML."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text)))


def notice(text: str) -> Markup:
    """A paragraph that is not overlooked."""
    return Markup(f'<p class="notice">{markup(text)}</p>')


def table(head: Sequence[str | Cell], rows: Iterable[Sequence[str | Cell]]) -> Markup:
    """A table; cells are plain texts, or say more as a `Cell`."""
    titles = "".join(_cell(title, "th") for title in head)
    body = "".join(f"<tr>{''.join(_cell(cell, 'td') for cell in row)}</tr>" for row in rows)
    return Markup(f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>")


def numbers(texts: Iterable[str]) -> list[str | Cell]:
    """Cells that stand under each other to the digit."""
    return [Cell(text, "number") for text in texts]


def items(texts: Iterable[str]) -> Markup:
    """A list of names; without any, it says so."""
    found = "".join(f"<li><code>{markup(text)}</code></li>" for text in texts)
    return Markup(f"<ul>{found}</ul>" if found else "<p>Nothing.</p>")


def _cell(cell: str | Cell, tag: str) -> str:
    held = cell if isinstance(cell, Cell) else Cell(cell)
    kind = f' class="{held.kind}"' if held.kind else ""
    columns = f' colspan="{held.columns}"' if held.columns > 1 else ""
    rows = f' rowspan="{held.rows}"' if held.rows > 1 else ""
    return f"<{tag}{kind}{columns}{rows}>{markup(held.text)}</{tag}>"
