"""What the page of a video takes from the video's own file: its address, pictures of faces, and the sound."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore.models.media.container import as_fraction, best_video, opened
from affstore.models.media.sound import Sound, read_sounds
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.records import Record
from affstore.tasks.analysis.summary import rows_of, subjects_in, values_of

_THUMBNAILS, _THUMBNAIL_PX = 6, 96
_ENVELOPE_HZ = 8000


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


def sound_of(video: Path, source: Record) -> Sound | None:
    """The sound of a video's file for its envelope; None where there is none or it cannot be read."""
    facts = source.attributes["sound"]
    if facts is None:
        return None
    try:
        return read_sounds(video, [_ENVELOPE_HZ], facts.get("channel")).get(_ENVELOPE_HZ)
    except MediaError:
        return None


def begins_at_s(video: Path) -> float:
    """The instant of the container's clock that players call 0: when its first stream begins, if that is later than 0.

    Browsers shift a file that begins late, and leave one that begins before 0 as it is.
    """
    import av

    try:
        with opened(video) as container:
            return max(0, container.start_time or 0) / av.time_base
    except (MediaError, OSError):
        return 0.0


def file_at_hand(source: Record) -> Path | None:
    """The file that a video was taken in from, or None where it is gone or another one is there."""
    place = Path(str(source.attributes["location"]))
    try:
        return place if place.is_file() and place.stat().st_size == source.attributes["bytes"] else None
    except OSError:
        return None


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
    return Thumbnail(text, float(row["time_s"]), data_address(face))


def _frames_to_show(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    for subject in subjects_in(table):
        rows = rows_of(table, subject)
        scores = np.nan_to_num(values_of(rows, "face_score"), nan=-1.0)
        for part in np.array_split(np.arange(len(scores)), min(_THUMBNAILS, max(1, len(scores)))):
            best = int(part[scores[part].argmax()]) if len(part) else 0
            if len(part) and scores[best] >= 0 and rows["box_x0"][best].as_py() is not None:
                yield best, rows.slice(best, 1).to_pylist()[0]


_EARLIER_S = (0.0, 2.0, None)
"""How long before a picture its file is entered, None for its beginning: MPEG streams are entered behind that."""


def _pictures(video: Path, clock: FrameClock, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Some frames of a video, found by their time; those that cannot be are left out."""
    import av

    for frame in frames:
        instant_s = int(clock.pts[frame]) * clock.time_base
        try:
            tries = (_picture_at(video, instant_s, earlier_s) for earlier_s in _EARLIER_S)
            picture = next((one for one in tries if one is not None), None)
        except (MediaError, av.error.FFmpegError, OSError, ValueError):
            return
        if picture is not None:
            yield frame, picture


def _picture_at(video: Path, instant_s: Fraction, earlier_s: float | None) -> NDArray[np.uint8] | None:
    """The picture of an instant, as it is coded; None where the file was entered behind it."""
    with opened(video) as container:
        stream = best_video(container, video.name)
        base = as_fraction(stream.time_base)
        wanted = instant_s / base
        if earlier_s is not None:
            container.seek(max(0, int(wanted - Fraction(earlier_s) / base)), stream=stream)
        for picture in container.decode(stream):
            if picture.pts is None or picture.pts > wanted:
                return None
            if picture.pts == wanted:
                return np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    return None


def _upright(coded: NDArray[np.uint8], source: Record) -> NDArray[np.uint8]:
    """A decoded picture turned and stretched as it is displayed, to whose pixels boxes refer."""
    from PIL import Image

    turned = np.rot90(coded, int(source.attributes["rotation_deg"]) // 90)
    size = int(source.attributes["width"]), int(source.attributes["height"])
    return np.asarray(Image.fromarray(np.ascontiguousarray(turned)).resize(size), np.uint8)


def data_address(face: NDArray[np.uint8]) -> str:
    """A picture, made small, as an address that holds all of it."""
    from PIL import Image

    picture = Image.fromarray(face)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
