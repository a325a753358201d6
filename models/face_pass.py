"""One decode of a video serves every face network: find or re-use faces, cut them out, fill batches, gather rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.batches import Piece, SharedNetwork
from affstore.models.faces.crops import cut, resized
from affstore.models.faces.cuts import CutDetector
from affstore.models.faces.finder import FaceFinder
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.subjects import Subjects
from affstore.models.faces.tracking import FaceTrack, FaceTracker
from affstore.models.media.prefetch import prefetch

if TYPE_CHECKING:
    from affstore.models.extractor_specs import Crop, Framing
    from affstore.models.faces.detector import FaceDetector

Picture = NDArray[np.uint8]
Box = NDArray[np.float32]

_NOBODY = -1
_PICTURES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class FaceInFrame:
    """A face to embed.

    Attributes:
        who: a track's or a subject's name; rows are gathered by it.
        frame: index into the video's clock.
        box: `(4,)` px.
    """

    who: str
    frame: int
    box: Box


class FaceSource(Protocol):
    """Says which faces each frame holds; fed every frame of a video in order."""

    def faces(self, frame: int, picture: Picture) -> Sequence[FaceInFrame]:
        """The faces of one frame."""


class StoredFaces:
    """The faces of a video that were found before: one track a subject."""

    def __init__(self, tracks: Mapping[str, FaceTrack]) -> None:
        self._tracks = dict(sorted(tracks.items()))

    def faces(self, frame: int, picture: Picture) -> Sequence[FaceInFrame]:
        """See `FaceSource.faces`."""
        return [
            FaceInFrame(who, frame, track.box[frame]) for who, track in self._tracks.items() if track.present[frame]
        ]

    def names_of(self, subject: str) -> tuple[str, ...]:
        """Under which names a subject's rows were gathered."""
        return (subject,)


class TrackedFaces:
    """Faces found while the video passes by. Who they are is known at its end."""

    def __init__(self, detector: FaceDetector, spec: TrackingSpec) -> None:
        self._cuts = CutDetector(spec)
        self._finder = FaceFinder(detector)
        self._tracker = FaceTracker(spec)
        self._frames = 0

    def faces(self, frame: int, picture: Picture) -> Sequence[FaceInFrame]:
        """See `FaceSource.faces`."""
        self._frames = frame + 1
        cut = self._cuts.update(picture)
        found = self._tracker.update(frame, self._finder.update(picture, cut), picture, cut)
        return [FaceInFrame(str(face.track), frame, face.box) for face in found]

    @property
    def cuts(self) -> list[int]:
        """The frames so far that begin a new shot."""
        return list(self._tracker.cuts)

    @cached_property
    def subjects(self) -> Subjects:
        """Who was seen, once the video has passed."""
        return self._tracker.subjects()

    @property
    def faces_at_once(self) -> int:
        """The most faces at once, of those that lasted; more than there are subjects where some are not kept."""
        return self._tracker.faces_at_once()

    @cached_property
    def people(self) -> int:
        """How many people were seen for long enough, also those who are not kept."""
        return self._tracker.people()

    def tracks(self) -> dict[str, FaceTrack]:
        """Each subject's face through the video."""
        return {
            subject: self._tracker.face_track(tracks, self._frames)
            for subject, tracks in sorted(self.subjects.tracks.items())
        }

    def names_of(self, subject: str) -> tuple[str, ...]:
        """Under which names a subject's rows were gathered."""
        return tuple(str(track) for track in self.subjects.tracks[subject])


@dataclass
class FaceRows:
    """A network's outputs for the faces of a video, in the order they were seen.

    Attributes:
        who: whose face each row is.
        frame: the frame of each row.
        pieces: the rows, as they came out of the network's batches.
    """

    who: list[str] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def of(self, names: Iterable[str], frames: int) -> dict[str, NDArray[np.generic]]:
        """The rows of one subject on the video's frames; zeros, and `present` False, where it has no face.

        Args:
            names: the tracks, or the one subject, whose rows are the subject's.
            frames: of the video.

        Returns:
            `embedding`, `logits` and `valence_arousal` where the network has them, and `present`.
        """
        at, mine = np.array(self.frame, np.int64), np.zeros(len(self.frame), bool)
        for name in names:
            mine[self._rows_of.get(name, [])] = True
        present = np.zeros(frames, bool)
        present[at[mine]] = True
        arrays: dict[str, NDArray[np.generic]] = {"present": present}
        for name in ("embedding", "logits", "valence_arousal"):
            if self.pieces and getattr(self.pieces[0].output, name) is not None:
                arrays[name] = self._placed(name, np.where(mine, at, _NOBODY), frames)
        return arrays

    @cached_property
    def _rows_of(self) -> dict[str, NDArray[np.int64]]:
        """Everybody's rows, found once they are all there: a crowd has many people with few rows each."""
        if not self.who:
            return {}
        names, whose = np.unique(np.array(self.who, dtype=str), return_inverse=True)
        ends = np.cumsum(np.bincount(whose, minlength=len(names)))[:-1]
        return dict(zip(names.tolist(), np.split(np.argsort(whose, kind="stable"), ends), strict=True))

    def _placed(self, name: str, at: NDArray[np.int64], frames: int) -> NDArray[np.float32]:
        """Rows on their frames, piece by piece: those of a long video are in memory twice, not four times."""
        placed = np.zeros((frames, getattr(self.pieces[0].output, name).shape[1]), np.float32)
        for piece in self.pieces:
            frame = at[piece.rows]
            mine = frame != _NOBODY
            placed[frame[mine]] = getattr(piece.output, name)[mine]
        return placed


@dataclass(frozen=True, slots=True)
class Face:
    """What a face network will see of one frame, before it is resized.

    Attributes:
        who: a track's or a subject's name; rows are gathered by it.
        frame: index into the video's clock.
        picture: RGB `(height, width, 3)`, any size.
        box: `(4,)` px: where the face is in it; None where it fills the picture.
    """

    who: str
    frame: int
    picture: Picture
    box: Box | None = None

    def framed(self, framing: Framing = "box") -> Picture:
        """The part of the picture that a network is shown."""
        return self.picture if self.box is None else cut(self.picture, self.box, framing)

    def crops(self, wanted: Iterable[Crop]) -> dict[Crop, Picture]:
        """What each kind of network sees, `(size_px, size_px, 3)`."""
        found = {crop: crop.framing for crop in wanted}
        framed = {framing: self.framed(framing) for framing in set(found.values())}
        return {crop: resized(framed[crop.framing], crop.size_px, crop.resize) for crop in found}


def faces_in_video(
    pictures: Iterable[Picture], source: FaceSource, on_frame: Callable[[], None] = lambda: None
) -> Iterator[Face]:
    """Every face of a video, with the picture that it is in.

    Args:
        pictures: RGB `(height, width, 3)`, in clock order.
        source: says which faces each picture holds.
        on_frame: called after each picture, to show progress.
    """
    for index, picture in enumerate(prefetch(pictures, _PICTURES_AHEAD)):
        for face in source.faces(index, picture):
            yield Face(face.who, index, picture, face.box)
        on_frame()


def embed_faces(faces: Iterable[Face], networks: Mapping[str, SharedNetwork]) -> dict[str, FaceRows]:
    """Embed every face by every network, in one pass over the faces and in bounded memory.

    Args:
        faces: in any order.
        networks: by name; other videos may be using them too.

    Returns:
        By network: its rows, in the order the faces came.
    """
    with ExitStack() as stack:
        feeds = {name: stack.enter_context(network.feed()) for name, network in networks.items()}
        wanted = {name: network.spec.crop for name, network in networks.items()}
        rows = FaceRows()
        for face in faces:
            rows.who.append(face.who)
            rows.frame.append(face.frame)
            crops = face.crops(wanted.values())
            for name, feed in feeds.items():
                feed.add(crops[wanted[name]])
        return {name: replace(rows, pieces=feed.finish()) for name, feed in feeds.items()}
