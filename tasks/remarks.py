"""What a person should know of a video that was taken in: what of it is damaged, missing or more than is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from affstore import FeatureStore
from affstore.models.faces.specs import DetectorSpec
from affstore.store.contract.printable import counted, some
from affstore.store.contract.records import Address, Record
from affstore.tasks.specs import most_subjects_of

NO_SOUND = "the video has no sound"
"""How a record of sound says that there is none."""

_SUMMARIES = {
    "damaged": "with damaged or missing frames",
    "sound": "with incomplete sound",
    "no sound": "without sound",
    "no face": "without a face",
    "crowd": "with more faces than are kept",
    "crops": "with faults in a crop folder",
    "labels": "with incomplete labels",
    "features": "without imported features that a head takes",
    "label table": "with a table of labels that was interpreted",
    "partly labelled": "with frames that lack some of a label's columns",
    "unmatched labels": "with labels of somebody whose features a head lacks",
    "other labels": "with labels that no source of this run brings",
}
"""What is counted of a run, in this order."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know of a video.

    Attributes:
        video: its name.
        kind: a key of what is counted: `damaged`, `sound`, `no sound`, `no face`, `crowd`, `crops`, `labels`,
            `features`, `label table`, `partly labelled`, `unmatched labels` or `other labels`.
        text: in words.
    """

    video: str
    kind: str
    text: str

    @property
    def is_complaint(self) -> bool:
        """Whether something is wrong with a file; a clip without sound or with a crowd is as it was made."""
        return self.kind in ("damaged", "sound", "crops", "labels")

    def as_document(self) -> dict[str, Any]:
        """For other programs."""
        return {"video": self.video, "kind": self.kind, "text": self.text}


def remarks_on(source: Record, own: Sequence[Record]) -> list[Remark]:
    """Everything to know of one video.

    Args:
        source: the video.
        own: the records of that video.
    """
    found = [*_of_source(source, own), *_of_faces(own), *_of_labels(own)]
    return [Remark(source.address.video, kind, text) for kind, text in dict.fromkeys(found)]


def remarks_of(store: FeatureStore, videos: Collection[str] | None = None) -> list[Remark]:
    """Everything to know of a store's videos, or of some of them."""
    named = None if videos is None else [Address("source", video=video) for video in sorted(videos)]
    sources = store.records("source") if named is None else store.find_all(named)
    return [remark for r in sources for remark in remarks_on(r, store.records(video=r.address.video))]


def summary(remarks: Iterable[Remark]) -> str:
    """How many videos each kind of remark is about, or an empty text."""
    videos: dict[str, set[str]] = {}
    for remark in remarks:
        videos.setdefault(remark.kind, set()).add(remark.video)
    return ", ".join(f"{len(videos[kind])} {words}" for kind, words in _SUMMARIES.items() if kind in videos)


def subject_text(face: Address) -> str:
    """A subject as it is listed: those of crop folders with their kind, as networks on them are named."""
    return face.subject if face.producer == DetectorSpec().name else f"{face.subject}@{face.producer}"


def _of_source(source: Record, own: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """What is wrong with the pictures, and with the sound: a video's own complaint is of both, and said once."""
    pictures, sound = source.attributes["complaint"] or "", source.attributes["sound"]
    of_sound = [(sound or {}).get("complaint"), *(r.attributes.get("complaint") for r in own if _is_audio(r))]
    faults = [text for text in dict.fromkeys(of_sound) if text and text != NO_SOUND]
    for text in faults:
        pictures = pictures.replace(text, "").strip()
    if pictures:
        yield "damaged", pictures
    if sound is None:
        yield "no sound", "It has no sound."
    for text in faults:
        yield "sound", text


def _is_audio(record: Record) -> bool:
    return record.address.family == "audio"


def _of_faces(own: Sequence[Record]) -> Iterator[tuple[str, str]]:
    faces = [record for record in own if record.address.family == "face"]
    detected = [record for record in faces if record.address.producer == DetectorSpec().name]
    if detected and not any(record.made.get("faces", 1) for record in detected):
        yield "no face", "No face was found."
    if crowd := _left_out(detected):
        yield "crowd", crowd
    for record in faces:
        if record.attributes.get("complaint"):
            yield "crops", f"{subject_text(record.address)}: {record.attributes['complaint']}"


def _left_out(detected: Sequence[Record]) -> str:
    """Who is seen in a video and is no subject of it, or an empty text."""
    if not detected or most_subjects_of(detected[0]) == "all":
        return ""
    at_once = int(detected[0].attributes.get("faces_at_once", 0))
    people = int(detected[0].attributes.get("people", 0))  # faces that were found before people were counted have none
    kept = len(detected)
    if max(at_once, people) <= kept:
        return ""
    subjects = " and ".join(record.address.subject for record in detected)
    found = f"Up to {counted(at_once, 'face', 'faces')} at once"
    if people > kept:
        lost = f"{counted(people - kept, 'person is', 'people are')} left out; `--people all` keeps all {people}"
        return f"{found}, {counted(people, 'person', 'people')} in all; kept as {subjects}, {lost}."
    return f"{found}; kept as {subjects}, the others are left out."


def _of_labels(own: Sequence[Record]) -> Iterator[tuple[str, str]]:
    for record in own:
        if record.address.family == "label" and record.attributes.get("complaint"):
            yield "labels", f"{record.address.producer}: {record.attributes['complaint']}"
        if record.address.family == "label" and record.attributes.get("note"):
            yield "label table", f"{record.address.producer}: {record.attributes['note']}."
        if record.address.family == "label" and (lacking := record.attributes.get("lacking")):
            frames = f"{lacking['frames']} of {counted(lacking['of'], 'labelled frame', 'labelled frames')}"
            said = f"{record.address.producer}: {frames} without a value of {some(lacking['columns'])}"
            yield "partly labelled", f"{said}. Heads leave such frames out: they take those that have all values."
