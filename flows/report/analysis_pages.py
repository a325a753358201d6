"""The pages of an analysis: one a video with its player, curves and pictures, and an index of all; files alone."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore.flows.report.pages import Script, render
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.tasks.analysis.summary import Episode, Measure, rows_of, subjects_in, values_of

_WIDE, _HIGH = 1000, 100
_THUMBNAILS, _THUMBNAIL_PX = 6, 96


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: what it is of.
        path: of SVG, in a box of 1000 × 100; broken where nothing is known.
        colour: number of its colour.
    """

    name: str
    path: str
    colour: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that share an axis.

    Attributes:
        title: what they are.
        low: the value at the bottom.
        high: the value at the top.
        curves: the lines.
    """

    title: str
    low: float
    high: float
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A face of the video.

    Attributes:
        text: whose it is, when, and what the network says.
        time_s: when.
        source: the picture as a data address.
    """

    text: str
    time_s: float
    source: str


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


def entry_of(table: pa.Table, found: Sequence[Measure], clock: FrameClock, remark: str) -> VideoEntry:
    """The index's line of a video."""
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
        clock.duration_s,
        len(clock),
        ", ".join(subjects),
        present,
        leading,
        means.get((first, "valence")),
        means.get((first, "arousal")),
        means.get((first, "speech")),
        remark,
    )


def video_page(
    table: pa.Table, entry: VideoEntry, found: Sequence[Measure], runs: Sequence[Episode], about: dict[str, object]
) -> str:
    """The page of a video.

    Args:
        table: its frames.
        entry: its line of the index.
        found: its measures.
        runs: its episodes.
        about: `player` (address of the file), `thumbnails`, `notes` and `networks`.
    """
    end_s = float(values_of(table, "time_s").max(initial=0)) or 1.0
    charts = [(subject, tuple(_charts(rows_of(table, subject), end_s))) for subject in subjects_in(table)]
    shown = [one for one in found if one.measure != "present"]
    return render(
        "analysis_video.html",
        title=entry.name,
        entry=entry,
        charts=charts,
        found=shown,
        runs=runs,
        end_s=end_s,
        script=Script.of("analysis_video.js"),
        **about,
    )


def index_page(entries: Sequence[VideoEntry], notes: Sequence[str], columns: Sequence[tuple[str, str]]) -> str:
    """The index of all videos, which filters and sorts."""
    script = Script.of("analysis_index.js")
    return render("analysis_index.html", title="Videos", entries=entries, notes=notes, columns=columns, script=script)


def player_address(video: Path, page: Path) -> str:
    """The video's file as the page names it: from the page's folder, so that both can be moved together."""
    try:
        return quote(Path(os.path.relpath(video, page.parent)).as_posix())
    except ValueError:  # on another drive
        return video.as_uri()


def thumbnails(video: Path, table: pa.Table, clock: FrameClock, source: Record) -> list[Thumbnail]:
    """Some faces of each subject: the surest frame of each part of the video that has one.

    Pictures are looked up by their timestamps; what cannot be read gives no picture, for the page is whole without.
    """
    wanted: dict[int, list[dict[str, Any]]] = {}
    for frame, row in _frames_to_show(table):
        wanted.setdefault(frame, []).append(row)
    found = []
    for frame, coded in _pictures(video, clock, sorted(wanted)):
        picture = _upright(coded, source)
        found += [shown for row in wanted[frame] if (shown := _thumbnail(row, picture)) is not None]
    return found


def _thumbnail(row: dict[str, Any], picture: NDArray[np.uint8]) -> Thumbnail | None:
    """The face of one row of a table, or None where its box lies outside the picture."""
    corners = [round(float(row[f"box_{corner}"])) for corner in ("x0", "y0", "x1", "y1")]
    x0, y0, x1, y1 = (max(0, corner) for corner in corners)
    face = picture[y0:y1, x0:x1]
    if not face.size:
        return None
    what = f", {row['expression']}" if row.get("expression") else ""
    text = f"{row['subject']} at {row['time_s']:.2f} s{what}"
    return Thumbnail(text, float(row["time_s"]), _data_address(face))


def _frames_to_show(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    for subject in subjects_in(table):
        rows = rows_of(table, subject)
        scores = np.nan_to_num(values_of(rows, "face_score"), nan=-1.0)
        for part in np.array_split(np.arange(len(scores)), min(_THUMBNAILS, max(1, len(scores)))):
            best = int(part[scores[part].argmax()]) if len(part) else 0
            if len(part) and scores[best] >= 0 and rows["box_x0"][best].as_py() is not None:
                yield best, rows.slice(best, 1).to_pylist()[0]


def _pictures(video: Path, clock: FrameClock, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Some frames of a video, found by their time."""
    import av

    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
            for frame in frames:
                wanted = int(clock.pts[frame]) * clock.time_base / base
                container.seek(int(wanted), stream=stream)
                for picture in container.decode(stream):
                    if picture.pts is None or picture.pts > wanted:
                        break
                    if picture.pts == wanted:
                        yield frame, np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                        break
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        return


def _upright(coded: NDArray[np.uint8], source: Record) -> NDArray[np.uint8]:
    """A decoded picture turned and stretched as it is displayed, to whose pixels boxes refer."""
    from PIL import Image

    turned = np.rot90(coded, int(source.attributes["rotation_deg"]) // 90)
    size = int(source.attributes["width"]), int(source.attributes["height"])
    return np.asarray(Image.fromarray(np.ascontiguousarray(turned)).resize(size), np.uint8)


def _data_address(face: NDArray[np.uint8]) -> str:
    from PIL import Image

    picture = Image.fromarray(face)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


_OF_CLASS = "_p_"
"""Between a label space of one's own and its class, in the name of a column."""
_UNIT_PROBABILITY = re.compile(r"AU[0-9]+_probability")
_VOICE = tuple(f"voice_{dimension}" for dimension in family("audio").places["dimension"])


def _charts(rows: pa.Table, end_s: float) -> Iterator[Chart]:
    of_own_spaces = [name for name in rows.column_names if _OF_CLASS in name]
    names = [name for name in rows.column_names if name not in of_own_spaces]
    groups = [
        ("Face", 0.0, 1.0, ["present"]),
        ("Expressions: probability", 0.0, 1.0, [name for name in names if name.startswith("p_")]),
        ("Valence and arousal", -1.0, 1.0, [name for name in ("valence", "arousal") if name in names]),
        ("Action units: probability", 0.0, 1.0, [name for name in names if _UNIT_PROBABILITY.fullmatch(name)]),
        *(
            (
                f"{space}: probability",
                0.0,
                1.0,
                [name for name in of_own_spaces if name.partition(_OF_CLASS)[0] == space],
            )
            for space in dict.fromkeys(name.partition(_OF_CLASS)[0] for name in of_own_spaces)
        ),
        ("Speech: probability", 0.0, 1.0, [name for name in ("speech_probability",) if name in names]),
        ("Voice", 0.0, 1.0, [name for name in names if name in _VOICE]),
    ]
    times = values_of(rows, "time_s")
    for title, low, high, columns in groups:
        curves = tuple(
            Curve(
                name.rpartition(_OF_CLASS)[2].removeprefix("p_"),
                _path(times / end_s, (values_of(rows, name) - low) / (high - low)),
                number % 8,
            )
            for number, name in enumerate(columns)
        )
        if any(curve.path for curve in curves):
            yield Chart(title, low, high, curves)


def _path(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    """A path of SVG through the means of at most 1000 blocks of frames; broken where a block has no value."""
    blocks = np.array_split(np.arange(len(up)), min(_WIDE, len(up))) if len(up) else []
    parts, drawing = [], False
    for block in blocks:
        known = up[block][np.isfinite(up[block])]
        if not len(known):
            drawing = False
            continue
        x, y = _WIDE * across[block[0]], _HIGH * (1 - np.clip(known.mean(), 0, 1))
        parts.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}" + ("" if drawing else "h.5"))
        drawing = True
    return "".join(parts)
