"""Tables keep names whole at any width, and one line a row where nobody looks at a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from affstore.flows.tables import table_lines

WORDS = st.text(st.characters(categories=["L", "N"], include_characters="-_/."), min_size=1, max_size=60)
CELLS = st.lists(WORDS, max_size=12).map(" ".join)
TABLES = st.integers(1, 5).flatmap(
    lambda columns: st.tuples(
        st.lists(WORDS, min_size=columns, max_size=columns),
        st.lists(st.lists(CELLS, min_size=columns, max_size=columns), min_size=1, max_size=6),
    )
)


@given(TABLES, st.integers(40, 200))
def test_no_name_is_ever_broken(table, width):
    head, rows = table
    shown = " ".join(table_lines(head, rows, width)).split()
    for row in rows:
        for cell in row:
            assert set(cell.split()) <= set(shown)


@given(TABLES, st.integers(40, 200))
def test_only_a_word_longer_than_the_terminal_goes_beyond_it(table, width):
    head, rows = table
    longest = max(cell_len(word) for row in (head, *rows) for cell in row for word in cell.split() or [""])
    names = max(map(cell_len, head)) + 2
    assert max(map(cell_len, table_lines(head, rows, width)), default=0) <= max(width, names + max(longest, 24))


@given(TABLES)
def test_without_a_terminal_a_row_is_a_line(table):
    head, rows = table
    assert len(table_lines(head, rows, None)) == len(rows) + 1


def test_columns_stand_under_each_other_also_with_wide_letters():
    lines = table_lines(("video", "frames"), [("视频", "10"), ("clip", "7")], 80)
    assert [cell_len(line.rsplit(maxsplit=1)[0].ljust(1)) <= 7 for line in lines]
    assert [cell_len(line[: line.index(last)]) for line, last in zip(lines, ("frames", "10", "7"), strict=True)] == [
        7
    ] * 3


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_that_is_too_wide_becomes_a_list_that_names_each_cell(width):
    path = "/data/" + "x" * 90 + "/clip.mp4"
    lines = table_lines(("file", "why"), [(path, "it is damaged " * 10), (path, "")], width)
    assert lines[0] == f"file  {path}"
    assert lines[1].startswith("why   it is damaged")
    assert lines[-1] == f"file  {path}"
    assert all(len(line) <= width or path in line for line in lines)
