"""A few small pictures of faces for a page, cut out of the videos or read from the crop folders that are at hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.flows.report.face_pictures import Thumbnail, cut_out, data_address
from affstore.models.extractor_specs import Crop
from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Address, Record
from affstore.store.engine.reading import read_clock
from affstore.tasks.extract.face_crops import FaceFrames, Pictures, has_boxes
from affstore.tasks.ingest.sources import file_at_hand

MOST_VIDEOS, MOST_FACES = 8, 3
"""Of a page: at most 24 pictures of at most 96 pixels, some 3 kB each, so that a report can still be mailed."""
_SIDE_PX = 96

NOTE = (
    f"Small pictures of at most {MOST_FACES} faces of each of at most {MOST_VIDEOS} videos whose files or crop folders "
    "are at hand."
)


@dataclass(frozen=True, slots=True)
class VideoFaces:
    """Faces of one video.

    Attributes:
        video: its name.
        faces: the pictures, each with what it shows.
    """

    video: str
    faces: tuple[Thumbnail, ...]


def faces_of(store: FeatureStore, videos: Collection[str] | None = None) -> tuple[VideoFaces, ...]:
    """Faces of some videos of a store, evenly drawn from those that have any; the same ones every time.

    A video whose file or crop folder is not at hand, or is not what it was, has none: a page is whole without.

    Args:
        store: where the faces are recorded.
        videos: among which are chosen; all of the store's if None.
    """
    known = sorted({one.video for one in store.addresses("face") if videos is None or one.video in videos})
    chosen = [known[at] for at in _evenly(len(known), MOST_VIDEOS)]
    found = (VideoFaces(video, tuple(_of_video(store, video))[:MOST_FACES]) for video in chosen)
    return tuple(one for one in found if one.faces)


def _of_video(store: FeatureStore, video: str) -> Iterator[Thumbnail]:
    records = store.records("face", video=video)
    found = [record for record in records if has_boxes(store, record)]
    subjects = (found or records)[:MOST_FACES]
    each = max(1, MOST_FACES // len(subjects))
    try:
        yield from _cut_out(store, subjects, each) if found else _from_folders(store, subjects, each)
    except (AffstoreError, OSError):
        return


def _cut_out(store: FeatureStore, subjects: Sequence[Record], each: int) -> Iterator[Thumbnail]:
    """Faces that a detector found, cut out of the video."""
    source = store.get(Address("source", video=subjects[0].address.video))
    file, clock = file_at_hand(source), read_clock(store, source.address.video)
    if file is not None:
        rows = [row for record in subjects for row in _rows(store, record, each, clock.starts_s)]
        yield from cut_out(file, rows, clock, source)


def _rows(
    store: FeatureStore, face: Record, each: int, time_s: NDArray[np.float64]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The frames of a subject that are to be shown: the surest of each part of those with its face."""
    arrays = store.read(face.address, ["box", "score", "present"])
    for part in np.array_split(np.flatnonzero(arrays["present"]), each):
        if len(part):
            best = int(part[arrays["score"][part].argmax()])
            corners = zip(("box_x0", "box_y0", "box_x1", "box_y1"), arrays["box"][best].tolist(), strict=True)
            yield best, {"subject": face.address.subject, "time_s": float(time_s[best]), **dict(corners)}


def _from_folders(store: FeatureStore, subjects: Sequence[Record], each: int) -> Iterator[Thumbnail]:
    """Faces of crop folders."""
    for face in subjects:
        time_s = read_clock(store, face.address.video).starts_s
        present = np.flatnonzero(store.read(face.address, ["present"])["present"])
        frames = present[list(_evenly(len(present), each))]
        pictures = Pictures.of(FaceFrames(face, frames), Crop(_SIDE_PX))
        for row, frame in enumerate(frames):
            at_s = float(time_s[frame])
            text = f"{face.address.subject} at {at_s:.2f} s, from its folder '{face.address.producer}'"
            yield Thumbnail(text, at_s, data_address(pictures[row]))


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread."""
    wanted = min(count, most)
    return [at * count // wanted for at in range(wanted)]
