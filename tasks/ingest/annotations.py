"""Put annotation files on their videos' frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.labels.base import FORMATS, LabelFile
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AffstoreError, AnnotationError, NotFoundError, SourceError, nearest
from affstore.store.contract.keys import digest_of_unchanged, key_of
from affstore.store.contract.labels import LabelSpace, task_space
from affstore.store.contract.names import MAIN, possible_subject, split_subject, subject_called, without_suffix
from affstore.store.contract.printable import counted
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.engine.draft import Draft
from affstore.store.engine.reading import find_source, read_clock, video_names
from affstore.tasks import recipes
from affstore.tasks.ingest.crop_assignment import two_meanings
from affstore.tasks.ingest.sources import lift_quarantine, place_of, quarantine_artifact
from affstore.tasks.outcomes import Outcome
from affstore.tasks.retries import raise_what_passes
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import Task


def store_labels(context: WorkerContext, name: str, found: Sequence[LabelFile]) -> Outcome:
    """Store annotation files as labels, unless they are in the store.

    The outcome's reason counts them; its draft holds those that were new, and those that cannot be used. Of these,
    the labels of an earlier version of the file stay in the store, and the reason says so.

    Args:
        context: where the run works.
        name: what the annotation files are called: a video, or one of its people as `12_left`.
        found: the files of that name, one a task.
    """
    return replace(_stored(context, name, found), file=str(found[0].path))


def _stored(context: WorkerContext, name: str, found: Sequence[LabelFile]) -> Outcome:
    store = context.store()
    reasons: list[str] = []
    try:
        source, subject, note = _whose(store, name)
    except NotFoundError:
        return _without_video(context, name, found)
    if twice := _said_of_two(found):
        return Outcome("annotate", name, "failed", twice)
    due = [(one, recipe) for one in found if (recipe := _due(store, one, (source, subject))) is not None]
    if not due:
        return _cached(name, note)
    draft = store.draft(context.code, context.run_id)
    for annotation, recipe in due:
        try:
            _store_label(store, draft, annotation, recipe, (source, subject))
        except SourceError as error:
            raise_what_passes(error)
            reasons.append(f"{error}{_said_of_earlier(store, annotation, (source, subject))}")
            _note_unusable(store, draft, annotation, str(error))
    written = draft if draft.records else None
    if reasons:
        return Outcome("annotate", name, "quarantined", " ".join(dict.fromkeys(reasons)), draft=written)
    if written is None:
        return _cached(name, note)
    return Outcome(
        "annotate", name, "done", f"{counted(len(draft.records), 'label file', 'label files')}{note}", draft=written
    )


def _said_of_two(found: Sequence[LabelFile]) -> str:
    """What is wrong where two files, or two names of one file, have labels of one task; else an empty text."""
    first: dict[str, LabelFile] = {}
    for one in found:
        other = first.setdefault(str(one.task), one)
        if other is not one:
            places = " and ".join(f"'{each.within or each.path.name}' of '{each.path}'" for each in (other, one))
            return f"It has labels of '{one.task}' twice: {places}. Call it in one way, in one file."
    return ""


def _without_video(context: WorkerContext, name: str, found: Sequence[LabelFile]) -> Outcome:
    """The outcome of files that are called as no video: those that cannot be read at all need not be."""
    store = context.store()
    if faults := dict.fromkeys(one.fault for one in found if one.fault):
        draft = store.draft(context.code, context.run_id)
        for one in found:
            if one.fault:
                _note_unusable(store, draft, one, one.fault)
        reasons = " ".join([*faults, *_said_of_table(store, found)])
        return Outcome("annotate", name, "quarantined", reasons, draft=draft if draft.records else None)
    names, stem = video_names(store), PurePath(name).stem
    near = stem if split_subject(stem, names)[0] in names else nearest(name, sorted(names))
    files = " and ".join(dict.fromkeys(f"'{one.path}'" for one in found))
    hint = f"Did you mean '{near}'?" if near else "`affstore status` lists the videos."
    return Outcome(
        "annotate", name, "failed", f"There is no video '{name}' in the store to put the labels of {files} on. {hint}"
    )


def stored_labels(store: FeatureStore, name: str, found: Sequence[LabelFile]) -> Outcome | None:
    """The outcome of annotation files whose labels the store has; None where a task has something to do, or to say."""
    try:
        source, subject, note = _whose(store, name)
        if any(_due(store, one, (source, subject)) is not None for one in found):
            return None
    except (AffstoreError, OSError):  # the task meets it again and says so; the other files' labels go on
        return None
    return replace(_cached(name, note), file=str(found[0].path))


def _cached(name: str, note: str) -> Outcome:
    return Outcome("annotate", name, "cached", f"its labels are in the store{note}")


annotate = Task("annotate", "annotate {name}", store_labels, lambda *_: 0)
"""What `store_labels` does, as a task."""


def labelled_by(store: FeatureStore, found: Iterable[LabelFile]) -> set[Address]:
    """Where the labels of files are in the store, or would be; files of no video of the store are left out.

    Of a file that is refused, those that an earlier version of it has left there.
    """
    names = video_names(store)
    called = [(str(one.task), *subject_called(one.name, names)) for one in found if not one.fault]
    refused = {(str(one.task), place_of(one.path)) for one in found if one.fault}
    earlier = store.records("label") if refused else ()
    return {Address("label", task, names[video], subject) for task, video, subject in called if video in names} | {
        one.address for one in earlier if (one.address.producer, one.attributes["location"]) in refused
    }


def withdrawn_labels(
    store: FeatureStore, found: Sequence[LabelFile], of_test: Sequence[LabelFile] = ()
) -> dict[str, list[Address]]:
    """The stored labels, by video, that were read from some files which have nothing of them any more.

    Args:
        store: in which all that the files have now is stored already.
        found: all that files of labels hold now. A file that cannot be read at this moment, or is refused as a whole,
            says nothing.
        of_test: what these files hold of test videos, which is in no store.
    """
    places: dict[tuple[PurePath, str], str] = {}
    refused = {(one.path, str(one.task)) for one in found if one.fault}
    for one in (*found, *of_test):
        key = one.path, str(one.task)
        if key not in places and key not in refused and _says_all(one) and _is_readable(one):
            places[key] = place_of(one.path)
    meant = {(task, place) for (_, task), place in places.items()}
    kept = labelled_by(store, found) if meant else set()
    withdrawn: dict[str, list[Address]] = defaultdict(list)
    for label in store.records("label") if meant else ():
        address = label.address
        if (address.producer, label.attributes["location"]) in meant and address not in kept:
            withdrawn[address.video].append(address)
    return withdrawn


def _says_all(found: LabelFile) -> bool:
    """Whether a file holds all labels that come from its place: links, called by their videos, may lead to one file."""
    return bool(found.within) or not found.path.is_symlink()


def _is_readable(found: LabelFile) -> bool:
    try:
        digest_of_unchanged(found.path)
    except (AffstoreError, OSError):
        return False
    return True


def remove_labels(context: WorkerContext, name: str, withdrawn: Sequence[Address]) -> Outcome:
    """Remove labels of a video that their files have withdrawn; earlier snapshots keep them.

    Args:
        context: where the run works.
        name: of the video.
        withdrawn: see `withdrawn_labels`.
    """
    store = context.store()
    draft = store.draft(context.code, context.run_id)
    stored = store.find_all(withdrawn)
    for label in stored:
        draft.remove(label.address)
    files = " and ".join(dict.fromkeys(f"'{label.attributes['location']}'" for label in stored))
    text = (
        f"{counted(len(stored), 'label', 'labels')} removed: none of this video for training or validation in {files}"
    )
    return Outcome("annotate", name, "done", text, draft=draft if draft.removed else None)


withdraw = Task("annotate", "withdraw labels of {name}", remove_labels, lambda *_: 0)
"""What `remove_labels` does, as a task."""


def _whose(store: FeatureStore, name: str) -> tuple[Record, str, str]:
    """The video and the subject that annotation files are of, and what a person should know of that choice.

    A video that is itself called `12_left` is meant before the left person of `12`, and one that is called `12.mp4`
    before the video `12`.

    Raises:
        NotFoundError: there is no such video.
    """
    if without_suffix(name) != name:
        name = without_suffix(name, video_names(store))
    if possible_subject(name)[1] == MAIN:
        return find_source(store, name), MAIN, ""
    names = video_names(store)
    video, subject = split_subject(name, names)
    note = two_meanings(name, names)
    return find_source(store, video), subject, f". {note}" if note else ""


def _due(store: FeatureStore, found: LabelFile, whose: tuple[Record, str]) -> dict[str, Any] | None:
    """The recipe of a file's labels; None where that is what the store has."""
    source, subject = whose
    recipe = recipes.label(found, digest_of_unchanged(found.path), source.key, subject)
    stored = store.find(Address("label", str(found.task), source.address.video, subject))
    return None if stored is not None and stored.key == key_of(recipe) else recipe


def _store_label(
    store: FeatureStore, draft: Draft, found: LabelFile, recipe: dict[str, Any], whose: tuple[Record, str]
) -> None:
    source, subject = whose
    address = Address("label", str(found.task), source.address.video, subject)
    draft.put(_label_artifact(address, recipe, found, (source, read_clock(store, source.address.video))))
    _take_back(store, draft, found, address)
    for name in {found.in_quarantine, found.path.name}:  # a table of many videos is refused as a whole or in parts
        lift_quarantine(store, draft, "annotate", name=name, location=place_of(found.path))


def _take_back(store: FeatureStore, draft: Draft, found: LabelFile, address: Address) -> None:
    """Remove the same file's labels from where they were put before the video that they are of was there."""
    old = Address("label", str(found.task), found.video, found.subject)
    stored = store.find(old) if old != address else None
    if stored is not None and stored.attributes["location"] == place_of(found.path):
        draft.remove(old)


def _said_of_earlier(store: FeatureStore, found: LabelFile, whose: tuple[Record, str]) -> str:
    """That heads go on with what an earlier version of a file has left in the store; an empty text where it has not."""
    source, subject = whose
    stored = store.find(Address("label", str(found.task), source.address.video, subject))
    if stored is None or stored.attributes["location"] != place_of(found.path):
        return ""
    return f" Its stored labels of '{found.task}' are of an earlier version of the file, and stay."


def _said_of_table(store: FeatureStore, found: Sequence[LabelFile]) -> list[str]:
    """That heads go on with what earlier versions of tables that are refused as a whole have left in the store."""
    said = []
    for one in found:
        place = place_of(one.path)
        stored = [
            label
            for label in store.records("label")
            if label.address.producer == str(one.task) and label.attributes["location"] == place
        ]
        if one.fault and stored:
            labels = counted(len(stored), "stored label", "stored labels")
            said.append(f"Its {labels} of '{one.task}', of an earlier version of the file, stay.")
    return said


def _note_unusable(store: FeatureStore, draft: Draft, found: LabelFile, reason: str) -> None:
    """Quarantine an annotation file, unless that is what the store says already."""
    artifact = quarantine_artifact("annotate", found.in_quarantine, found.path, digest_of_unchanged(found.path), reason)
    stored = store.find(artifact.address)
    if stored is None or stored.attributes["reason"] != reason:
        draft.put(artifact)


def _label_artifact(
    address: Address, recipe: dict[str, Any], found: LabelFile, of: tuple[Record, FrameClock]
) -> Artifact:
    source, clock = of
    space = task_space(found.task)
    if found.fault:
        raise AnnotationError(found.fault)
    labels = FORMATS.get(found.format).read(found, space, clock)
    attributes = {
        "frames": len(clock),
        "task": space.name,
        "labels": list(space.names),
        "split": found.split,
        "location": place_of(found.path),
        "complaint": labels.complaint,
        **({"note": labels.note} if labels.note else {}),
        **_lacking_columns(space, labels.known),
    } | ({"space": space.definition()} if space is found.task else {})
    value = np.where(labels.known, labels.value, 0).astype(labels.value.dtype)
    return Artifact(address, recipe, {"value": value, "known": labels.known}, attributes, (source.as_parent(),))


def _lacking_columns(space: LabelSpace, known: NDArray[np.bool_]) -> dict[str, Any]:
    """How many of the labelled frames lack a column, and which columns they lack; nothing where none does."""
    labelled = known.any(axis=1)
    partly = labelled & ~known.all(axis=1)
    if not partly.any():
        return {}
    columns = [name for name, lacks in zip(space.names, ~known[partly].all(axis=0), strict=True) if lacks]
    return {"lacking": {"frames": int(partly.sum()), "of": int(labelled.sum()), "columns": columns}}
