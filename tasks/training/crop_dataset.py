"""What a face network saw of a video's frames, once more: read from crop folders, or cut out of videos."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.extractor_specs import Crop as CropSpec
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import StoreUnavailableError
from affstore.store.contract.records import Record
from affstore.tasks.extract.face_crops import (
    Crop,
    FaceFrames,
    Pictures,
    crops_of_face,
    cut_out,
    face_of_feature,
    has_boxes,
)
from affstore.tasks.training.examples import LabelledSubject

if TYPE_CHECKING:
    from torch import Tensor

_READERS = 4
_BATCH = 256
_GIB = 1 << 30


@dataclass(eq=False)
class StoreCrops:
    """Labelled crops of many videos; see `affstore.models.heads.contract.CropDataset`. `store_crops` opens them.

    Attributes:
        y: `(rows, 1)` int8 class: subject after subject, by frame.
        frame: `(rows,)` int64, the number of each in its video.
        sources: the crops of each subject.
        extractor: the network whose input they are.
        weights: the folder with its parameters.
        readers: the threads that read them.
    """

    y: NDArray[np.int8]
    frame: NDArray[np.int64]
    sources: Sequence[Pictures | NDArray[np.uint8]]
    extractor: FaceExtractorSpec
    weights: WeightsFolder
    readers: ThreadPoolExecutor

    def __post_init__(self) -> None:
        self._ends = np.cumsum([len(source) for source in self.sources], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.y)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `LabelledCrops.read`.

        Raises:
            MediaError: a picture is not there any more, or has changed.
        """
        crops = np.empty((len(rows), self.extractor.size_px, self.extractor.size_px, 3), np.uint8)
        for i, crop in enumerate(self.readers.map(self._crop, rows.tolist())):
            crops[i] = crop
        return crops

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The network's parameters, by name."""
        return self.weights.load(self.extractor.weights.sha256)

    def _crop(self, row: int) -> Crop:
        source = int(np.searchsorted(self._ends, row, side="right"))
        return self.sources[source][row - int(self._ends[source])]  # counted from its end


@contextmanager
def store_crops(
    store: FeatureStore,
    subjects: Sequence[LabelledSubject],
    extractor: FaceExtractorSpec,
    weights: WeightsFolder,
    scratch: Path,
) -> Iterator[StoreCrops]:
    """The crops of all labelled frames that show a face, as the network `extractor` saw them.

    Pictures of crop folders are read when they are asked for. Faces that a detector found are cut out of their videos
    first, each decoded once, into a file under `scratch`: 150 KB a frame at 224 px. The file has no name, so it is gone
    when the block ends, or the process.

    Args:
        store: an open store.
        subjects: labelled; the first of their features must be that network's.
        extractor: the network.
        weights: the folder with its parameters.
        scratch: a folder; it is made if need be.

    Raises:
        MediaError: a video file or crop folder is not there any more, or has changed.
        SpecError: a subject's first feature is not a face network's.
        StoreUnavailableError: there is no room under `scratch`.
    """
    faces, labels = [], [np.empty((0, 1), np.int8)]
    for subject in subjects:
        face, present = face_of_feature(store, subject.features[0])
        label = store.read(subject.label.address)
        at = np.flatnonzero(present & label["known"].all(axis=1))
        faces.append(FaceFrames(face, at))
        labels.append(label["value"][at])
    with ThreadPoolExecutor(_READERS, "crops") as readers:
        frames = np.concatenate([np.empty(0, np.int64), *(one.at for one in faces)])
        sources = _sources(store, faces, extractor.crop, scratch)
        yield StoreCrops(np.concatenate(labels), frames, sources, extractor, weights, readers)


def crops_of(
    store: FeatureStore, feature: Record, extractor: FaceExtractorSpec
) -> tuple[NDArray[np.int64], Iterator[NDArray[np.uint8]]]:
    """The crops of all frames of a video that show a subject's face, as the network `extractor` saw them.

    Args:
        store: an open store.
        feature: that network's record of the subject.
        extractor: the network.

    Returns:
        `(rows,)` the frames, ascending; and their crops `(n, size_px, size_px, 3)`, batch by batch. Reading them raises
        MediaError where the video file or crop folder is not there any more, or has changed.

    Raises:
        SpecError: the feature is not a face network's.
    """
    face, present = face_of_feature(store, feature)
    frames = FaceFrames(face, np.flatnonzero(present))
    return frames.at, _batches(crops_of_face(store, frames, extractor.crop), extractor.size_px)


def _sources(
    store: FeatureStore, faces: Sequence[FaceFrames], wanted: CropSpec, scratch: Path
) -> list[Pictures | NDArray[np.uint8]]:
    """Where the crops of each subject are, row by row: in its folder, or in a part of one file under `scratch`."""
    in_videos = [i for i, one in enumerate(faces) if has_boxes(store, one.face)]
    counts = [len(faces[i].at) for i in in_videos]
    crops = _memory_mapped((sum(counts), wanted.size_px, wanted.size_px, 3), scratch)
    parts = {i: crops[end - count : end] for i, count, end in zip(in_videos, counts, np.cumsum(counts), strict=True)}
    for video in dict.fromkeys(faces[i].face.address.video for i in in_videos):
        mine = [i for i in in_videos if faces[i].face.address.video == video and len(faces[i].at)]
        for who, frame, crop in cut_out(store, [faces[i] for i in mine], wanted):
            parts[mine[who]][np.searchsorted(faces[mine[who]].at, frame)] = crop
    return [parts[i] if i in parts else Pictures.of(one, wanted) for i, one in enumerate(faces)]


def _memory_mapped(shape: tuple[int, ...], scratch: Path) -> NDArray[np.uint8]:
    """An array in a file without a name. Its room is taken at once: a full disk must not be met while writing."""
    size = int(np.prod(shape, dtype=np.int64))
    if not size:
        return np.empty(shape, np.uint8)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise StoreUnavailableError(
            f"The crops of {shape[0]} labelled frames take {size / _GIB:.1f} GiB under '{scratch}': {error.strerror}. "
            "Make room there, or train on crop folders, whose pictures are read where they are."
        ) from error


def _batches(crops: Iterable[Crop], size_px: int) -> Iterator[NDArray[np.uint8]]:
    """Crops, as many at once as a GPU takes; the last batch may be smaller."""
    batch = np.empty((_BATCH, size_px, size_px, 3), np.uint8)
    filled = 0
    for crop in crops:
        batch[filled] = crop
        filled += 1
        if filled == _BATCH:
            yield batch.copy()
            filled = 0
    if filled:
        yield batch[:filled].copy()
