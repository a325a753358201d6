"""Small pictures of faces, cut out of a video's own file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_video, opened
from affstore.models.media.video import picture_of
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.records import Record

_THUMBNAIL_PX = 96


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


def cut_out(
    video: Path, faces: Iterable[tuple[int, Mapping[str, Any]]], clock: FrameClock, source: Record
) -> list[Thumbnail]:
    """Pictures of some faces, in the order of their frames.

    They are looked up by their timestamps, or counted from the file's beginning; what cannot be read gives no picture,
    for the page is whole without.

    Args:
        video: the file.
        faces: frames, each with a row about a face on it: its `subject`, `time_s`, box (`box_x0` to `box_y1`, in px),
            and perhaps its `expression`.
        clock: of the video.
        source: the video's record.
    """
    wanted: dict[int, list[Mapping[str, Any]]] = {}
    for frame, row in faces:
        wanted.setdefault(frame, []).append(row)
    found = []
    facts = source.attributes
    shown_as = int(facts["width"]), int(facts["height"]), Fraction(*facts["sample_aspect"])
    for frame, decoded in _decoded(video, clock, sorted(wanted)):
        picture = picture_of(decoded, *shown_as)
        found += [shown for row in wanted[frame] if (shown := _thumbnail(row, picture)) is not None]
    return found


def _thumbnail(row: Mapping[str, Any], picture: NDArray[np.uint8]) -> Thumbnail | None:
    """The face of a row, or None where its box lies outside the picture."""
    corners = [round(float(row[f"box_{corner}"])) for corner in ("x0", "y0", "x1", "y1")]
    x0, y0, x1, y1 = (max(0, corner) for corner in corners)
    face = picture[y0:y1, x0:x1]
    if not face.size:
        return None
    what = f", {row['expression']}" if row.get("expression") else ""
    text = f"{row['subject']} at {row['time_s']:.2f} s{what}"
    return Thumbnail(text, float(row["time_s"]), data_address(face))


_EARLIER_S = (0.0, 2.0, None)
"""How long before a picture its file is entered, None for its beginning: MPEG streams are entered behind that."""


def _decoded(video: Path, clock: FrameClock, frames: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Some frames of a video; those that cannot be found are left out."""
    for frame in frames:
        tries = (_frame_or_none(video, clock, frame, earlier_s) for earlier_s in _EARLIER_S)
        decoded = next((one for one in tries if one is not None), None)
        if decoded is not None:
            yield frame, decoded


def _frame_or_none(video: Path, clock: FrameClock, frame: int, earlier_s: float | None) -> VideoFrame | None:
    """See `_frame_of`; None where that fails too, as in a stream that has to be read from its beginning."""
    try:
        return _frame_of(video, clock, frame, earlier_s)
    except (MediaError, OSError, ValueError):
        return None


def _frame_of(video: Path, clock: FrameClock, frame: int, earlier_s: float | None) -> VideoFrame | None:
    """A frame, found by its time; counted from the file's beginning, as times may have been repaired.

    None where the file was entered behind it, or where the frame does not have its time.
    """
    with opened(video) as container:
        stream = best_video(container, video.name)
        decoding = Decoding(container, stream)
        if earlier_s is None:
            return next(islice(decoding, frame, None), None)
        if not decoding.ordered:
            return None
        base = as_fraction(stream.time_base)
        wanted = int(clock.pts[frame]) * clock.time_base / base
        container.seek(max(0, int(wanted - Fraction(earlier_s) / base)), stream=stream)
        passed = next((one for one in decoding if one.pts is None or one.pts >= wanted), None)
    return passed if passed is not None and passed.pts == wanted else None


def data_address(face: NDArray[np.uint8]) -> str:
    """A picture, made small, as an address that holds all of it."""
    from PIL import Image

    picture = Image.fromarray(face)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
