"""A table of frames in a few numbers: means, changes from frame to frame, and episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affstore.tasks.analysis.frame_table import PLACE_COLUMNS

_SHORTEST_S = 0.2
"""Shorter runs of one expression, or of speech, are no episodes."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of a video's table in numbers, for one subject.

    Attributes:
        video: its name.
        subject: whose rows.
        measure: the column that is measured, as `valence`.
        frames: how many frames have a value in it.
        share: the share of the video's frames that these are, 0 to 1.
        mean: the mean over them; of `present` and `speech`, the share of frames that are true.
        sd: standard deviation over them; nothing for a single frame.
        mean_change: mean absolute difference of neighbouring frames that both have a value.
        sd_change: standard deviation of these differences.
    """

    video: str
    subject: str
    measure: str
    frames: int
    share: float
    mean: float | None
    sd: float | None
    mean_change: float | None
    sd_change: float | None


@dataclass(frozen=True, slots=True)
class Episode:
    """A run of frames with one leading expression, or with speech.

    Attributes:
        video: its name.
        subject: whose face; empty for speech.
        kind: `expression` or `speech`.
        label: which expression; for speech, `speech`.
        first_frame: the number of its first frame.
        start_s: when that frame begins to play, in seconds.
        end_s: when the frame after its last one begins to play, or the video ends, in seconds.
        frames: how many frames it has.
        mean_probability: the mean probability of the label over these frames.
    """

    video: str
    subject: str
    kind: str
    label: str
    first_frame: int
    start_s: float
    end_s: float
    frames: int
    mean_probability: float


def subjects_in(table: pa.Table) -> list[str]:
    """The subjects of a video's table, in order."""
    return list(dict.fromkeys(table["subject"].to_pylist()))


def rows_of(table: pa.Table, subject: str) -> pa.Table:
    """The rows of one subject."""
    return table.filter(pc.equal(table["subject"], subject))


def values_of(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where it is empty."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def measures(table: pa.Table) -> list[Measure]:
    """Every column of numbers that is no place in the picture, for every subject; `present` first."""
    wanted = [
        field.name
        for field in table.schema
        if (pa.types.is_floating(field.type) or pa.types.is_boolean(field.type))
        and field.name != "time_s"
        and field.name not in PLACE_COLUMNS
    ]
    video = table["video"][0].as_py()
    found = []
    for subject in subjects_in(table):
        rows = rows_of(table, subject)
        found += [_measure(video, subject, name, values_of(rows, name)) for name in wanted]
    return found


def episodes(table: pa.Table, end_s: float) -> list[Episode]:
    """The episodes of a video: expressions of every subject, and speech once."""
    subjects = subjects_in(table)
    found: list[Episode] = []
    for subject in subjects:
        rows = rows_of(table, subject)
        if "expression" in table.column_names:
            found += _episodes(rows, "expression", rows["expression"].to_pylist(), end_s)
    if "speech" in table.column_names:
        rows = rows_of(table, subjects[0])
        found += _episodes(rows, "speech", ["speech" if one else None for one in rows["speech"].to_pylist()], end_s)
    return found


def _measure(video: str, subject: str, name: str, values: NDArray[np.float64]) -> Measure:
    known = values[np.isfinite(values)]
    changes = np.abs(np.diff(values))
    changes = changes[np.isfinite(changes)]
    return Measure(
        video,
        subject,
        name,
        len(known),
        len(known) / len(values) if len(values) else 0.0,
        *_mean_and_sd(known),
        *_mean_and_sd(changes),
    )


def _mean_and_sd(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    mean = float(values.mean()) if len(values) else None
    return mean, float(values.std(ddof=1)) if len(values) > 1 else None


def _episodes(rows: pa.Table, kind: str, labels: list[Any], end_s: float) -> Iterator[Episode]:
    edges = np.append(values_of(rows, "time_s"), end_s)
    video, subject = rows["video"][0].as_py(), rows["subject"][0].as_py() if kind == "expression" else ""
    first = 0
    for label, run in groupby(labels):
        last = first + sum(1 for _ in run)
        if label is not None and edges[last] - edges[first] >= _SHORTEST_S - _ROUNDING:
            name = "speech_probability" if kind == "speech" else f"p_{label}"
            mean = float(np.nanmean(values_of(rows, name)[first:last]))
            start, end = float(edges[first]), float(edges[last])
            yield Episode(video, subject, kind, str(label), first, start, end, last - first, mean)
        first = last
