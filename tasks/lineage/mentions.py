"""Files that name a video: reports, pages, records of runs and Prefect's database, which lie beside a store."""

from __future__ import annotations

import csv
import fcntl
import html
import json
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from affstore.store.contract.errors import SchemaError, SpecError
from affstore.store.contract.names import SIDES
from affstore.store.contract.schema import address_of
from affstore.store.engine.places import BESIDE
from affstore.tasks.lineage.erasure import Erasure
from affstore.tasks.lineage.publication import NOTE, read_note

_PAGES = ("report.html", "artifacts.json", "run.json")
"""What tells that a folder is a run's: all in it was drawn from the store, and can be drawn again."""

_OWN_NAMES = (*_PAGES, "figures", "prefect", "prefect.db", "server.log", "trainings")
_SHORT_BYTES = 8
_MARKED = (".html", ".htm", ".json", ".jsonl", ".xml", ".svg", ".log", ".db", ".eaf", ".textgrid")
"""Texts that have marks around names: of quotation, of tags, of folders."""

_PLAIN = (".txt", ".csv", ".tsv", ".md", ".yaml", ".yml", ".ipynb", ".srt", ".vtt", ".tex")
"""Texts in which a name may stand between commas, or on a line by itself."""

_TEXTS = (*_MARKED, *_PLAIN)
_DELIMITED = (".txt", ".csv", ".tsv")
_TABLE = ".parquet"

_SUBJECT = rb"(?:_(?:" + "|".join(SIDES).encode() + rb"|person\d+))?"
"""What challenge files and exports put behind a video's name where it shows several people."""

FOLDERS_BELOW = 6
"""How far below a store's own folder files are looked for that name what has to go."""

_MOST_FILES = 200_000


def needles(erasure: Erasure, in_text: bool = True) -> re.Pattern[bytes]:
    """What to look for in bytes: names as whole words, places and digests, in every way in which files write them.

    Args:
        erasure: what has to go.
        in_text: whether short names are looked for; pictures and chunks of numbers hold any three letters by chance.
    """
    names = [_as_word(name) for name in _names_of(erasure) if in_text or not name.is_short]
    return re.compile(b"|".join([*_exact(erasure), *names]) or rb"(?!)")


@dataclass(frozen=True, slots=True)
class _Name:
    """A name in one of the ways in which files write it.

    Attributes:
        form: its bytes.
        pattern: of these where they are no part of a longer name that stays, as `talk` is of `talk_2`.
    """

    form: bytes
    pattern: bytes

    @property
    def is_short(self) -> bool:
        """Whether it is in any text by chance."""
        return len(self.form) < _SHORT_BYTES


def _names_of(erasure: Erasure) -> list[_Name]:
    found: dict[bytes, bytes] = {}
    for name in sorted(erasure.names):
        longer = [[*_forms(other)] for other in sorted(erasure.kept) if name in other]
        for number, form in enumerate(_forms(name)):
            called = re.escape(form)
            apart = b"".join(_no_part(form, other[number]) for other in longer)
            # Hundreds of names may hold this one: they are compared only where it stands.
            found.setdefault(form, rb"(?=" + called + rb")" + apart + called if apart else called)
    return [_Name(form, pattern) for form, pattern in sorted(found.items())]


def _no_part(form: bytes, other: bytes) -> bytes:
    """What keeps a pattern of a name from those of its places that lie within another."""
    places = [match.start() for match in re.finditer(rb"(?=" + re.escape(form) + rb")", other)]
    return b"".join(
        rb"(?!" + (rb"(?<=" + re.escape(other[:place]) + rb")" if place else b"") + re.escape(other[place:]) + rb")"
        for place in places
    )


def _as_word(name: _Name) -> bytes:
    """A short name counts between signs that stand around names, for a letter alone is in any text."""
    if name.is_short:
        called = name.pattern + _SUBJECT
        return rb"[/\">]" + called + rb"[/\"<.\\\0]|(?m:^)" + called + rb"/"  # challenge files begin lines with it
    return rb"(?<![A-Za-z0-9])" + name.pattern + rb"(?![A-Za-z0-9])"


def _listed(name: _Name) -> bytes:
    """A short name between the signs that stand between names in lists and tables, a number only after `video`."""
    called = name.pattern + _SUBJECT
    if name.form.isdigit():
        return rb"(?i:\bvideo)[\"']?[ ]*[:=][ ]*" + called + rb"(?![A-Za-z0-9.])"
    return rb"(?:(?m:^)[ ]*(?:- )?|[,;|\t:=('\"\[][ ]*)" + called + rb"(?:[ ]*(?:[,;|\t)'\"\]\\\r]|(?m:$))|\.[A-Za-z])"


def _in_page(name: _Name) -> bytes:
    """A short name in the report of a run as part of a file's place or name: `artifacts.json` says what it is about."""
    if not name.is_short:
        return _as_word(name)
    return rb"/" + name.pattern + _SUBJECT + rb"[/\"<\0]|[/\">]" + name.pattern + rb"\.[A-Za-z0-9]{2,5}[\"< ]"


def _forms(text: str) -> Iterator[bytes]:
    yield text.encode()
    escaped = html.escape(text)
    yield escaped.encode()
    yield html.escape(text, quote=False).encode()
    yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;").encode()  # as pages of Jinja have them
    yield json.dumps(text)[1:-1].encode()
    yield quote(text).encode()


def mentioning(runs: Path, erasure: Erasure) -> list[Path]:
    """The files of a runs folder whose name or content names what has to go, in order."""
    wanted = _Wanted.of(erasure)
    report = re.compile(b"|".join([*_exact(erasure), *map(_in_page, _names_of(erasure))]) or rb"(?!)")

    def is_about(path: Path) -> bool:
        if path.name in _PAGES and path.suffix == ".json":
            return _is_in_json(path, erasure, wanted.in_text)
        return _holds(path, report) if path.name in _PAGES else wanted.held_by(path)

    paths = sorted(path for path in runs.rglob("*") if path.is_file() and not path.is_symlink())
    # Of a run's figures, some are called by numbers: a short name in theirs says nothing that its JSON does not.
    return [path for path in paths if _is_called(path, runs, wanted.in_numbers) or is_about(path)]


def _is_called(path: Path, folder: Path, wanted: re.Pattern[bytes]) -> bool:
    """Whether a file below a folder, or one of the folders between, is called by it; our own names say nothing."""
    parts = [part for part in path.relative_to(folder).parts if part not in _OWN_NAMES]
    return wanted.search(f"/{'/'.join(parts)}\0".encode(errors="surrogateescape")) is not None


def _exact(erasure: Erasure) -> list[bytes]:
    texts = {form for text in (*erasure.locations, *erasure.digests) for form in _forms(text)}
    return [re.escape(text) for text in sorted(texts)]


def _is_in_json(path: Path, erasure: Erasure, wanted: re.Pattern[bytes]) -> bool:
    """Whether a value of a run's JSON names what has to go: an artifact's video, or a text; names of fields do not."""
    try:
        waiting = [json.loads(path.read_bytes())]
    except (OSError, ValueError):
        return _holds(path, wanted)
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            waiting += one.values() if isinstance(one, dict) else one
        elif isinstance(one, str) and _says(one, erasure, wanted):
            return True
    return False


def _says(text: str, erasure: Erasure, wanted: re.Pattern[bytes]) -> bool:
    with suppress(SchemaError):
        return address_of(text).video in erasure.names
    return wanted.search(f'"{text}"'.encode(errors="surrogateescape")) is not None


def _holds(path: Path, wanted: re.Pattern[bytes]) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return wanted.search(content) is not None
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for in texts, in those without marks, and in files that may hold any three letters by chance."""

    in_text: re.Pattern[bytes]
    in_plain: re.Pattern[bytes]
    in_numbers: re.Pattern[bytes]

    @classmethod
    def of(cls, erasure: Erasure) -> _Wanted:
        in_text = needles(erasure)
        short = [name for name in _names_of(erasure) if name.is_short]
        in_plain = re.compile(b"|".join([in_text.pattern, *map(_listed, short)]))
        return cls(in_text, in_plain, needles(erasure, in_text=False))

    def held_by(self, path: Path) -> bool:
        """Whether a file's content names it."""
        suffix = path.suffix.lower()
        cells = _texts_in_table(path) if suffix == _TABLE else _video_cells(path) if suffix in _DELIMITED else ()
        if any(self.in_text.search(text) for text in cells):
            return True
        return _holds(
            path, self.in_plain if suffix in _PLAIN else self.in_text if suffix in _MARKED else self.in_numbers
        )


def _texts_in_table(path: Path) -> Iterator[bytes]:
    """The different texts in a Parquet table, in quotation marks: it is packed, so that its bytes do not show them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from (f'"{name}"'.encode() for name in file.schema_arrow.names)
            # Types are written with those within them, as `list<element: string>`. Embeddings are not read.
            fields = [one for one in file.schema_arrow if one.name.casefold() == "video" or "string" in str(one.type)]
            for batch in file.iter_batches(columns=[one.name for one in fields]):
                for column in batch.columns:
                    for texts in _texts_of(column):
                        yield from (f'"{text}"'.encode() for text in texts.unique().to_pylist())
    except (pa.ArrowException, OSError):
        return


def _texts_of(column: Any) -> Iterator[Any]:
    """The arrays of texts, and of whole numbers, in an array of Arrow, however deep they are in lists and structs."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        yield column
    elif pa.types.is_string_view(kind):
        yield column.cast(pa.string())
    elif pa.types.is_dictionary(kind):
        yield from _texts_of(column.dictionary_decode())
    elif pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _texts_of(inner)
    elif pa.types.is_map(kind):
        yield from (*_texts_of(column.keys), *_texts_of(column.items))
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        yield from _texts_of(column.flatten())


def _video_cells(path: Path) -> Iterator[bytes]:
    """The cells of the column `video` of a table as text, in quotation marks: a name may be a number, as any other."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = file.readline()
            sign = max(",;\t|", key=first.count)
            header = [name.strip().casefold() for name in next(csv.reader([first], delimiter=sign), [])]
            if "video" in header:
                place = header.index("video")
                rows = csv.reader(file, delimiter=sign)
                yield from (f'"{row[place].strip()}"'.encode() for row in rows if len(row) > place)
    except (OSError, csv.Error):
        return


def remove_mentions(runs: Path, files: Iterable[Path], heads: Iterable[str]) -> list[Path]:
    """Remove what a runs folder holds of a video: the pages of runs that name it, and what heads left that saw it.

    Returns:
        What could not be removed: Prefect's database while a server uses it, and files that cannot be written.
    """
    left = []
    for head in heads:
        for folder in (runs / "trainings").glob(f"{head}-*"):
            shutil.rmtree(folder, ignore_errors=True)
    for path in files:
        run = next((above for above in path.parents if any((above / page).is_file() for page in _PAGES)), None)
        if not path.exists():
            continue
        if path.is_relative_to(runs / "prefect"):
            left += [] if _drop_database(runs / "prefect") else [path]
        elif run is not None and run.is_relative_to(runs):
            shutil.rmtree(run, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if path.exists() and path not in left:
            left.append(path)
    return left


def _drop_database(folder: Path) -> bool:
    """Remove Prefect's database and log, unless a server uses them; the next run begins new ones."""
    with (folder / "users.lock").open("ab") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if (folder / "server.json").exists():
            return False
        for path in (*folder.glob("prefect*.db*"), *folder.glob("*.log")):
            path.unlink(missing_ok=True)
    return True


@dataclass(frozen=True, slots=True)
class Exported:
    """What lies near a store and names what has to go.

    Attributes:
        copies: folders of published files whose tag was retracted.
        files: all files that name it, also in those.
        all_searched: whether no file was left out for there are too many.
    """

    copies: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    all_searched: bool = True


def exported_mentions(folder: Path, erasure: Erasure) -> Exported:
    """What was written from a store to a place near it and names what has to go.

    The content of texts and tables is read; of other files, as pictures and videos, their names alone. What the store
    was made from is left out: the videos and annotations themselves.

    Args:
        folder: that the store is in; `FOLDERS_BELOW` levels below it are looked at, hidden folders and stores not.
        erasure: what has to go.
    """
    wanted, tags = _Wanted.of(erasure), {*(erasure.tags or {}), *erasure.named_tags}
    inputs = {str(record.attributes["location"]) for record in erasure.records if "location" in record.attributes}
    copies, files, count = [], [], 0
    for path in _files_near(folder):
        count += 1
        if count > _MOST_FILES:
            break
        if path.name == NOTE and tags & {path.parent.name, *_tags_in(path.parent)}:
            copies.append(path.parent)
        is_read = path.suffix.lower() in (*_TEXTS, _TABLE)
        if not inputs.isdisjoint(map(str, (path, *path.parents))):
            continue
        if _is_called(path, folder, wanted.in_text) or (is_read and wanted.held_by(path)):
            files.append(path)
    return Exported(tuple(sorted(copies)), tuple(sorted(files)), count <= _MOST_FILES)


def _files_near(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it, but for stores, what lies beside them, and what is hidden."""
    for here, names, files in os.walk(folder):
        place = Path(here)
        stores = {name for name in names if (place / name / "snapshots").is_dir() and (place / name / "repo").exists()}
        apart = stores | {f"{store}.{kind}" for store in stores for kind in BESIDE}
        deep = len(place.relative_to(folder).parts) >= FOLDERS_BELOW
        names[:] = [] if deep else sorted(name for name in names if name not in apart and not name.startswith("."))
        yield from (place / name for name in files if not (place / name).is_symlink())


def _tags_in(folder: Path) -> set[str]:
    """The tags that a publication's note names; none where it cannot be read."""
    try:
        return {one.tag for one in read_note(folder).values()}
    except SpecError:
        return set()
