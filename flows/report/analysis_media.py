"""What the page of a video takes from the video's own file: its address, pictures of faces, and the sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from affstore.flows.report.face_pictures import Thumbnail, cut_out
from affstore.models.media.container import opened
from affstore.models.media.sound import Sound, read_sounds
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.records import Record
from affstore.tasks.analysis.summary import rows_of, subjects_in, values_of

_THUMBNAILS = 6
_ENVELOPE_HZ = 8000


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


def player_address(video: Path, page: Path) -> str:
    """The video's file as the page names it: from the page's folder, so that both can be moved together."""
    try:
        return quote(Path(os.path.relpath(video, page.parent)).as_posix())
    except ValueError:  # on another drive
        return video.as_uri()


def thumbnails(video: Path, table: pa.Table, clock: FrameClock, source: Record) -> list[Thumbnail]:
    """Some faces of each subject: the surest frame of each part of the video that has one."""
    return cut_out(video, _frames_to_show(table), clock, source)


def _frames_to_show(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    for subject in subjects_in(table):
        rows = rows_of(table, subject)
        scores = np.nan_to_num(values_of(rows, "face_score"), nan=-1.0)
        for part in np.array_split(np.arange(len(scores)), min(_THUMBNAILS, max(1, len(scores)))):
            best = int(part[scores[part].argmax()]) if len(part) else 0
            if len(part) and scores[best] >= 0 and rows["box_x0"][best].as_py() is not None:
                yield best, rows.slice(best, 1).to_pylist()[0]
