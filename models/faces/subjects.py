"""From tracks to people: who is in a video, under which name.

1. Tracks shorter than `shortest_track_frames` are false boxes and are dropped.
2. A track that begins after another one ended, at the same place (centres at most one face side apart) and of like
   size (sides within a factor of two), is the same person found again; of several, the nearest one continues.
3. The most prominent person, by area summed over frames, is the first subject, if present for
   `shortest_subject_frames`.
4. The second is the most prominent one that was seen *together* with the first for as long — only then are they surely
   two people — and has `smallest_subject_share` of the first's presence and prominence.
5. Every other person present for as long joins the nearest subject of like size with which no frame is shared: after a
   cut, one face at a time is one subject. Without recognising faces, a dialogue filmed one speaker at a time cannot be
   told from that; it gives one subject. Whoever shares frames with every subject is in the background.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.boxes import area
from affstore.models.faces.specs import TrackingSpec
from affstore.store.contract.names import MAIN, SIDES

_LIKE_SIZE = 2.0


@dataclass(frozen=True, slots=True)
class Subjects:
    """Who is in a video.

    Attributes:
        tracks: the tracks that make up each subject: `main` alone, or `left` and `right` by the mean x of their boxes'
            centres. `main` without tracks when nobody is there.
        foremost: the most prominent subject's name.
    """

    tracks: Mapping[str, tuple[int, ...]]
    foremost: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """When and where one person was seen.

    Attributes:
        frames: `(n,)` int64, increasing.
        box: `(n, 4)` float32.
    """

    frames: NDArray[np.int64]
    box: NDArray[np.float32]

    @classmethod
    def of(cls, frames: Iterable[int], box: NDArray[np.float32]) -> Seen:
        """From any integers."""
        return cls(np.fromiter(frames, np.int64), box)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def prominence(self) -> float:
        """Area in px², summed over frames."""
        return float(area(self.box).sum(dtype=np.float64))

    @property
    def centre(self) -> NDArray[np.float64]:
        """Mean x, y of the boxes' centres."""
        return ((self.box[:, :2] + self.box[:, 2:]) / 2).mean(axis=0, dtype=np.float64)

    def then(self, later: Seen) -> Seen:
        """Both, in time order."""
        frames = np.concatenate([self.frames, later.frames])
        order = np.argsort(frames, kind="stable")
        return Seen(frames[order], np.concatenate([self.box, later.box])[order])

    def together(self, other: Seen) -> int:
        """Frames in which both were seen."""
        return len(np.intersect1d(self.frames, other.frames, assume_unique=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    tracks: tuple[int, ...]
    seen: Seen

    def joined(self, other: _Person) -> _Person:
        """The two as one person."""
        return _Person(self.tracks + other.tracks, self.seen.then(other.seen))


def subjects_of(tracks: Mapping[int, Seen], frames: int, spec: TrackingSpec) -> Subjects:
    """Name the people of a video.

    Args:
        tracks: when and where each track was seen.
        frames: how many frames the video has.
        spec: what counts as a subject.
    """
    half = (frames + 1) // 2
    people = _found_again({t: s for t, s in tracks.items() if len(s) >= min(spec.shortest_track_frames, half)})
    needed = min(spec.shortest_subject_frames, half)
    ranked = sorted((p for p in people if len(p.seen) >= needed), key=lambda p: (-p.seen.prominence, p.tracks))
    if not ranked:
        return Subjects({MAIN: ()}, MAIN)
    first, others = ranked[0], ranked[1:]
    second = next((p for p in others if _is_second(p.seen, first.seen, needed, spec)), None)
    chosen = [first] if second is None else [first, second]
    for person in others:
        if person is not second:
            _join(person, chosen)
    return _named(chosen)


def _is_second(seen: Seen, first: Seen, needed: int, spec: TrackingSpec) -> bool:
    """Whether someone is a subject beside the first."""
    share = spec.smallest_subject_share
    enough = len(seen) >= share * len(first) and seen.prominence >= share * first.prominence
    return spec.most_subjects > 1 and enough and seen.together(first) >= needed


def _found_again(tracks: Mapping[int, Seen]) -> list[_Person]:
    """Rule 2: tracks joined over the times at which a face was lost."""
    people: list[_Person] = []
    ends = np.zeros((len(tracks), 4), np.float32)
    last = np.zeros(len(tracks), np.int64)
    for track in sorted(tracks, key=lambda t: (int(tracks[t].frames[0]), t)):
        seen, known = tracks[track], len(people)
        apart = _apart(ends[:known], seen.box[0])
        apart[last[:known] >= seen.frames[0]] = np.inf
        place = int(np.argmin(apart)) if known and apart.min() <= 1 else known
        if place == known:
            people.append(_Person((track,), seen))
        else:
            people[place] = people[place].joined(_Person((track,), seen))
        ends[place], last[place] = seen.box[-1], seen.frames[-1]
    return people


def _apart(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(n,)`: distance of each box's centre from that of one box, in mean sides; infinite unless of like size."""
    sides, side = np.sqrt(area(boxes)), np.sqrt(area(box))
    offset = (boxes[:, :2] + boxes[:, 2:] - box[:2] - box[2:]) / 2
    distance = np.hypot(offset[:, 0], offset[:, 1]) / ((sides + side) / 2)
    alike = np.maximum(sides, side) <= _LIKE_SIZE * np.minimum(sides, side)
    return np.where(alike, distance, np.inf)


def _join(person: _Person, chosen: list[_Person]) -> None:
    """Rule 5: add a person to the nearest subject that may be the same one."""
    middle = _typical(person.seen)
    apart = _apart(np.stack([_typical(subject.seen) for subject in chosen]), middle)
    apart[[subject.seen.together(person.seen) > 0 for subject in chosen]] = np.inf
    if np.isfinite(apart).any():
        nearest = int(np.argmin(apart))
        chosen[nearest] = chosen[nearest].joined(person)


def _typical(seen: Seen) -> NDArray[np.float32]:
    """`(4,)`: the median box."""
    return np.median(seen.box, axis=0).astype(np.float32)


def _named(chosen: list[_Person]) -> Subjects:
    """Names by side; `chosen` has the most prominent person first."""
    names = [MAIN]
    if len(chosen) > 1:
        first_is_left = chosen[0].seen.centre[0] <= chosen[1].seen.centre[0]
        names = list(SIDES) if first_is_left else list(SIDES[::-1])
    tracks = {name: tuple(sorted(person.tracks)) for name, person in zip(names, chosen, strict=True)}
    return Subjects({name: tracks[name] for name in sorted(tracks)}, names[0])
