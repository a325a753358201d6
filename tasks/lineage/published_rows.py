"""Whether published files say what the store does: each line of challenge files, each column of tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SignatureError
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import families
from affstore.store.engine.exporters.parquet import ParquetExporter
from affstore.store.engine.reading import find_source
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table, inputs_of
from affstore.tasks.lineage.publication import PublishedFile, check_published, opened_at, published_state, read_note
from affstore.tasks.lineage.rows import PublishedLine, is_said, predictions_meant, read_challenge_line

_PRINTED = 1e-6
"""By what part of a number its text in a table may differ from it."""


def opened_publication(
    store_url: str, folder: Path
) -> tuple[FeatureStore, dict[str, PublishedFile], dict[str, tuple[Record, ...]]]:
    """The store at a publication's snapshot, what its note says, and the records behind it; all is compared first.

    Raises:
        SpecError: the folder is no publication of one snapshot.
        SignatureError: a file has other bytes than were published or says other than the store, or the note names a
            tag or experiment that the snapshot has not.
        NotFoundError: there is no such folder, or the store has not the snapshot that was published.
    """
    noted = read_note(folder)
    _, tag = published_state(folder, noted)
    for name, one in noted.items():
        check_published(folder, name, one.sha256)
    store = opened_at(store_url, folder, next(iter(noted.values())))
    _check_tag(store, folder, tag)
    return store, noted, records_behind(store, folder, noted)


def _check_tag(store: FeatureStore, folder: Path, tag: str) -> None:
    """See that the tag that a note names is of the snapshot that it names."""
    if not tag:
        return
    store.check_not_retracted(tag)
    named = store.tags().get(tag)
    if named != store.snapshot:
        what = f"the store's is of {named}" if named else f"the store at '{store.url}' has none of that name"
        raise SignatureError(
            f"The note in '{folder}' says that the tag '{tag}' is of the snapshot {store.snapshot}; {what}. Get the "
            "publication anew."
        )


def records_behind(
    store: FeatureStore, folder: Path, noted: Mapping[str, PublishedFile]
) -> dict[str, tuple[Record, ...]]:
    """By who made published files, the artifacts whose numbers they hold; the files are compared with them.

    Lines for a person who was never found hold what is predicted of nobody; they need only be the same throughout.

    Args:
        store: at the snapshot that the files were written from.
        folder: of the files.
        noted: what the publication's note says of each.

    Raises:
        SignatureError: a file says other than the store, or the store has nothing of who should have made it.
    """
    found: dict[str, dict[Address, Record]] = {}
    for name, one in sorted(noted.items()):
        records = _compared(store, folder / name, one.producer)
        found.setdefault(one.producer, {}).update({record.address: record for record in records})
    return {producer: tuple(records.values()) for producer, records in found.items()}


def _compared(store: FeatureStore, path: Path, producer: str) -> Sequence[Record]:
    family, _, network = producer.partition("/")
    try:
        if family in families() and network:
            return _compared_analysis(store, path, network)
        records = [record for record in store.records("prediction") if record.address.producer == producer]
        if not records:
            raise SignatureError(
                f"'{path}' is noted as of '{producer}', which has no predictions in the snapshot {store.snapshot} that "
                "the note names. Get the publication anew."
            )
        if path.suffix == ".parquet":
            _compare(path, pq.read_table(path, partitioning=None), ParquetExporter().tables(store, records))
        elif path.suffix == ".csv":
            networks = AnalysisNetworks(heads=(producer,))
            _compare_table(path, [frame_table(store, video, networks) for video in _videos_in(store, path)])
        else:
            _compare_lines(store, path, producer, records[0])
    except (NotFoundError, pa.ArrowException, OSError, ValueError) as error:
        raise SignatureError(f"'{path}' cannot be compared with the store: {_sentence(error)}") from error
    return records


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if text.endswith(".") else f"{text}. Get the publication anew."


# Challenge files


def _compare_lines(store: FeatureStore, path: Path, producer: str, one: Record) -> None:
    """See that every line says what the store does; which person is meant is the same for all lines of a name."""
    with path.open(encoding="utf-8-sig") as file:
        header = [cell.strip().lower() for cell in next(file, "").rstrip(", \n").split(",")]
        lines = [(number, read_challenge_line(path, text, number)) for number, text in enumerate(file, 2)]
    labels = [str(label) for label in one.attributes["labels"]]
    if header[1:] != [label.lower() for label in labels]:
        raise SignatureError(
            f"The first line of '{path}' should name {', '.join(labels)} as the store does, and names "
            f"{', '.join(header[1:]) or 'nothing'}. Get the publication anew."
        )
    by_name: dict[str, list[tuple[int, PublishedLine]]] = {}
    for number, line in lines:
        by_name.setdefault(line.name, []).append((number, line))
    for name, own in by_name.items():
        _compare_name(store, path, producer, name, own)


def _compare_name(
    store: FeatureStore, path: Path, producer: str, name: str, lines: Sequence[tuple[int, PublishedLine]]
) -> None:
    meant = predictions_meant(store, producer, name)
    if len({len(line.values or ()) for _, line in lines}) > 1 or not lines[0][1].values:
        raise SignatureError(f"The lines of '{path}' for '{name}' differ in width. Get the publication anew.")
    values = np.array([line.values for _, line in lines], np.float64)
    frames = np.minimum([line.frame for _, line in lines], meant.frames - 1)
    wrong = np.ones(len(lines), bool)
    for address in meant.likely:
        stored = store.read(address, ["prediction"])["prediction"]
        said = is_said(stored[frames], values) if stored.shape[1] == values.shape[1] else np.zeros(len(lines), bool)
        if said.all():
            return
        wrong = ~said
    if meant.named is None and (values == values[0]).all():
        return  # of nobody: no face was found
    number, line = lines[int(np.argmax(wrong))]
    of = meant.likely[0].path if meant.likely else f"what '{producer}' predicts of '{name}'"
    raise SignatureError(
        f"Line {number} of '{path}' is '{line.text}'; the store says otherwise in {of}. Get the publication anew."
    )


# Tables


def _compared_analysis(store: FeatureStore, path: Path, expression: str) -> Sequence[Record]:
    """What a table of `affstore analyze` was made from: the networks whose numbers it holds."""
    videos, fault = _videos_in(store, path), None
    for networks in _networks(store, expression, _column_names(path)):
        try:
            _compare_table(path, [frame_table(store, video, networks) for video in videos])
        except SignatureError as error:
            fault = fault or error
        else:
            return [record for video in videos for record in inputs_of(store, video, networks)]
    raise fault or SignatureError(
        f"'{path}' has columns of networks that the snapshot {store.snapshot} has not. Analyze again into another "
        "folder."
    )


def _networks(store: FeatureStore, expression: str, columns: Sequence[str]) -> Iterator[AnalysisNetworks]:
    """Every choice of networks that a table with these columns may have been made with."""
    faces, sounds = ({one.producer for one in store.addresses(family)} for family in ("visual", "audio"))
    choices = (
        sorted(names) if column in columns else [""]
        for column, names in (("valence", faces), ("speech", sounds), ("voice_arousal", sounds))
    )
    for affect, speech, voice in product(*choices):
        yield AnalysisNetworks(expression, affect, speech, voice, labels=True)


def _column_names(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _videos_in(store: FeatureStore, path: Path) -> list[str]:
    """The videos of a table's rows, as the store calls them, in order of appearance."""
    if path.suffix == ".parquet":
        names = pq.read_table(path, columns=["video"], partitioning=None)["video"]
    else:
        options = pa.csv.ConvertOptions(include_columns=["video"], column_types={"video": pa.string()})
        names = pa.csv.read_csv(path, convert_options=options)["video"]
    return [find_source(store, str(name)).address.video for name in names.unique().to_pylist()]


def _compare_table(path: Path, tables: Sequence[pa.Table]) -> None:
    """Compare a table, as Parquet or as text; columns that the text leaves out are no fault."""
    if not tables:
        raise SignatureError(f"'{path}' has no rows, so nothing in it can be signed. Get the publication anew.")
    if path.suffix == ".parquet":
        return _compare(path, pq.read_table(path, partitioning=None), tables)
    kinds = {field.name: field.type for field in tables[0].schema}
    options = pa.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False)
    found = pa.csv.read_csv(path, convert_options=options)
    kept = [name for name in tables[0].column_names if name in found.column_names]
    return _compare(path, found, [table.select(kept) for table in tables])


def _compare(path: Path, found: pa.Table, expected: Iterable[pa.Table]) -> None:
    """See that a table holds the rows of others, one after the other, and no more."""
    first = 0
    for table in expected:
        _compare_part(path, found.slice(first, table.num_rows), table, first)
        first += table.num_rows
    if first != found.num_rows:
        raise SignatureError(
            f"'{path}' has {found.num_rows} rows, the store {first} of them. Get the publication anew."
        )


def _compare_part(path: Path, found: pa.Table, expected: pa.Table, first: int) -> None:
    if found.column_names != expected.column_names:
        odd = sorted({*found.column_names} ^ {*expected.column_names}) or ["the order of them"]
        raise SignatureError(
            f"'{path}' has other columns than the store gives it ({odd[0]}). Get the publication anew."
        )
    if found.num_rows != expected.num_rows:
        raise SignatureError(f"'{path}' lacks rows that the store has. Get the publication anew.")
    for name in expected.column_names:
        if not _is_same(found[name], expected[name]):
            raise SignatureError(
                f"The column '{name}' of '{path}' differs from the store's in its rows {first + 1} to "
                f"{first + expected.num_rows}. Get the publication anew."
            )


def _is_same(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(expected.type) or not pa.types.is_floating(found.type):
        return bool(found.cast(expected.type).equals(expected))
    one, other = (column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in (found, expected))
    return bool(np.allclose(one, other, rtol=_PRINTED, atol=_PRINTED, equal_nan=True))
