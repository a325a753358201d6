"""Which artifact and frame a text means: an artifact's path, an experiment and a frame, or a line of a file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SchemaError, SpecError, nearest
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import MAIN, in_order, split_subject, video_name
from affstore.store.contract.records import SLASH, Address, Record
from affstore.store.contract.schema import families
from affstore.store.engine.frames import columns_of
from affstore.store.engine.reading import find_address, find_source, video_names
from affstore.tasks.lineage.publication import find_note, opened_at

_IMAGE = re.compile(r"\s*(\S(?:.*\S)?)/(\d+)\.jpg\s*(?:,(.*))?")
_FILE_LINE = re.compile(r"(.+):([0-9]{1,15})")
_FRAME = re.compile(r"(.+)/([0-9]{1,300})")
_PREDICTED = "prediction"
"""How the names of those columns of an exported table begin that hold what is predicted."""

_ROUNDING = 6e-5
"""Published numbers have four decimals."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A line of a published file, and how it was found who published it.

    Attributes:
        file: its path.
        line: counted from 1, the header included; of a Parquet file, the row counted from 1.
        text: of the line; of a Parquet file what the row says is predicted, or empty.
        noted: whether a note beside the file says who published it; else its name and content do.
        snapshot: that it was published from, or in which its content was found or, where that is not compared, its
            place was.
        tag: that names it; empty where none is known.
        unaltered: whether the file's bytes are those that were published; None without a note.
        agrees: whether the line says what the store says; None where that cannot be compared.
        remark: what is special about the line; empty else.
    """

    file: str
    line: int
    text: str
    noted: bool
    snapshot: str
    tag: str = ""
    unaltered: bool | None = None
    agrees: bool | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be traced.

    Attributes:
        address: the artifact.
        frame: 0-based; None for the artifact as a whole.
        published: the line of a published file that it was found by; None without.
    """

    address: Address
    frame: int | None = None
    published: PublishedRow | None = None


def find_row(store: FeatureStore, text: str) -> tuple[FeatureStore, Row]:
    """The row that a text names, and the store at the snapshot in which it is.

    Args:
        store: an open store; a published line is looked for at the snapshot that it was published from, unless the
            store was opened at another one on purpose.
        text: an artifact's path, with or without `/FRAME`; `EXPERIMENT/VIDEO[/SUBJECT]/FRAME`; or `FILE:LINE`.

    Raises:
        NotFoundError: there is no such artifact, video, frame, file or line.
        SpecError: the text names no row, or more than one.
    """
    in_file = _FILE_LINE.fullmatch(text) if _artifact(store, text) is None else None
    if in_file and (Path(in_file[1]).is_file() or "." in Path(in_file[1]).name):
        return _in_file(store, Path(in_file[1]), int(in_file[2]))
    address, frame = _address_and_frame(store, text)
    record = store.get(address)
    if frame is not None:
        _check_frame(record, frame)
    return store, Row(address, frame)


def _check_frame(record: Record, frame: int) -> None:
    frames = record.attributes.get("frames")
    if frames is None or frame >= int(frames):
        what = f"has the frames 0 to {int(frames) - 1}" if frames else "has no frames"
        raise NotFoundError(f"'{record.address}' {what}; there is no frame {frame}.")


def _address_and_frame(store: FeatureStore, text: str) -> tuple[Address, int | None]:
    address = _artifact(store, text)
    if address is not None:
        return address, None
    framed = _FRAME.fullmatch(text)
    if framed is None:
        raise _no_row(store, text)
    return _artifact(store, framed[1]) or _prediction(store, framed[1], text), int(framed[2])


def _artifact(store: FeatureStore, path: str) -> Address | None:
    """The address whose path this is, if the store has it."""
    try:
        address = find_address(store, path)
    except SchemaError:
        return None
    return address if store.find(address) is not None else None


def _prediction(store: FeatureStore, path: str, text: str) -> Address:
    """The prediction that `EXPERIMENT/VIDEO` or `EXPERIMENT/VIDEO/SUBJECT` names."""
    producers = sorted(_experiments(store), key=len, reverse=True)
    for written, producer in ((form, one) for one in producers for form in {one, one.replace("/", SLASH)}):
        if path.startswith(f"{written}/"):
            video, slash, subject = path[len(written) + 1 :].rpartition("/")
            video, subject = (video, subject) if slash else (subject, "")
            source = find_source(store, video).address.video
            subjects = _subjects(store, producer, source)
            chosen = subject or (subjects[0] if len(subjects) == 1 else MAIN)
            if chosen in subjects:
                return Address("prediction", producer, source, chosen)
            there = ", ".join(subjects) or "none"
            raise NotFoundError(
                f"'{producer}' has no prediction of '{video}' for subject '{chosen}'; it has: {there}. "
                "Name it as EXPERIMENT/VIDEO/SUBJECT/FRAME."
            )
    raise _no_row(store, text)


def _experiments(store: FeatureStore) -> list[str]:
    """The names of the experiments that have predictions."""
    return [name.replace(SLASH, "/") for name in store.children("prediction")]


def _subjects(store: FeatureStore, producer: str, video: str) -> list[str]:
    """Whose predictions an experiment has in a video."""
    return in_order(store.children(f"prediction/{producer.replace('/', SLASH)}/{video}"))


def _no_row(store: FeatureStore, text: str) -> SpecError | NotFoundError:
    """The error for what names no row, with the nearest that does."""
    for file in (text, text.rpartition(":")[0]):
        if os.path.isfile(file):
            return SpecError(
                f"'{text}' names no line of '{file}'. Name one by its number, as in '{file}:2'; lines are counted from "
                "1, the header included."
            )
    for name in _experiments(store):
        if f"{text}/".startswith((f"{name}/", f"{name.replace('/', SLASH)}/")):
            return SpecError(
                f"'{text}' names no frame of the experiment '{name}'. Name one as {name}/VIDEO/FRAME or "
                f"{name}/VIDEO/SUBJECT/FRAME."
            )
    begin = text.split("/", 1)[0]
    otherwise = "Give an artifact's path, EXPERIMENT/VIDEO/FRAME, or FILE:LINE of a published file."
    if near := nearest(begin, _experiments(store)):
        otherwise = f"Did you mean '{near}'?"
    elif begin in families():
        otherwise = "`affstore show` lists what there is."
    return NotFoundError.of(store.url, "", text, (address.path for address in store.addresses()), otherwise)


# Lines of published files


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """What a line of a published file says: whose frame it is, and what can be compared, if anything.

    Attributes:
        text: of the line.
        name: of the video.
        subject: whose; may be empty.
        frame: 0-based.
        values: of a line of a challenge file.
        cells: of a row of a table, those of its columns that hold what is predicted; None of another file.
    """

    text: str
    name: str
    subject: str
    frame: int
    values: Sequence[float] | None
    cells: Mapping[str, Any] | None = None

    @classmethod
    def of_table(cls, cells: Mapping[str, Any], text: str = "") -> PublishedLine:
        """The same of a row of a table, by its columns' names."""
        said = {name: cell for name, cell in cells.items() if name.startswith(_PREDICTED)}
        whole = text or ", ".join(f"{name} {cell}" for name, cell in said.items())
        return cls(whole, cells["video"], cells["subject"] or "", int(cells["frame"]), None, said)


def _in_file(store: FeatureStore, path: Path, number: int) -> tuple[FeatureStore, Row]:
    if not path.is_file():
        raise NotFoundError(f"There is no file '{path}', so it has no line {number}. Check the path.")
    line = _read_line(path, number)
    note = find_note(path)
    if note is not None:
        opened = store if store.at else opened_at(store.url, path, note, in_copies=True)
        row = PublishedRow(
            str(path), number, line.text, True, note.snapshot, note.tag, digest_file(path) == note.sha256
        )
        if note.producer.partition("/")[0] in families():
            return opened, _analysed(opened, line, row, note.producer)
        return opened, _resolved(opened, line, row, note.producer)
    tags = {snapshot: tag for tag, snapshot in store.tags().items()}
    if line.cells is not None:
        return _exported(store, line, PublishedRow(str(path), number, line.text, False, store.snapshot), tags)
    for opened in _states(store):
        row = PublishedRow(str(path), number, line.text, False, opened.snapshot, tags.get(opened.snapshot, ""))
        producers = _experiments(opened)
        found = [one for name in producers if (one := _if_it_says_so(opened, line, row, name)) is not None]
        called = [one for one in found if one.address.producer == path.stem]
        if len(called or found) == 1:
            return opened, (called or found)[0]
        if found:
            names = ", ".join(one.address.producer for one in found)
            raise SpecError(
                f"No note beside '{path}' says which experiment published it, and several say the same of that frame: "
                f"{names}. Name the row as EXPERIMENT/VIDEO/FRAME."
            )
    raise NotFoundError(
        f"No note beside '{path}' says which experiment published it, and no prediction in the store at '{store.url}', "
        f"now or under a tag, says what its line {number} does. Name the store that it came from with --store."
    )


def _analysed(store: FeatureStore, line: PublishedLine, published: PublishedRow, producer: str) -> Row:
    """What a line of a table of `affstore analyze` is of: outputs for a subject, or the video where there are none."""
    family, _, name = producer.partition("/")
    video = find_source(store, line.name).address.video
    address = Address(family, name, video, line.subject or MAIN)
    if store.find(address) is None:
        address = Address("source", video=video)
    return Row(address, line.frame, published)


def _states(store: FeatureStore) -> Iterable[FeatureStore]:
    """The states of the store in which the origin of a file without a note is looked for."""
    yield store
    if not store.at:
        for tag, snapshot in store.tags().items():
            if snapshot != store.snapshot:
                yield store.state(tag)


def _exported(
    store: FeatureStore, line: PublishedLine, published: PublishedRow, tags: Mapping[str, str]
) -> tuple[FeatureStore, Row]:
    """The row of a table that `affstore export` wrote, in the first state of the store that says what it says.

    Where no state does, or the row holds nothing that can be compared, its place alone says what it is of.
    """
    address = _address_of_table(Path(published.file), line)
    frame = line.frame
    if address.family == "prediction" and line.cells:
        for opened in _states(store):
            if _agrees(opened, address, frame, line):
                row = replace(published, snapshot=opened.snapshot, tag=tags.get(opened.snapshot, ""), agrees=True)
                return opened, Row(address, frame, row)
    _check_frame(store.get(address), frame)
    return store, Row(address, frame, replace(published, agrees=_agrees(store, address, frame, line)))


def _address_of_table(path: Path, line: PublishedLine) -> Address:
    """The artifact that a row of a table is of, which is called `FAMILY/PRODUCER.parquet` or `.csv`."""
    whole = path.resolve().with_suffix("")
    for folder in whole.parents:
        if folder.name in families():
            schema, producer = families()[folder.name], whole.relative_to(folder).as_posix()
            parts = {"producer": producer, "video": line.name, "subject": line.subject or MAIN}
            return Address(folder.name, **{part: text for part, text in parts.items() if f"{{{part}}}" in schema.path})
    raise SpecError(
        f"No note beside '{path}' says who published it, and it is not called FAMILY/PRODUCER{path.suffix}, as "
        "exported tables are. Name the row by its artifact's path and frame."
    )


def _if_it_says_so(store: FeatureStore, line: PublishedLine, row: PublishedRow, producer: str) -> Row | None:
    """The row of an experiment that a line may be of, if its stored prediction is what the line says."""
    try:
        found = _resolved(store, line, row, producer)
    except NotFoundError:
        return None
    return found if found.published and found.published.agrees else None


def _resolved(store: FeatureStore, line: PublishedLine, published: PublishedRow, producer: str) -> Row:
    """The stored prediction that a line of a file holds; the head alone where it holds that of nobody."""
    meant = predictions_meant(store, producer, line.name, line.subject)
    if not meant.likely and store.find(Address("head", producer)) is None:
        raise NotFoundError(f"'{producer}' has no prediction of '{line.name}' in the store at '{store.url}'.")
    frame, remark = min(line.frame, meant.frames - 1), ""
    if line.frame >= meant.frames:
        remark = f"it lies past the video's {meant.frames} frames and repeats the last one's prediction"
    agreeing = {address: _agrees(store, address, frame, line) for address in meant.likely}
    chosen = next((one for one in meant.likely if agreeing[one] is not False), meant.named)
    if chosen is None:
        remark = f"no face of '{line.name}' was found: the line holds what the head says of nobody, its prior"
        return Row(store.get(Address("head", producer)).address, None, replace(published, remark=remark))
    return Row(chosen, frame, replace(published, agrees=agreeing[chosen], remark=remark))


@dataclass(frozen=True, slots=True)
class PredictionsMeant:
    """What a name in a published file may stand for.

    Attributes:
        frames: of the video.
        likely: the predictions that its lines may be of, the first one most likely; none where nobody was found.
        named: the one that the name says; None where it is another person's, or nobody's.
    """

    frames: int
    likely: tuple[Address, ...]
    named: Address | None


def predictions_meant(store: FeatureStore, producer: str, name: str, subject: str = "") -> PredictionsMeant:
    """What the store has predicted of a video, or of one person in it, as published files call them.

    Raises:
        NotFoundError: there is no such video.
    """
    video, subject = (name, subject) if subject else split_subject(video_name(name), video_names(store))
    source = find_source(store, video)
    of = source.address.video
    there = {one: Address("prediction", producer, of, one) for one in _subjects(store, producer, of)}
    named = there.get(subject)
    return PredictionsMeant(int(source.attributes["frames"]), (named,) if named else tuple(there.values()), named)


def _agrees(store: FeatureStore, address: Address, frame: int, line: PublishedLine) -> bool | None:
    """Whether a prediction is what a line says; None where the line says nothing that can be compared with it."""
    record = store.find(address) if line.cells or line.values is not None else None
    if record is None or address.family != "prediction" or frame >= int(record.attributes["frames"]):
        return None
    stored = store.read(address, ["prediction"], slice(frame, frame + 1))["prediction"]
    if line.values is not None:
        return len(line.values) == stored.shape[1] and bool(is_said(stored, np.array([line.values]))[0])
    cells, columns = line.cells or {}, columns_of(record, {"prediction": stored})
    return all(name in cells and _is_cell(cells[name], column[0].as_py()) for name, column in columns.items())


def _is_cell(cell: Any, stored: Any) -> bool:
    """Whether a cell, which may be a text, holds what is stored."""
    if stored is None or isinstance(stored, str):
        return (cell or None) == stored
    try:
        near = np.isclose(float(cell), stored, rtol=0, atol=_ROUNDING)
        return bool(near or np.float32(float(cell)) == np.float32(stored))
    except (TypeError, ValueError):
        return False


def is_said(stored: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of each row of published numbers, whether it says what is stored, as exactly as such files do."""
    return np.isclose(stored.astype(np.float64), values, rtol=0, atol=_ROUNDING).all(1)


def _read_line(path: Path, number: int) -> PublishedLine:
    if path.suffix == ".parquet":
        return _parquet_row(path, number)
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = next(islice(file, number - 1, None), None) if number else None
    except UnicodeDecodeError as error:
        raise SpecError(f"'{path}' is no text, so it is no challenge file, and no Parquet either.") from error
    if text is None:
        raise NotFoundError(f"'{path}' has no line {number}; lines are counted from 1, the header included.")
    if (row := _table_row(path, text)) is not None:
        return row
    return read_challenge_line(path, text, number)


def read_challenge_line(path: Path, text: str, number: int) -> PublishedLine:
    """What a line of a challenge file says.

    Raises:
        SpecError: it names no frame.
    """
    found = _IMAGE.fullmatch(text.rstrip("\n"))
    if found is None or int(found[2]) < 1:
        raise SpecError(
            f"Line {number} of '{path}' names no frame: expected 'video/00001.jpg,…', found {text.strip()[:80]!r}."
        )
    return PublishedLine(text.strip(), found[1], "", int(found[2]) - 1, _numbers(found[3]))


def _table_row(path: Path, text: str) -> PublishedLine | None:
    """What a line of a table with the columns video, frame and subject is of; None of its header and of other files."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    cells = dict(zip(names, next(csv.reader([text]), []), strict=False))
    if not {"video", "frame", "subject"} <= cells.keys() or not cells["frame"].isdecimal():
        return None
    return PublishedLine.of_table(cells, text.strip())


def _numbers(cells: str | None) -> list[float] | None:
    """The values of a line; none at all where one is no number, so that they agree with nothing, and None without."""
    if cells is None:
        return None
    try:
        return [float(cell) for cell in cells.split(",") if cell.strip()]
    except ValueError:
        return []


def _parquet_row(path: Path, number: int) -> PublishedLine:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if 0 < number <= first + rows:
                predicted = [name for name in file.schema_arrow.names if name.startswith(_PREDICTED)]
                table = file.read_row_group(group, ["video", "subject", "frame", *predicted])
                (row,) = table.slice(number - first - 1, 1).to_pylist()
                return PublishedLine.of_table(row)
            first += rows
    except (pa.ArrowException, KeyError) as error:
        raise SpecError(f"'{path}' is no table that affstore exported: {' '.join(str(error).split())[:200]}") from error
    raise NotFoundError(f"'{path}' has no row {number}; it has {first}, counted from 1.")
