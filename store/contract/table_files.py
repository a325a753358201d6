"""Tables that users bring, read as text: CSV, TSV or Parquet, of one video or of many."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from affstore.store.contract.errors import AnnotationError

PARQUET = ".parquet"
AS_UTF8 = "Save it as UTF-8: Excel calls that CSV UTF-8, other programs ask for the encoding or the character set."
"""What to do with text in another encoding."""
VIDEO = "video"
"""The column that says of which video a row is."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table as text.

    Attributes:
        path: of its file.
        header: the columns' names, in small letters.
        records: of each row that is not empty, its line of the file and its cells.
        delimiter: between columns; empty for Parquet.
        by_video: the records of each video; empty without a column `video`.
    """

    path: Path
    header: tuple[str, ...]
    records: tuple[tuple[int, list[str]], ...]
    delimiter: str = ""
    by_video: Mapping[str, tuple[tuple[int, list[str]], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, header: tuple[str, ...], records: Sequence[tuple[int, list[str]]], sign: str) -> Table:
        """A table with its rows sorted by their videos once, as a table of a thousand videos is asked for each."""
        by_video: dict[str, list[tuple[int, list[str]]]] = {}
        if header.count(VIDEO) == 1:
            at = header.index(VIDEO)
            for record in records:
                by_video.setdefault(record[1][at], []).append(record)
        return cls(path, header, tuple(records), sign, {name: tuple(rows) for name, rows in by_video.items()})

    def rows(self, video: str) -> tuple[tuple[int, list[str]], ...]:
        """The records of a video; all of them if its name is empty."""
        return self.by_video.get(video, ()) if video else self.records

    def column(self, name: str) -> int:
        """The place of a column.

        Raises:
            AnnotationError: it is not there once.
        """
        if self.header.count(name) != 1:
            found = "no column" if name not in self.header else "two columns"
            example = (self.delimiter or ",").join(self.header)
            raise fault(self.path, 1, f"found {found} '{name}' in {shortened(example)}, expected one")
        return self.header.index(name)


def read_table(path: Path) -> Table:
    """Read a CSV, TSV or Parquet file.

    Raises:
        AnnotationError: it cannot be read, or a row has more or fewer cells than the header.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise AnnotationError(f"The table '{path}' cannot be read: {error.strerror}.") from error
    return _read_table(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_table(path: Path, size: int, changed_ns: int) -> Table:
    """The table of a file that is read once as long as it does not change: it may be of a thousand videos."""
    if path.suffix.lower() == PARQUET:
        return _parquet(path)
    lines = text_lines(path)
    if not "".join(lines).strip():
        raise AnnotationError(f"'{path}' is an empty file, expected a header and rows. Write it again or leave it out.")
    delimiter = delimiter_in(lines[0])
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise AnnotationError(f"'{path}' cannot be read as a table: {error}.") from error
    header = tuple(cell.casefold() for cell in rows[0]) if rows else ()
    records = [(number, cells) for number, cells in enumerate(rows[1:], 2) if any(cells)]
    for number, cells in records:
        if len(cells) != len(header):
            raise fault(path, number, f"found {len(cells)} columns, expected {len(header)} as in the header")
    return Table.of(path, header, records, delimiter)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in table.columns]
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(f"'{path}' cannot be read as a Parquet file: {error}.") from error
    header = tuple(name.strip().casefold() for name in table.column_names)
    records = [(number, list(cells)) for number, cells in enumerate(zip(*columns, strict=True), 2)]
    return Table.of(path, header, records, "")


def delimiter_in(header: str) -> str:
    """What is between the columns of a table, by its first line."""
    return next((sign for sign in "\t;,|" if sign in header), ",")


def text_lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones at its end; at least one, which may be empty.

    Raises:
        AnnotationError: it cannot be read, or is no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"The annotation '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"'{path}' is not UTF-8 text (byte {error.start}). {AS_UTF8}") from error
    lines = text.replace("\r\n", "\n").split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return lines


def fault(path: Path, line: int, reason: str) -> AnnotationError:
    """What is wrong with a line of a file, and what to do."""
    return AnnotationError(f"'{path}', line {line}: {reason}. Correct the file or leave it out.")


def shortened(text: str) -> str:
    """A piece of a file as a message may show it."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
