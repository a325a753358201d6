"""Labels as tiers of intervals, as ELAN and Praat keep them: what a tier means for a label space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.labels.base import FrameLabels, LabelFile, LabelFormat
from affstore.models.labels.tier_choice import Annotation, Tiers, choose, is_of_export, labelled_subjects, note_of
from affstore.models.labels.times import first_frame, is_before, said_of_late_begin, said_of_outside
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import UNKNOWN_TEXTS, LabelSpace, SpaceKind, Task, number_of, task_space
from affstore.store.contract.names import MAIN, in_order, join_subject, possible_subject
from affstore.store.contract.printable import counted, some
from affstore.store.contract.table_files import shortened
from affstore.store.contract.walk import Leavings

_MOST_NAMED = 6
"""So many tiers are named in a message."""


class TierFormat(LabelFormat):
    """A format whose files hold tiers, each called as its video; see `labels_of` for what its tiers mean.

    What affstore exports is a file a video, with tiers of each person's labels, and is read once for each of them. Of a
    folder of exports in which some have labels of the space, those that have none are left out: their predictions, of
    the same names, are no labels.
    """

    @abstractmethod
    def tiers(self, path: Path) -> Tiers:
        """The tiers of a file.

        Raises:
            AnnotationError: it is not of this format; the message names the file.
        """

    def files_of(self, folder: Path, task: Task, leavings: Leavings | None = None) -> list[LabelFile]:
        """See `LabelFormat.files_of`."""
        found = super().files_of(folder, task, leavings)
        kinds = {one.path: self._held(one, task_space(task)) for one in found}
        if any(held.subjects for held in kinds.values()):
            found = [one for one in found if kinds[one.path].subjects or not kinds[one.path].is_export]
        return [person for one in found for person in _by_subject(one, kinds[one.path].subjects)]

    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """See `LabelFormat.read`."""
        return labels_of(found, self.tiers(found.path), space, clock)

    def _held(self, found: LabelFile, space: LabelSpace) -> _Held:
        try:
            tiers = self.tiers(found.path)
        except AnnotationError:
            return _Held(frozenset(), is_export=False)  # which is said when its labels are read
        return _Held(
            frozenset(labelled_subjects(tiers, space)), bool(tiers) and all(is_of_export(tier.name) for tier in tiers)
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """What a file holds: whose labels of a space as affstore exports them, and whether it has no other tiers."""

    subjects: frozenset[str]
    is_export: bool


def _by_subject(found: LabelFile, subjects: Set[str]) -> list[LabelFile]:
    """A file once for each of the people whose labels it holds; as it is where its name says whose they are."""
    if subjects in (set(), {MAIN}, {possible_subject(found.name)[1]}):
        return [found]
    return [found.of_video(join_subject(found.name, subject), found.split) for subject in in_order(subjects)]


def labels_of(found: LabelFile, tiers: Tiers, space: LabelSpace, clock: FrameClock) -> FrameLabels:
    """The labels of every frame.

    The tier of a space of classes is called as the space, and its texts are the classes' names; any name will do where
    the file has one tier with texts. Of other spaces each name has a tier, whose texts are numbers; of a unit that is
    shown or not, an interval says that it is shown, whatever its text, or that nobody knows by `unknown`, `?` or a text
    that the space has for it; the unit is not shown elsewhere. `affstore.models.labels.tier_choice` says by which name
    a tier is found.

    Raises:
        AnnotationError: there is no such tier or several, two of its annotations overlap, or one ends before it begins.
    """
    path = found.path
    value = np.zeros((len(clock), space.columns), space.dtype)
    known = np.zeros(value.shape, bool)
    wrong: list[str] = []
    missing, taken = [], []
    # Of several tiers that are called alike, at most one has annotations: `choose` refuses others.
    annotations = {tier.name: tier for tier in sorted(tiers, key=lambda tier: bool(tier.annotations or tier.fault))}
    for column, name in enumerate([space.name] if space.kind is SpaceKind.CLASSES else space.names):
        choice = choose(found, tiers, space, name)
        if choice is None:
            missing.append(name)
        else:
            taken.append(choice)
            column_of = (name, value[:, column], known[:, column])
            wrong += _fill(path, annotations[choice.tier].read(), space, clock, column_of)
    if not taken:
        there = some([*map(shortened, annotations)], _MOST_NAMED, "; ") or "none"
        wanted = some(missing)
        raise AnnotationError(f"'{path}' has no tier for '{space}' (expected {wanted}); its tiers are: {there}.")
    complaints = [f"It has no tier for {', '.join(missing)}."] if missing else []
    if wrong:
        complaints.append(
            f"{counted(len(wrong), 'annotation is', 'annotations are')} no label of '{space}', the first "
            f"{shortened(wrong[0])}; taken as unknown."
        )
    complaints += _outside([one for choice in taken for one in annotations[choice.tier].read()], space, clock)
    note = "; ".join(filter(None, (note_of(taken), said_of_late_begin(clock)))) or None
    return FrameLabels(value, known, " ".join(complaints) or None, note)


def _outside(annotations: Sequence[Annotation], space: LabelSpace, clock: FrameClock) -> list[str]:
    """What is to be said of annotations that no frame of the video can have."""
    said = [one for one in annotations if one.text.strip() or space.kind is SpaceKind.UNITS]
    before = [one.start for one in said if is_before(one.start, one.end, clock)]
    after = [one.start for one in said if len(clock) and first_frame(clock, one.start) >= len(clock)]
    return said_of_outside("annotation", before, after, lambda at: f"the first at {float(min(at)):g} s", clock)


def _fill(
    path: Path,
    tier: Sequence[Annotation],
    space: LabelSpace,
    clock: FrameClock,
    column: tuple[str, NDArray[np.generic], NDArray[np.bool_]],
) -> list[str]:
    """Write a tier into a column, which has a name; gives the texts that are no labels."""
    name, value, known = column
    known[:] = space.kind is SpaceKind.UNITS
    names = [one.casefold() for one in space.names]
    unknown_units = {*UNKNOWN_TEXTS} - {name.casefold()}
    ordered, wrong = sorted(tier), []
    for one in ordered:
        if one.end < one.start:
            times = f"begins at {float(one.start):g} s and ends at {float(one.end):g} s"
            raise AnnotationError(f"'{path}': an annotation of the tier for '{name}' {times}. Correct the file.")
    for one, other in pairwise(ordered):
        if other.start < one.end:
            times = f"{float(other.start):g} s and {float(one.end):g} s"
            raise AnnotationError(f"'{path}': two annotations of one tier overlap between {times}. Correct the file.")
    for one in ordered:
        text = one.text.strip().casefold()
        frames = slice(first_frame(clock, one.start), first_frame(clock, one.end))
        if space.kind is SpaceKind.UNITS:
            value[frames] = known[frames] = text not in unknown_units and not space.is_unknown(text)
        elif space.kind is SpaceKind.CLASSES and text in names:
            value[frames], known[frames] = names.index(text), True
        elif text and not space.is_unknown(text):
            number = number_of(text.replace(",", "."))
            valid = space.kind is not SpaceKind.CLASSES and bool(space.is_valid(np.array(number)))
            known[frames] = valid
            value[frames] = number if valid else 0
            wrong += [] if valid else [one.text]
    return wrong
