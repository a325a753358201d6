"""Which tier of a file holds the labels of a person: by what it is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from affstore.models.labels.base import LabelFile
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import LabelSpace, SpaceKind, label_tier
from affstore.store.contract.names import MAIN, check_subject, possible_subject
from affstore.store.contract.printable import some
from affstore.store.contract.table_files import shortened

_COMPUTED = ("prediction", "visual", "audio", "face")
"""What the tiers of affstore's exports begin with that are nobody's labels."""


@dataclass(frozen=True, slots=True, order=True)
class Annotation:
    """What a tier says from `start` to before `end`, in seconds of the video's own clock."""

    start: Fraction
    end: Fraction
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of a file; another one may be called alike.

    Attributes:
        name: as the file calls it.
        annotations: that can be used.
        fault: why others cannot be, which matters only where the tier is read; empty else.
    """

    name: str
    annotations: Sequence[Annotation]
    fault: str = ""

    def read(self) -> Sequence[Annotation]:
        """Its annotations.

        Raises:
            AnnotationError: some cannot be used.
        """
        if self.fault:
            raise AnnotationError(self.fault)
        return self.annotations


Tiers = Sequence[Tier]


@dataclass(frozen=True, slots=True)
class Choice:
    """The tier that is read for a name.

    Attributes:
        tier: what it is called.
        others: tiers that are called alike and are not read.
        remark: what is odd about the choice, or an empty text.
    """

    tier: str
    others: tuple[str, ...] = ()
    remark: str = ""


def choose(found: LabelFile, tiers: Tiers, space: LabelSpace, name: str) -> Choice | None:
    """The tier of a space of classes, or of one of a space's names; None without any.

    It is called as the name, or `label/SPACE/SUBJECT`, followed by `/NAME` for other spaces than classes, as in
    affstore's exports. Without these, one that ends in `/NAME` will do, and one of labels goes before one of
    predictions; and for classes, the only tier with texts.

    Raises:
        AnnotationError: several would do alike.
    """
    of_classes = space.kind is SpaceKind.CLASSES
    subject = _subject(found, tiers, space)
    wanted = name.casefold()
    ours_name = label_tier(space, subject, "" if of_classes else name).casefold()
    called = [tier.name for tier in tiers]
    ours = [tier for tier in called if tier.casefold() == ours_name]
    plain = [tier for tier in called if tier.casefold() == wanted]
    alike = [tier for tier in called if tier.casefold().endswith(f"/{wanted}") and tier not in ours]
    of_labels = [tier for tier in alike if not of_classes and _is_label(tier) and tier.split("/")[2] == subject]
    computed = [tier for tier in alike if not of_classes and _is_computed(tier)]
    free = [tier for tier in alike if not is_of_export(tier)]
    groups = [(ours, ""), (plain, "")] if found.within else [(plain, ""), (ours, "")]
    groups += [(free, ""), (of_labels, "labels of another space"), (computed, "predictions")]
    if of_classes and not any(group for group, _ in groups):
        filled = [tier.name for tier in tiers if (tier.annotations or tier.fault) and not _is_label(tier.name)]
        groups += [(filled if len(filled) == 1 else [], "the only tier with texts")]
    for group, remark in groups:
        if len(group) > 1:
            raise AnnotationError(f"'{found.path}' has several tiers for '{name}': {', '.join(group)}. Leave one.")
        if group:
            left = [tier for tiers_alike, _ in groups for tier in tiers_alike if tier not in group]
            return Choice(group[0], tuple(dict.fromkeys(left)), remark)
    return None


def labelled_subjects(tiers: Tiers, space: LabelSpace) -> set[str]:
    """The people of a video whose labels of a space the tiers of an export hold."""
    return set(_labelled(tiers, space))


def is_of_export(tier: str) -> bool:
    """Whether a tier is called as affstore's exports call theirs."""
    return _is_label(tier) or _is_computed(tier)


def note_of(taken: Sequence[Choice]) -> str | None:
    """Which tiers were read, where others could have been, or what they are is not by their names; else None."""
    odd = [one for one in taken if one.others or one.remark]
    if not odd:
        return None
    by_form: dict[bool, list[str]] = {
        is_of_export(one.tier): [] for one in sorted(odd, key=lambda one: is_of_export(one.tier))
    }
    for one in odd:
        by_form[is_of_export(one.tier)].append(one.tier)
    remark = next((f", {one.remark}" for one in odd if one.remark), "")
    others = list(dict.fromkeys(other for one in odd for other in one.others))
    read = f"read from the tier {', and '.join(map(_listed, by_form.values()))}{remark}"
    return f"{read}; left aside: {_listed(others)}" if others else read


def _subject(found: LabelFile, tiers: Tiers, space: LabelSpace) -> str:
    """Whose labels are read: those of the person that the file is called after, if it has any."""
    meant = possible_subject(found.name)[1]
    return meant if meant in labelled_subjects(tiers, space) else MAIN


def _labelled(tiers: Tiers, space: LabelSpace) -> Iterator[str]:
    names = ("",) if space.kind is SpaceKind.CLASSES else space.names
    for tier in (one.name for one in tiers):
        if _is_label(tier):
            subject = tier.split("/")[2]
            if tier.casefold() in {label_tier(space, subject, name).casefold() for name in names}:
                yield subject


def _is_computed(tier: str) -> bool:
    return tier.partition("/")[0] in _COMPUTED and "/" in tier


def _is_label(tier: str) -> bool:
    """Whether a tier is called as those of labels in affstore's exports: `label/SPACE/SUBJECT…`."""
    family, _, rest = tier.partition("/")
    parts = rest.split("/")
    if family != "label" or len(parts) < 2:
        return False
    try:
        return bool(check_subject(parts[1]))
    except SpecError:
        return False


def _listed(names: Sequence[str]) -> str:
    return some([*map(shortened, names)], most=1)
