"""The pages of an analysis: one a video with its player, curves and pictures, and an index of all; files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from affstore.flows.report.analysis_charts import sound_charts, subject_charts
from affstore.flows.report.analysis_media import begins_at_s, player_address, sound_of, thumbnails
from affstore.flows.report.analysis_overlay import overlay
from affstore.flows.report.pages import Script, digest_of_templates, render
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import LabelSpace
from affstore.store.contract.records import Record
from affstore.tasks.analysis.comparison import comparisons
from affstore.tasks.analysis.summary import Episode, Measure, rows_of, subjects_in

_VERSION = 1
"""Raised whenever the same facts and templates would give another page."""

_TEMPLATES = ("analysis_video.html", "analysis_video.js", "analysis.css", "base.html", "parts.html", "style.css")


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """A video's line of the index.

    Attributes:
        name: of the video.
        page: its page.
        seconds: how long it is.
        frames: how many.
        subjects: who is in it.
        face: share of frames with a face.
        expression: the expression that leads longest, with its share of the frames with a face; empty without one.
        valence: mean; None without.
        arousal: mean; None without.
        speech: share of frames with speech; None without sound.
        remark: what to know of it.
    """

    name: str
    page: str
    seconds: float
    frames: int
    subjects: str
    face: float
    expression: str
    valence: float | None
    arousal: float | None
    speech: float | None
    remark: str = ""


def entry_of(table: pa.Table, found: Sequence[Measure], seconds: float, remark: str) -> VideoEntry:
    """The index's line of a video.

    Args:
        table: its frames.
        found: its measures.
        seconds: how long it is.
        remark: what to know of it.
    """
    name, subjects = table["video"][0].as_py(), subjects_in(table)
    means = {(one.subject, one.measure): one.mean for one in found}
    first = subjects[0]
    present = max((means[subject, "present"] or 0.0) for subject in subjects)
    leading = ""
    if "expression" in table.column_names:
        said = [one for one in table["expression"].to_pylist() if one]
        if said:
            best = max(sorted(set(said)), key=said.count)
            leading = f"{best} {said.count(best) / len(said):.0%}"
    return VideoEntry(
        name,
        f"videos/{quote(name)}.html",
        seconds,
        rows_of(table, first).num_rows,
        ", ".join(subjects),
        present,
        leading,
        means.get((first, "valence")),
        means.get((first, "arousal")),
        means.get((first, "speech")),
        remark,
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that could not be used.

    Attributes:
        store: whose quarantine it is in; empty for a video of which only the files could not be written.
        artifact: its path there, or empty.
        stage: that could not use it.
        name: of the file.
        reason: why, in a sentence.
    """

    store: str
    artifact: str
    stage: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class VideoFacts:
    """What the page of a video is drawn from, beside its table.

    Attributes:
        source: the video.
        clock: its frames' times.
        file: its file; None where that is gone.
        page: where the page will be, from whose folder the player's address is told.
        spaces: of the labels in its table.
        notes: what to know of it.
        networks: what it was made by.
    """

    source: Record
    clock: FrameClock
    file: Path | None
    page: Path
    spaces: tuple[LabelSpace, ...]
    notes: tuple[str, ...]
    networks: tuple[str, ...]

    @property
    def player(self) -> str:
        """The address of the video's file; empty without one."""
        return player_address(self.file, self.page) if self.file else ""

    def key(self, table_key: str) -> str:
        """What decides the page: two of one key look the same.

        Args:
            table_key: what decides the table.
        """
        drawn = [_VERSION, digest_of_templates(_TEMPLATES), [space.definition() for space in self.spaces]]
        return key_of([drawn, table_key, self.player, list(self.notes), list(self.networks)])


def video_page(
    table: pa.Table, entry: VideoEntry, found: Sequence[Measure], runs: Sequence[Episode], facts: VideoFacts
) -> str:
    """The page of a video.

    Args:
        table: its frames.
        entry: its line of the index.
        found: its measures.
        runs: its episodes.
        facts: all else.
    """
    file, source, clock = facts.file, facts.source, facts.clock
    rows = {subject: rows_of(table, subject) for subject in subjects_in(table)}
    compared = {subject: list(comparisons(of, facts.spaces)) for subject, of in rows.items()}
    charts = [(subject, subject_charts(of, clock, facts.spaces)) for subject, of in rows.items()]
    heard = sound_charts(next(iter(rows.values())), clock, sound_of(file, source) if file else None)
    return render(
        "analysis_video.html",
        title=entry.name,
        entry=entry,
        files=entry.page.removeprefix("videos/").removesuffix(".html"),
        player=facts.player,
        thumbnails=thumbnails(file, table, clock, source) if file else [],
        charts=[*charts, *([("sound", heard)] if heard else [])],
        compared=[(subject, one) for subject, of in compared.items() for one in of],
        data=overlay(table, clock, source, compared, begins_at_s(file) if file else 0.0),
        found=[one for one in found if one.measure != "present"],
        runs=runs,
        notes=facts.notes,
        networks=facts.networks,
        script=Script.of("analysis_video.js"),
    )


def index_page(
    entries: Sequence[VideoEntry], refused: Sequence[Refused], notes: Sequence[str], columns: Mapping[str, str]
) -> str:
    """The index of all videos, which filters, sorts and searches.

    Args:
        entries: of the videos.
        refused: files that could not be used.
        notes: what to know of all of it.
        columns: of the tables, with what they mean.
    """
    return render(
        "analysis_index.html",
        title="Videos",
        entries=entries,
        refused=refused,
        notes=notes,
        columns=columns,
        script=Script.of("analysis_index.js"),
    )
