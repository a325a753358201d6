"""What a table says of each video: participant, session, condition, or whatever else its columns hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.names import MAIN, subject_called, video_name
from affstore.store.contract.table_files import VIDEO, Table, read_table, shortened


@dataclass(frozen=True, slots=True, eq=False)
class VideoColumns:
    """Columns of a table, video by video.

    Attributes:
        path: of the table.
        names: the columns, in small letters.
        cells: by a video's name and a subject, `main` where a row is of the whole video; empty cells are None.
    """

    path: Path
    names: tuple[str, ...]
    cells: Mapping[tuple[str, str], tuple[str | None, ...]]

    def of(self, names: Iterable[str], subject: str = MAIN) -> tuple[str | None, ...]:
        """What the table says of a subject of a video that has these names: of the subject, else of the whole video."""
        names = tuple(names)
        for key in ((name, whose) for whose in (subject, MAIN) for name in names):
            if key in self.cells:
                return self.cells[key]
        return (None,) * len(self.names)


def read_video_columns(table_and_columns: Path, videos: Iterable[str] = ()) -> VideoColumns:
    """Read what a table with a column `video` says of each video.

    A video may have several rows, as long as they agree. A row of `12_left` is of the subject `left` of the video `12`,
    and one of `12.mp4` is of the video `12`.

    Args:
        table_and_columns: a CSV, TSV or Parquet file, for all its columns; `FILE:COLUMN` or `FILE:COLUMN,COLUMN` for
            some. Headers are read without regard to case.
        videos: names of known videos, which are no subjects of others even if they end in `_left`.

    Raises:
        SpecError: it cannot be read, lacks a column, or says two things of a video; the message has the line.
    """
    table, asked = table_with_columns(table_and_columns, "columns")
    names = asked or tuple(name for name in table.header if name and name != VIDEO)
    try:
        at = [table.column(name) for name in (VIDEO, *names)]
    except AnnotationError as error:
        raise SpecError(str(error)) from error
    known, found, lines = (
        frozenset(videos),
        dict[tuple[str, str], tuple[str | None, ...]](),
        dict[tuple[str, str], int](),
    )
    for line, cells in table.records:
        if not cells[at[0]]:
            raise SpecError(f"'{table.path}', line {line}: found no video, expected whose row it is.")
        key = subject_called(cells[at[0]], known)
        values = tuple(cells[i] or None for i in at[1:])
        before = found.setdefault(key, values)
        if values != before:
            name, one, other = next(each for each in zip(names, before, values, strict=True) if each[1] != each[2])
            raise SpecError(
                f"'{table.path}', line {line}: '{cells[at[0]]}' has the {name} {shortened(other or '')}, and "
                f"{shortened(one or '')} in line {lines[key]}. Name columns that say one thing of a video: "
                f"{table.path}:COLUMN."
            )
        lines.setdefault(key, line)
    return VideoColumns(table.path, names, found)


def table_with_columns(named: Path, what: str) -> tuple[Table, tuple[str, ...]]:
    """Read the table that `FILE`, `FILE:COLUMN` or `FILE:COLUMN,COLUMN` means.

    Args:
        named: the text.
        what: is read, for the message.

    Returns:
        The table, and the columns that are named, in small letters.

    Raises:
        SpecError: it cannot be read.
    """
    file, columns = str(named), ""
    if not named.exists() and ":" in file:
        file, _, columns = file.rpartition(":")
    try:
        table = read_table(Path(file))
    except AnnotationError as error:
        raise SpecError(f"The {what} cannot be read as a table: {error}") from error
    return table, tuple(filter(None, (name.strip().casefold() for name in columns.split(","))))


def rows_of_videos(table: Table, column: str) -> Iterator[tuple[int, str, str]]:
    """The line, the video as it is called there and the cell of a column, row by row.

    Raises:
        SpecError: a row has no video, or nothing in the column.
    """
    at = table.header.index(VIDEO), table.header.index(column)
    for line, cells in table.records:
        video, cell = (cells[i] for i in at)
        if not video or not cell:
            found = ",".join(cells)
            raise SpecError(f"'{table.path}', line {line}: found {found!r}, expected a video and its {column}.")
        yield line, video_name(video), cell
