"""The folder that `affstore analyze` writes: what was noted of each video in it, and the lists that stand for all."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from affstore import FeatureStore
from affstore.flows.report.analysis_pages import Refused, VideoEntry, entry_of, index_page
from affstore.store.contract.files import write_text
from affstore.store.contract.names import split_subject
from affstore.tasks.analysis.frame_table import COLUMNS, write_table
from affstore.tasks.analysis.summary import Episode, Measure, episodes, measures, values_of

REFUSED = "quarantine.csv"


@dataclass(frozen=True, slots=True)
class VideoNote:
    """What is noted beside a video's table and page, so that lists of the whole folder need no store.

    Attributes:
        page: what decides the page.
        entry: its line of the index.
        measures: its numbers.
        episodes: its episodes.
        notes: what was to know of all videos of the call that wrote it.
    """

    page: str
    entry: VideoEntry
    measures: tuple[Measure, ...]
    episodes: tuple[Episode, ...]
    notes: tuple[str, ...]


def note_of(path: Path) -> VideoNote | None:
    """What is noted in a file, or None where there is no such file or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return VideoNote(
            found["page"],
            VideoEntry(**found["entry"]),
            tuple(Measure(**one) for one in found["measures"]),
            tuple(Episode(**one) for one in found["episodes"]),
            tuple(found["notes"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_note_of(note: VideoNote, path: Path) -> None:
    """Note something beside a video's table."""
    write_text(path, json.dumps(asdict(note), ensure_ascii=True) + "\n")


def numbers_of(
    table: pa.Table, seconds: float, end_s: float, remark: str
) -> tuple[VideoEntry, tuple[Measure, ...], tuple[Episode, ...]]:
    """The line of the index, the measures and the episodes of a video, from its table."""
    found = tuple(measures(table))
    return entry_of(table, found, seconds, remark), found, tuple(episodes(table, end_s))


def write_lists(folder: Path, refused: Sequence[Refused]) -> list[VideoEntry]:
    """Write the index and the lists of everything that lies in the folder, whichever call wrote it.

    Returns:
        The lines of the index.
    """
    found = _noted(folder / "videos")
    write_csv([one for note in found for one in note.measures], Measure, folder / "summary.csv")
    write_csv([one for note in found for one in note.episodes], Episode, folder / "episodes.csv")
    if refused or (folder / REFUSED).is_file():
        write_csv(refused, Refused, folder / REFUSED)
    notes: dict[str, int] = {}
    for note in found:
        for text in note.notes:
            notes[text] = notes.get(text, 0) + 1
    shown = [
        text if count == len(found) else f"{text} ({count} of {len(found)} videos)" for text, count in notes.items()
    ]
    entries = [note.entry for note in found]
    write_text(folder / "index.html", index_page(entries, refused, shown, COLUMNS))
    return entries


def refused_files(store: FeatureStore, names: Iterable[str], folder: Path) -> list[Refused]:
    """The files in quarantine that this call, or an earlier one into the same folder, was about.

    Args:
        store: an open store.
        names: of videos, and of files that are none.
        folder: that earlier calls wrote.
    """
    wanted = set(names)
    here = {one.artifact: one for one in quarantined(store)}
    found = {(one.store, one.artifact): one for one in here.values() if _video_of(one.name, wanted) in wanted}
    for one in _noted_refused(folder / REFUSED):
        if one.store != store.url or one.artifact in here:
            found.setdefault((one.store, one.artifact), here.get(one.artifact, one) if one.store == store.url else one)
    return sorted(found.values(), key=lambda one: (one.name, one.stage, one.artifact))


def quarantined(store: FeatureStore) -> list[Refused]:
    """Every file in a store's quarantine."""
    return [
        Refused(
            store.url,
            record.address.path,
            record.address.producer,
            str(record.attributes["name"]),
            str(record.attributes["reason"]),
        )
        for record in store.records("quarantine")
    ]


def is_about(refused: Refused, video: str) -> bool:
    """Whether a refused file is a video's own or one of its annotations."""
    return _video_of(refused.name, {video}) == video


def write_csv(rows: Sequence[Any], kind: type, path: Path) -> None:
    """Write dataclasses as a table with a column a field."""
    names = [field.name for field in dataclasses.fields(kind)]
    write_table(pa.table({name: pa.array([getattr(row, name) for row in rows]) for name in names}), path)


def _video_of(name: str, videos: set[str]) -> str:
    """Which video a file's name is about: an annotation is called as its video, perhaps with a subject's name."""
    stem = name.rpartition(".")[0] or name
    whole = next((one for one in (name, stem) if one in videos), None)
    return whole or split_subject(stem, videos)[0]


def _noted(folder: Path) -> list[VideoNote]:
    """What is noted of every video that has a page here, by name; a table without a note is read."""
    found = []
    for page in sorted(folder.glob("*.html")):
        note = note_of(page.with_suffix(".json")) or _from_table(page.with_suffix(".parquet"))
        if note is not None:
            found.append(note)
    return found


def _from_table(path: Path) -> VideoNote | None:
    """What the table of an earlier version tells; the last frame is taken to play as long as the mean one."""
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError):
        return None
    times = sorted(set(values_of(table, "time_s").tolist()))
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return VideoNote("", *numbers_of(table, times[-1] + step - times[0], times[-1] + step, ""), ())


def _noted_refused(path: Path) -> list[Refused]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [Refused(**row) for row in csv.DictReader(file)]
    except (OSError, csv.Error, TypeError, ValueError):
        return []
    return [one for one in rows if one.artifact]  # what could not be written then is tried again
