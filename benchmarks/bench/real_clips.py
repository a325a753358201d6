"""The real clips and reference weights that figures are taken with; they lie outside the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractors.registry import entries
from affstore.models.face_pass import TrackedFaces, faces_in_video
from affstore.models.faces.detector import FaceDetector
from affstore.models.faces.specs import DetectorSpec, TrackingSpec, resolve
from affstore.models.media.video import frames, probe
from affstore.models.weights.folder import WeightsFolder

Pixels = NDArray[np.uint8]
_VERSION = re.compile(r"-v\d+_\d+_\d+")
"""That the file of a published network names, and its reference does not."""


def clips(media: Path) -> list[Path]:
    """The videos that show faces."""
    found = sorted(path for path in (media / "face_video").iterdir() if path.suffix in (".mp4", ".mpg", ".mov", ".mkv"))
    if not found:
        raise SystemExit(f"There is no clip in {media / 'face_video'}. Give the folder of the real media.")
    return found


def faces(videos: Sequence[Path], every: int = 1, most_frames: int = 75) -> Iterator[Pixels]:
    """Faces found in the first frames of videos, `(h, w, 3)` of any size, one of so many."""
    detector = FaceDetector(resolve(DetectorSpec()), "cpu")
    for video in videos:
        first = islice(frames(video, probe(video)), most_frames)
        seen = faces_in_video(first, TrackedFaces(detector, TrackingSpec()))
        yield from (face.framed() for number, face in enumerate(seen) if number % every == 0)


def take_in_reference_weights(weights: WeightsFolder, reference: Path) -> list[str]:
    """Import the reference files that are there: official layouts, untrained numbers. Gives the entries' names."""
    files = {name: reference / _VERSION.sub("", entry.file) for name, entry in entries().items() if entry.file}
    found = [name for name, file in files.items() if file.is_file()]
    for name in found:
        weights.import_file(entries()[name], files[name], any_digest=True)
    return found
