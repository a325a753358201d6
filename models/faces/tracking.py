"""From the faces of single frames to tracks: which face of a frame continues which one of the frames before."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.appearance import COLOURS, colours, likeness
from affstore.models.faces.boxes import area, iou
from affstore.models.faces.crops import whole_px
from affstore.models.faces.detections import Detections
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.subjects import Appearance, Subjects, people_in, subjects_of
from affstore.store.contract.errors import SpecError

_ROW = 4 + 10 + 1


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face of one frame.

    Attributes:
        track: id of the track that it continues.
        box: `(4,)` float32 x0, y0, x1, y1 in px; holds at least one whole pixel.
        landmark: `(5, 2)` float32 x, y in px, as in `Detections`.
        score: in [0, 1].
    """

    track: int
    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One subject's face along a video; zeros where it is not present.

    Attributes:
        box: `(frames, 4)` float32 x0, y0, x1, y1 in px.
        landmark: `(frames, 5, 2)` float32 x, y in px, as in `Detections`.
        score: `(frames,)` float32 in [0, 1].
        present: `(frames,)` bool.
    """

    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    score: NDArray[np.float32]
    present: NDArray[np.bool_]


@dataclass(slots=True)
class _Track:
    """A track as it grows; rows are packed, because an hour of video has a hundred thousand."""

    box: NDArray[np.float32]
    last: int
    area: float = 0.0
    linked: int = 0
    colours: NDArray[np.float64] = field(default_factory=lambda: np.zeros(COLOURS))
    frames: array[int] = field(default_factory=lambda: array("q"))
    rows: array[float] = field(default_factory=lambda: array("f"))
    all_frames: array[int] = field(default_factory=lambda: array("q"))
    all_boxes: array[float] = field(default_factory=lambda: array("f"))

    def link(self, frame: int, box: NDArray[np.float32], colours: NDArray[np.float64]) -> None:
        """The track goes on with a face in this frame, of these colours."""
        self.box, self.last = box, frame
        self.all_frames.append(frame)
        self.all_boxes.frombytes(box.astype(np.float32).tobytes())
        self.colours += colours
        self.area += float(area(box))
        self.linked += 1

    def keep(self, frame: int, row: NDArray[np.float32]) -> None:
        """What is given out of this frame in the end."""
        self.frames.append(frame)
        self.rows.frombytes(row.tobytes())


class FaceTracker:
    """Follows the faces of one video, frame after frame.

    A face continues the track whose last box it overlaps most, by at least `link_iou`, if that track's last face is at
    most `longest_gap_frames` missing frames away; the best overlaps are linked first, each face and each track once.
    Over a cut a face continues a track only if its colours are like the track's, too. The order in which a frame's
    faces are listed does not matter.

    Attributes:
        cuts: the frames that began a new shot.
    """

    def __init__(self, spec: TrackingSpec) -> None:
        self.spec = spec
        self._tracks: list[_Track] = []
        self._alive: list[int] = []
        self._next_frame = 0
        self.cuts: list[int] = []
        self._frames_with: Counter[int] = Counter()

    def update(
        self, frame: int, detections: Detections, picture: NDArray[np.uint8] | None = None, cut: bool = False
    ) -> list[TrackedFace]:
        """Link the faces of the next frame.

        Args:
            frame: 0-based; frames without faces may be left out.
            detections: its faces.
            picture: the frame itself, RGB `(h, w, 3)`; only cuts need it.
            cut: whether the frame begins a new shot.

        Returns:
            The faces to embed, at most `candidate_limit`: those of the tracks whose faces are largest on average.

        Raises:
            SpecError: the frame is not later than the one before.
        """
        if frame < self._next_frame:
            raise SpecError(f"Frames are tracked in order; found frame {frame} where {self._next_frame} was next.")
        self._next_frame = frame + 1
        self.cuts += [frame] if cut else []
        faces = _in_order(detections)
        self._frames_with[len(faces.box)] += 1
        linked = self._link(frame, faces.box, picture)
        foremost = sorted(linked, key=lambda face: (-self._mean_area(linked[face]), linked[face]))
        return [self._keep(frame, linked[face], faces, face) for face in foremost[: self.spec.candidate_limit]]

    def subjects(self) -> Subjects:
        """The people of the frames seen so far, as sets of tracks; see `affstore.models.faces.subjects`."""
        tracks = {
            index: Appearance.of(track.frames, self._values(index)[:, :4], track.colours)
            for index, track in enumerate(self._tracks)
            if len(track.frames)
        }
        return subjects_of(tracks, self._next_frame, self.spec, self.cuts)

    def people(self) -> int:
        """How many people there were so far, also those who are not kept: the subjects if all were asked for."""
        tracks = {
            index: Appearance.of(track.all_frames, np.array(track.all_boxes, np.float32).reshape(-1, 4), track.colours)
            for index, track in enumerate(self._tracks)
        }
        return people_in(tracks, self._next_frame, self.spec, self.cuts)

    def faces_at_once(self) -> int:
        """The most faces at once, counting only what lasted as long in all as a subject must: single boxes err."""
        needed = min(self.spec.shortest_subject_frames, (self._next_frame + 1) // 2)
        most = range(max(self._frames_with, default=0), 0, -1)
        return next((n for n in most if sum(self._frames_with[k] for k in self._frames_with if k >= n) >= needed), 0)

    def face_track(self, tracks: Iterable[int], frames: int) -> FaceTrack:
        """The faces of a subject's tracks over a video of `frames` frames."""
        values, present = np.zeros((frames, _ROW), np.float32), np.zeros(frames, np.bool_)
        for index in tracks:
            rows = np.array(self._tracks[index].frames, np.int64)
            values[rows], present[rows] = self._values(index), True
        return FaceTrack(
            np.ascontiguousarray(values[:, :4]),
            np.ascontiguousarray(values[:, 4:14]).reshape(frames, 5, 2),
            np.ascontiguousarray(values[:, 14]),
            present,
        )

    def _link(self, frame: int, box: NDArray[np.float32], picture: NDArray[np.uint8] | None) -> dict[int, int]:
        """Each face's track; a face that continues none begins one."""
        furthest = frame - self.spec.longest_gap_frames - 1
        self._alive = [index for index in self._alive if self._tracks[index].last >= furthest]
        face_colours = np.zeros((len(box), COLOURS)) if picture is None else colours(picture, box)
        track_of = _best_pairs(self._overlap(box, face_colours), self.spec.link_iou)
        linked = {face: self._alive[place] for face, place in track_of.items()}
        for face in range(len(box)):
            if face not in linked:
                linked[face] = len(self._tracks)
                self._alive.append(linked[face])
                self._tracks.append(_Track(box[face], frame))
            self._tracks[linked[face]].link(frame, box[face], face_colours[face])
        return linked

    def _overlap(self, box: NDArray[np.float32], face_colours: NDArray[np.float64]) -> NDArray[np.float32]:
        """How much each live track's last box overlaps each face's, `(tracks, faces)`; 0 if a cut parts unlike ones."""
        tracks = [self._tracks[index] for index in self._alive]
        overlap = iou(np.array([track.box for track in tracks], np.float32).reshape(-1, 4), box)
        shot = self.cuts[-1] if self.cuts else 0
        for row, track in zip(overlap, tracks, strict=True):
            if track.last < shot:
                row[[likeness(track.colours, face) < self.spec.least_likeness for face in face_colours]] = 0
        return overlap

    def _keep(self, frame: int, track: int, faces: Detections, face: int) -> TrackedFace:
        box, landmark, score = faces.box[face], faces.landmark[face], faces.score[face]
        self._tracks[track].keep(frame, np.concatenate([box, landmark.ravel(), [score]]).astype(np.float32))
        return TrackedFace(track, box, landmark, float(score))

    def _mean_area(self, track: int) -> float:
        return self._tracks[track].area / self._tracks[track].linked

    def _values(self, track: int) -> NDArray[np.float32]:
        """`(rows, 15)`: box, landmark and score of a track's kept faces."""
        return np.array(self._tracks[track].rows, np.float32).reshape(-1, _ROW)


def _in_order(detections: Detections) -> Detections:
    """The faces with at least a whole pixel, in an order that depends on nothing but themselves."""
    keys = np.column_stack([-detections.score, detections.box, detections.landmark.reshape(len(detections), 10)])
    order = np.lexsort(keys.T[::-1])
    x0, y0, x1, y1 = whole_px(detections.box[order]).T
    return detections.take(order[(x1 > x0) & (y1 > y0)])


def _best_pairs(overlap: NDArray[np.float32], smallest_iou: float) -> dict[int, int]:
    """Faces paired with tracks, greatest overlap first, each at most once; ties go to the older track."""
    pairs: dict[int, int] = {}
    for pair in np.argsort(-overlap, axis=None, kind="stable"):
        track, face = divmod(int(pair), overlap.shape[1])
        if overlap[track, face] < smallest_iou:
            break
        if face not in pairs and track not in pairs.values():
            pairs[face] = track
    return pairs
