"""From the store to arrays: which face a label speaks of, and the features of labelled frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from affstore import FeatureStore
from affstore.models.extractor_specs import IMPORTED, ImportedFeatures
from affstore.models.heads.splits import SPLITS, Folds
from affstore.store.contract.labels import LabelSpace
from affstore.store.contract.names import MAIN, SIDES, in_order, person_number
from affstore.store.contract.printable import some
from affstore.store.contract.records import Address, Record
from affstore.tasks.imported_inputs import is_meant, lacks_features
from affstore.tasks.remarks import Remark
from affstore.tasks.specs import HeadRun, Input, most_subjects_of

SplitName = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class LabelledSubject:
    """A labelled subject of a video with the features a head takes.

    Attributes:
        label: the label's record.
        features: the records of the inputs, in order.
    """

    label: Record
    features: tuple[Record, ...]


def labelled(store: FeatureStore, head_run: HeadRun, part: SplitName) -> list[LabelledSubject]:
    """Every labelled subject that a head is fitted on, or that chooses its epoch.

    Those that lack an input, as a face that was never found, are left out.

    Args:
        store: an open store.
        head_run: its division says which videos are meant.
        part: `train` or `validation`.
    """
    division = head_run.division
    if part == "validation" and division.blind:
        return []
    splits = division.train if part == "train" or division.folds else division.validation
    labels = labels_of(store, head_run.space, splits)
    if division.folds:
        labels = [one for one in labels if held_out(store, head_run, one.address.video) == (part == "validation")]
    return labelled_subjects(store, head_run, labels)


def labelled_subjects(store: FeatureStore, head_run: HeadRun, labels: Iterable[Record]) -> list[LabelledSubject]:
    """Labels with the features of their subjects; those that lack an input are left out."""
    found = []
    for label in labels:
        video = label.address.video
        subject = subject_of(store, head_run, label.address, named_subjects(store, video))
        features = features_of(store, video, subject, head_run) if subject else None
        if features is not None:
            found.append(LabelledSubject(label, features))
    return found


def labels_of(store: FeatureStore, space: LabelSpace, splits: Collection[str]) -> list[Record]:
    """The labels of a space in some splits; those that were read by another definition of it are left out."""
    return [
        record
        for record in store.records("label")
        if record.address.producer == space.name and record.attributes["split"] in splits and is_read_as(record, space)
    ]


def is_read_as(label: Record, space: LabelSpace) -> bool:
    """Whether labels were read by the definition that a space has now: by another, their numbers mean other names."""
    now = space.definition()
    return bool(label.attributes.get("space", now) == now)


def otherwise_labelled(store: FeatureStore, heads: Iterable[HeadRun]) -> list[Remark]:
    """The videos whose labels heads leave out, as they were read by another definition of their space."""
    spaces = {head.task: head.space for head in heads}
    return [
        Remark(
            label.address.video,
            "labels",
            f"Its labels of '{label.address.producer}' were read when that had another definition: heads leave them "
            "out. Add its label file again.",
        )
        for label in (store.records("label") if spaces else ())
        if label.address.producer in spaces and not is_read_as(label, spaces[label.address.producer])
    ]


def unmatched_labels(store: FeatureStore, heads: Iterable[HeadRun]) -> list[Remark]:
    """The labels that heads leave out, as no face is of the person whom they name, or an input of a head is missing.

    Imported features that are missing have remarks of their own.
    """
    by_inputs: dict[tuple[Any, ...], list[HeadRun]] = {}
    for head in heads:
        by_inputs.setdefault((head.task, head.inputs, head.extractors, head.imported), []).append(head)
    left_out: dict[tuple[Address, str], list[str]] = {}
    for alike in by_inputs.values():
        head = alike[0]
        for label in labels_of(store, head.space, SPLITS):
            reason = _why_unmatched(store, head, label.address)
            if reason and not lacks_features(store, head, label.address.video):
                left_out.setdefault((label.address, reason), []).extend(one.name for one in alike)
    return [
        Remark(
            label.video,
            "unmatched labels",
            f"Its labels of '{label.producer}' for '{label.subject}' are left out by {some(names)}: {reason}",
        )
        for (label, reason), names in left_out.items()
    ]


def _why_unmatched(store: FeatureStore, head_run: HeadRun, label: Address) -> str:
    """Why a label has not all inputs of a head; empty where it has."""
    subject = subject_of(store, head_run, label, named_subjects(store, label.video))
    if subject is None:
        found = in_order(subjects_of(store, label.video, head_run))
        people = f"its people by '{head_run.faces}' are {', '.join(found)}" if found else "it has no face"
        return f"{people}. Name the person so in the labels, or find more people with --people all."
    if features_of(store, label.video, subject, head_run) is not None:
        return ""
    inputs = " and ".join(dict.fromkeys(f"'{part.extractor}'" for part in head_run.inputs))
    return f"it lacks what the head takes of that person ({inputs}). `affstore plan` says what is missing."


def labels_of_no_source(store: FeatureStore, heads: Iterable[HeadRun], brought: Collection[Address]) -> list[Remark]:
    """The videos with labels that heads are trained on, and that no source of labels of a run brings.

    They came from a file that has been deleted, or that another run took in. Of a space that no source of the run is
    of, nothing is said: its labels are those of the store.

    Args:
        store: after the run has taken in its files.
        heads: that are trained.
        brought: where the labels are, or would be, that the run's sources hold.
    """
    producers = {address.producer for address in brought}
    spaces = {head.task: head.space for head in heads if head.task in producers}
    return [
        Remark(
            label.address.video,
            "other labels",
            f"Its labels of '{space.name}' ({label.address.subject}) come from '{label.attributes['location']}', which "
            "no source of this run brings; heads are trained and judged on them all the same. Name that file among "
            "the sources; or, to take them out, put it there again without any label of this video, and add it.",
        )
        for space in spaces.values()
        for label in labels_of(store, space, SPLITS)
        if label.address not in brought
    ]


def held_out(store: FeatureStore, head_run: HeadRun, video: str) -> bool:
    """Whether a head's fold holds out a video; False without folds.

    Raises:
        AnnotationError: folds are made of groups, and the video has none.
    """
    division = head_run.division
    return division.folds is not None and fold_of(store, division.folds, video) == division.held_out


def fold_of(store: FeatureStore, folds: Folds, video: str) -> int:
    """The fold of a video that the store has, from 0.

    Raises:
        AnnotationError: folds are made of groups, and the video has none.
    """
    source = store.get(Address("source", video=video)).attributes
    return folds.fold_of((video, *source["aliases"]), source["sha256"])


def subjects_of(store: FeatureStore, video: str, head_run: HeadRun) -> list[str]:
    """The people of a video that a head speaks of; of sound alone there is one prediction."""
    if not head_run.faces:
        return [MAIN]
    return _subjects_at(store, people_at(head_run.faces, video))


def subject_of(store: FeatureStore, head_run: HeadRun, meant: Address, named: Iterable[str]) -> str | None:
    """Which of a head's subjects is meant by the video and subject of an address; see `face_of`."""
    if not head_run.faces:
        return MAIN
    return face_of(store, people_at(head_run.faces, meant.video, meant.subject), named)


def people_at(producer: str, video: str, subject: str = MAIN) -> Address:
    """Where a video's people are by what says who they are: a detector, crop folders, or imported features of them."""
    return Address("visual" if producer.startswith(IMPORTED) else "face", producer, video, subject)


def _subjects_at(store: FeatureStore, people: Address) -> list[str]:
    found = store.addresses(people.family, video=people.video)
    return [address.subject for address in found if address.producer == people.producer]


def features_of(store: FeatureStore, video: str, subject: str, head_run: HeadRun) -> tuple[Record, ...] | None:
    """The records of a head's inputs for one of its subjects; None when one is missing, or not what is meant.

    Where its inputs take their faces from several places, the subject is looked for in each.
    """
    people = subjects_of(store, video, head_run)
    found = []
    for part in head_run.inputs:
        at = _subject_of_input(store, head_run, part, (video, subject), people)
        family = "visual" if head_run.faces_of(part) else "audio"
        record = None if at is None else store.find(Address(family, part.extractor, video, at))
        if record is None or not is_meant(store, head_run, part, record):
            return None
        found.append(record)
    return tuple(found)


def _subject_of_input(
    store: FeatureStore, head_run: HeadRun, part: Input, of: tuple[str, str], people: Collection[str]
) -> str | None:
    """As whom an input knows one of a head's subjects of a video; nobody, an empty text, for sound."""
    (video, subject), producer = of, head_run.faces_of(part)
    if not producer:
        return ""
    if isinstance(head_run.spec_of(part), ImportedFeatures) and producer != head_run.faces:
        # Whoever imported them named people as annotations do, and not by the faces that were found.
        named = _subjects_at(store, people_at(producer, video))
        return next(
            (one for one in named if subject_of(store, head_run, people_at("", video, one), named) == subject), None
        )
    return same_face(store, people_at(head_run.faces, video, subject), producer, people)


def same_face(store: FeatureStore, face: Address, producer: str, named: Iterable[str]) -> str | None:
    """As whom another detector or kind of crop folder knows a face, or None where it does not; see `face_of`.

    Crop folders of two people are called as Aff-Wild2's, so one of many is looked for there by its side, too.

    Args:
        store: an open store.
        face: a subject of one producer.
        producer: the other one.
        named: every subject of that video that is named beside it.
    """
    others = set(named)
    found = face_of(store, people_at(producer, face.video, face.subject), others)
    record = store.find(face) if found is None else None
    side = record.attributes.get("side") if record else None
    return face_of(store, people_at(producer, face.video, side), others) if side else found


def face_of(store: FeatureStore, meant: Address, named: Iterable[str]) -> str | None:
    """Which stored face is meant by a subject's name, or None when that person's face was never found.

    In Aff-Wild2 a video of two people is named as `<video>` and `<video>_right` (or `_left`), or by both sides. So the
    plain name means the side that nothing else names and, where that does not decide, the more prominent face. Of many
    faces, the sides are the two that would be kept alone. `person1` is the leftmost of all also where all were asked
    for and there are only `left` and `right`, or `main`.

    Args:
        store: an open store.
        meant: a face (or imported features of it) by its producer, its video and its subject: `main`, `left`, `right`
            or `person1`, `person2` …, as an annotation, a sample list or another producer names it.
        named: every subject of that video that is named beside it.
    """
    found = store.records(meant.family, video=meant.video)
    faces = {record.address.subject: record for record in found if record.address.producer == meant.producer}
    if meant.subject in faces or not faces:
        return meant.subject if faces else None
    if meant.subject == MAIN:
        return _plainly_named(faces, named)
    number = person_number(meant.subject)
    if number is not None:
        return _numbered(faces, number)
    if set(faces) == {MAIN}:
        return MAIN if _side_of(store, faces[MAIN]) == meant.subject else None
    # Where the other side is named, this one goes by the plain name.
    return MAIN if MAIN in faces else _sides_among(faces).get(meant.subject)


def _plainly_named(faces: Mapping[str, Record], named: Iterable[str]) -> str | None:
    """The face that a video's own name means, beside those that are named by a side or a number."""
    sides = _sides_among(faces)
    others = {sides.get(one, one) for one in named}
    free = in_order(set(faces) - others)
    if not free and len(faces) == 1:
        return None  # the only face is the one that its side names
    of_two = [one for one in free if one in sides.values()] if sides else free
    found = of_two or free
    return found[0] if len(found) == 1 else _foremost({one: faces[one] for one in found or faces})


def _sides_among(faces: Mapping[str, Record]) -> dict[str, str]:
    """Of many faces, which are the sides of Aff-Wild2: those that would be kept if two were."""
    return {str(side): name for name, face in faces.items() if (side := face.attributes.get("side"))}


def _numbered(faces: Mapping[str, Record], number: int) -> str | None:
    """The face of a number from left to right where all were kept and are `left` and `right`, or `main`."""
    names = in_order(faces)
    everyone = all(person_number(name) is None and most_subjects_of(face) == "all" for name, face in faces.items())
    return names[number - 1] if everyone and number <= len(names) else None


def _foremost(faces: Mapping[str, Record]) -> str:
    """The most prominent of some faces; that of most frames where none is called so."""
    prominence = {
        side: (face.attributes.get("prominent", False), face.made.get("faces", 0)) for side, face in faces.items()
    }
    return max(in_order(faces), key=prominence.__getitem__)


def named_subjects(store: FeatureStore, video: str) -> set[str]:
    """Every subject of a video that an annotation names."""
    return {address.subject for address in store.addresses("label", video=video)}


def _side_of(store: FeatureStore, face: Record) -> str | None:
    """On which side of the picture the only face of a video is; None for a crop folder, which does not say."""
    if "box" not in store.group(face.address):
        return None
    arrays = store.read(face.address, ["box", "present"])
    boxes = arrays["box"][arrays["present"]]
    width = store.get(Address("source", video=face.address.video)).attributes["width"]
    return SIDES[0] if not len(boxes) or boxes[:, [0, 2]].mean() < width / 2 else SIDES[1]
