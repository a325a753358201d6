"""From tracks to people: who is in a video, under which name.

1. Tracks shorter than `shortest_track_frames` are false boxes and are dropped.
2. A track that begins after another one ended, at the same place (centres at most one face side apart) and of like
   size (sides within a factor of two), is the same person found again; of several, the nearest one continues. Over a
   cut that is so only if the colours of both are alike.
3. The most prominent person, by area summed over frames, is the first subject, if present for
   `shortest_subject_frames`.
4. The second is the most prominent one that was seen *together* with the first for as long — only then are they surely
   two people — and has `smallest_subject_share` of the first's presence and prominence.
5. Every other person present for as long joins the nearest subject of like size with which no frame is shared, if both
   are in one shot; and a subject of another shot if the colours of both are alike. A dialogue that is filmed one
   speaker at a time has one subject, the more prominent speaker. Whoever joins nobody is in the background.

Where all people are asked for, nobody is: whoever joins nobody by rule 5 is one more subject, whatever the share of the
first. To join in one shot, the colours of both must be alike, too, and the face must be found at most two sides from
where it was lost; of several subjects the most alike one continues. In one light and place strangers are alike: of 15
pairs of people in a street scene of our tests six reach 0.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.appearance import likeness
from affstore.models.faces.boxes import area
from affstore.models.faces.specs import TrackingSpec
from affstore.store.contract.names import MAIN, SIDES, person

_LIKE_SIZE = 2.0
_LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Subjects:
    """Who is in a video.

    Attributes:
        tracks: the tracks that make up each subject: `main` alone, or `left` and `right` by the mean x of their boxes'
            centres. Where all people are kept and there are more, they are `person1`, `person2` … by the same order.
            `main` without tracks when nobody is there.
        foremost: the most prominent subject's name.
        sides: who of more people would be `left` and `right` if two were kept, by subject.
    """

    tracks: Mapping[str, tuple[int, ...]]
    foremost: str
    sides: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(1 for tracks in self.tracks.values() if tracks)


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """When and where one person was seen.

    Attributes:
        frames: `(n,)` int64, increasing.
        box: `(n, 4)` float32.
        colours: counts of the colours of the face, summed over frames.
    """

    frames: NDArray[np.int64]
    box: NDArray[np.float32]
    colours: NDArray[np.float64]

    @classmethod
    def of(cls, frames: Iterable[int], box: NDArray[np.float32], colours: NDArray[np.float64]) -> Appearance:
        """From any integers."""
        return cls(np.fromiter(frames, np.int64), box, colours)

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

    def then(self, later: Appearance) -> Appearance:
        """Both, in time order."""
        frames = np.concatenate([self.frames, later.frames])
        order = np.argsort(frames, kind="stable")
        return Appearance(frames[order], np.concatenate([self.box, later.box])[order], self.colours + later.colours)

    def together(self, other: Appearance) -> int:
        """Frames in which both were seen."""
        if self.frames[-1] < other.frames[0] or other.frames[-1] < self.frames[0]:
            return 0
        return len(np.intersect1d(self.frames, other.frames, assume_unique=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    tracks: tuple[int, ...]
    appearance: Appearance

    def joined(self, other: _Person) -> _Person:
        """The two as one person."""
        return _Person(self.tracks + other.tracks, self.appearance.then(other.appearance))


def subjects_of(
    tracks: Mapping[int, Appearance], frames: int, spec: TrackingSpec, cuts: Sequence[int] = ()
) -> Subjects:
    """Name the people of a video.

    Args:
        tracks: when and where each track was seen.
        frames: how many frames the video has.
        spec: what counts as a subject.
        cuts: the frames that begin a new shot, in order.
    """
    shots = _Shots(np.array(cuts, np.int64), spec.least_likeness)
    half = (frames + 1) // 2
    lasting = {t: s for t, s in tracks.items() if len(s) >= min(spec.shortest_track_frames, half)}
    people = _found_again(lasting, shots)
    needed = min(spec.shortest_subject_frames, half)
    ranked = sorted(
        (p for p in people if len(p.appearance) >= needed), key=lambda p: (-p.appearance.prominence, p.tracks)
    )
    if not ranked:
        return Subjects({MAIN: ()}, MAIN)
    first, others = ranked[0], ranked[1:]
    second = next((p for p in others if _is_second(p.appearance, first.appearance, needed, spec)), None)
    pair = [first] if second is None else [first, second]
    everyone = spec.most_subjects == "all"
    chosen = _Chosen(pair, shots, everyone)
    for other in others:
        if other is not second and not chosen.join(other) and everyone:
            chosen.add(other)
    several = len(chosen.people) > len(pair)
    return _named_by_place(chosen.people, len(pair)) if several else _named_by_side(chosen.people)


def people_in(tracks: Mapping[int, Appearance], frames: int, spec: TrackingSpec, cuts: Sequence[int] = ()) -> int:
    """How many subjects a video would have if all people were kept; see `subjects_of`."""
    return subjects_of(tracks, frames, replace(spec, most_subjects="all"), cuts).count


def _is_second(other: Appearance, first: Appearance, needed: int, spec: TrackingSpec) -> bool:
    """Whether someone is a subject beside the first."""
    share = spec.smallest_subject_share
    enough = len(other) >= share * len(first) and other.prominence >= share * first.prominence
    return spec.most_subjects != 1 and enough and other.together(first) >= needed


@dataclass(frozen=True, slots=True, eq=False)
class _Shots:
    """The shots of a video, and what it takes to be one person in two of them."""

    cuts: NDArray[np.int64]
    least_likeness: float

    def of(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each frame's shot."""
        return np.searchsorted(self.cuts, frames, side="right")

    def together(self, one: Appearance, other: Appearance) -> bool:
        """Whether both were seen in one shot."""
        return bool(np.isin(self.of(one.frames), self.of(other.frames)).any())

    def alike(self, one: Appearance, other: Appearance) -> bool:
        """Whether both have the colours of one person."""
        return likeness(one.colours, other.colours) >= self.least_likeness


def _found_again(tracks: Mapping[int, Appearance], shots: _Shots) -> list[_Person]:
    """Rule 2: tracks joined over the times at which a face was lost."""
    people: list[_Person] = []
    ends = np.zeros((len(tracks), 4), np.float32)
    last = np.zeros(len(tracks), np.int64)
    for track in sorted(tracks, key=lambda t: (int(tracks[t].frames[0]), t)):
        appearance, known = tracks[track], len(people)
        apart = _apart(ends[:known], appearance.box[0])
        apart[last[:known] >= appearance.frames[0]] = np.inf
        for other in np.flatnonzero((apart <= 1) & (shots.of(last[:known]) != shots.of(appearance.frames[:1]))):
            apart[other] = apart[other] if shots.alike(people[other].appearance, appearance) else np.inf
        place = int(np.argmin(apart)) if known and apart.min() <= 1 else known
        if place == known:
            people.append(_Person((track,), appearance))
        else:
            people[place] = people[place].joined(_Person((track,), appearance))
        ends[place], last[place] = appearance.box[-1], appearance.frames[-1]
    return people


def _apart(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(n,)`: distance of each box's centre from that of a box, in mean sides; infinite unless of like size.

    Args:
        boxes: `(n, 4)`.
        box: `(4,)`, or one for each, `(n, 4)`.
    """
    sides, side = np.sqrt(area(boxes)), np.sqrt(area(box))
    offset = (boxes[:, :2] + boxes[:, 2:] - box[..., :2] - box[..., 2:]) / 2
    distance = np.hypot(offset[:, 0], offset[:, 1]) / ((sides + side) / 2)
    alike = np.maximum(sides, side) <= _LIKE_SIZE * np.minimum(sides, side)
    return np.where(alike, distance, np.inf)


class _Chosen:
    """The subjects so far, the most prominent first, and whom rule 5 has joined to each.

    What a person is compared by is kept for each subject: an hour of a street has thousands of people.
    """

    def __init__(self, people: Iterable[_Person], shots: _Shots, everyone: bool) -> None:
        self.people: list[_Person] = []
        self._shots, self._everyone = shots, everyone
        self._typical: list[NDArray[np.float32]] = []
        self._roots: list[NDArray[np.float64]] = []
        for one in people:
            self.add(one)

    def add(self, person: _Person) -> None:
        """One more subject."""
        self.people.append(person)
        self._typical.append(_typical(person.appearance))
        self._roots.append(_roots(person.appearance))

    def join(self, person: _Person) -> bool:
        """Rule 5: add a person to the subject that is most likely the same one; whether there is such a subject."""
        fitting = self._fitting_among_all(person) if self._everyone else self._fitting_of_two(person)
        if fitting:
            _, place = min(fitting)
            joined = self.people[place].joined(person)
            self.people[place] = joined
            self._typical[place], self._roots[place] = _typical(joined.appearance), _roots(joined.appearance)
        return bool(fitting)

    def _fitting_of_two(self, person: _Person) -> list[tuple[float, int]]:
        """How far each subject is away that may be the same person, where two are kept."""
        other, apart = person.appearance, self._apart(person)
        found = []
        for place, one in enumerate(subject.appearance for subject in self.people):
            fits = np.isfinite(apart[place]) if self._shots.together(one, other) else self._shots.alike(one, other)
            if fits and not one.together(other):
                found.append((float(apart[place]), place))
        return found

    def _fitting_among_all(self, person: _Person) -> list[tuple[float, int]]:
        """How unlike each subject is that may be the same person, where all are kept."""
        other, apart = person.appearance, self._apart(person)
        likeness = np.stack(self._roots) @ _roots(other)
        found = []
        for place in np.flatnonzero(likeness >= self._shots.least_likeness):
            one = self.people[place].appearance
            if one.together(other):
                continue
            near = np.isfinite(apart[place]) and _farthest_step(one, other, self._shots) <= _LONGEST_STEP
            if near or not self._shots.together(one, other):
                found.append((-float(likeness[place]), int(place)))
        return found

    def _apart(self, person: _Person) -> NDArray[np.float64]:
        return _apart(np.stack(self._typical), _typical(person.appearance))


def _farthest_step(one: Appearance, other: Appearance, shots: _Shots) -> float:
    """How far the face moves, at most, wherever one is seen after the other within a shot; in sides."""
    both = one.then(other)
    whose, shot = np.isin(both.frames, one.frames), shots.of(both.frames)
    at = np.flatnonzero((whose[1:] != whose[:-1]) & (shot[1:] == shot[:-1]))
    return float(_apart(both.box[at], both.box[at + 1]).max(initial=0))


def _typical(appearance: Appearance) -> NDArray[np.float32]:
    """`(4,)`: the median box."""
    return np.median(appearance.box, axis=0).astype(np.float32)


def _roots(appearance: Appearance) -> NDArray[np.float64]:
    """`(COLOURS,)`: the roots of the shares of colours; the product of two is their `likeness`."""
    total = appearance.colours.sum()
    return np.sqrt(appearance.colours / total) if total > 0 else np.zeros(len(appearance.colours))


def _named_by_side(chosen: list[_Person]) -> Subjects:
    """Names of one person, or of two by rule 4; `chosen` has the most prominent one first."""
    names = [MAIN]
    if len(chosen) > 1:
        first_is_left = chosen[0].appearance.centre[0] <= chosen[1].appearance.centre[0]
        names = list(SIDES) if first_is_left else list(SIDES[::-1])
    tracks = {name: tuple(sorted(person.tracks)) for name, person in zip(names, chosen, strict=True)}
    return Subjects({name: tracks[name] for name in sorted(tracks)}, names[0])


def _named_by_place(chosen: list[_Person], pair: int) -> Subjects:
    """Names of more people than one, or two by rule 4, from left to right.

    Args:
        chosen: the most prominent person first.
        pair: how many of them, from the first on, would be subjects where two are kept.
    """
    across = sorted(range(len(chosen)), key=lambda place: (chosen[place].appearance.centre[0], place))
    names = {place: person(number) for number, place in enumerate(across, 1)}
    of_two = [names[place] for place in across if place < pair]
    return Subjects(
        {names[place]: tuple(sorted(chosen[place].tracks)) for place in across},
        names[0],
        dict(zip(of_two, SIDES, strict=True)) if pair == len(SIDES) else {},
    )
