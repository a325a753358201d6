"""Tables for a person: on a terminal as wide as it is, and never with a name broken in the middle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from affstore.store.contract.printable import printable

_GAP = "  "
_NARROWEST_PROSE = 24
"""Columns below which a sentence is not squeezed: the table is then written as a list."""


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lay out a table in lines of at most `width` columns; without a width, one line a row.

    Sentences are wrapped between words. Where even that does not fit, each row becomes a small list with a line a
    cell, so that a name or a path stays whole and can be copied.

    Args:
        head: the columns' names.
        rows: the cells, as many in each row as there are columns.
        width: of the terminal, or None for a file or a pipe.
    """
    head = [printable(name) for name in head]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(_cells, column)) for column in zip(head, *rows, strict=True)]
    if width is not None:
        narrow = _narrowed(widths, _least([head, *rows]), width - len(_GAP) * (len(head) - 1))
        if narrow is None:
            return _as_list(head, rows, width)
        widths = narrow
    return [line for row in (head, *rows) for line in _row_lines(row, widths)]


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is, or None where it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(cell: str, width: int) -> list[str]:
    """Break a text between words into lines of at most `width` columns; a longer word stays whole."""
    if _cells(cell) <= width:
        return [cell]
    first, *words = cell.split(" ")
    found = [first]
    for word in words:
        longer = f"{found[-1]} {word}"
        if _cells(longer) <= width:
            found[-1] = longer
        else:
            found.append(word)
    return found


def _least(rows: Sequence[Sequence[str]]) -> list[int]:
    """The narrowest that each column can be: its longest word, and enough for a sentence to be read."""
    least = []
    for column in zip(*rows, strict=True):
        word = max(_cells(part) for cell in column for part in (cell.split() or [""]))
        longest = max(map(_cells, column))
        least.append(max(word, min(longest, _NARROWEST_PROSE)))
    return least


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """Widths that fit, the widest columns made narrower first; None where they cannot."""
    found = list(widths)
    while sum(found) > room:
        place = max(range(len(found)), key=lambda at: (found[at] > least[at], found[at]))
        if found[place] <= least[place]:
            return None
        found[place] -= 1
    return found


def _row_lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    height = max(map(len, cells))
    lines = []
    for at in range(height):
        parts = [cell[at] if at < len(cell) else "" for cell in cells]
        padded = (part + " " * (width - _cells(part)) for part, width in zip(parts, widths, strict=True))
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _as_list(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """One cell a line, named by its column; empty cells are left out."""
    indent = max(map(_cells, head)) + len(_GAP)
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for name, cell in zip(head, row, strict=True):
            if cell:
                first, *others = wrapped(cell, max(_NARROWEST_PROSE, width - indent))
                lines += [f"{name}{' ' * (indent - _cells(name))}{first}", *(" " * indent + other for other in others)]
    return lines


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes: wide letters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
