"""What videos and their subjects may be called; the only place that knows Aff-Wild2's suffixes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable

from affstore.store.contract.errors import SourceError, SpecError
from affstore.store.contract.printable import excerpt

MAIN = "main"
"""The subject of a video whose annotation names no side."""

SIDES = ("left", "right")
"""Subjects named by their place in the picture, as Aff-Wild2's `_left` and `_right`."""

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
    ".wmv",
)  # fmt: skip
"""What is taken for a video when a folder is searched."""

_PERSON = re.compile(r"person([1-9][0-9]{0,3})")
_OF_VIDEO = re.compile(rf"(.+)_({'|'.join(SIDES)}|{_PERSON.pattern})", re.DOTALL)
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SNAPSHOT = re.compile(r"[0-9A-HJKMNP-TV-Z]{20}")
"""What the engine calls snapshots: 12 bytes in Crockford's letters."""
_LONGEST_TAG = 200
LONGEST_BYTES = 255
"""What file systems allow for a folder's name: an exported store has a folder for each video."""


def video_name(text: str) -> str:
    """The name a video gets from a file's or folder's name, in the one form in which all names are compared.

    macOS writes `é` as two characters (NFD), most others as one (NFC); Unicode calls both the same text.
    """
    return unicodedata.normalize("NFC", text).strip()


def as_text(name: str) -> str:
    r"""A file's name or path as text that can be stored and sent: bytes that are no UTF-8 are written as `\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_name(name: str) -> str:
    """The name itself, if it can be a video's name.

    Raises:
        SourceError: a store cannot hold it.
    """
    reason = name_fault(name)
    if reason:
        raise SourceError(f"A video cannot be called '{as_text(name)}': {reason}. Rename the file and add it again.")
    return name


def person(number: int) -> str:
    """What one of many subjects is called, counted from 1 at the left of the picture."""
    return f"person{number}"


def person_number(subject: str) -> int | None:
    """Which of many subjects one is, or None for `main`, `left` and `right`."""
    found = _PERSON.fullmatch(subject)
    return int(found[1]) if found else None


def in_order(subjects: Iterable[str]) -> list[str]:
    """Subjects in the order in which they are listed: `person2` before `person10`, all else as letters go."""
    return sorted(subjects, key=subject_order)


def subject_order(subject: str) -> tuple[str, int]:
    """What subjects are sorted by; see `in_order`."""
    number = person_number(subject) if subject.startswith("person") else None
    return (subject, 0) if number is None else ("person", number)


def check_subject(subject: str) -> str:
    """The subject itself, if one may be called so.

    Raises:
        SpecError: no subject is called so.
    """
    if subject not in (MAIN, *SIDES) and person_number(subject) is None:
        raise SpecError(f"A subject is called main, left, right, or person1, person2 …; found {excerpt(subject)}.")
    return subject


def split_subject(name: str, videos: Container[str] = ()) -> tuple[str, str]:
    """Split an annotation's or a crop folder's name into video and subject: `12_left` → (`12`, `left`).

    Videos of other corpora may well end in `_person2`, so that is a subject only of a video that is known.

    Args:
        name: as the file or folder is called.
        videos: the names of known videos; one of them that ends in `_left` is that video, and no side of another.
    """
    video, subject = possible_subject(name)
    is_subject = subject in SIDES or video in videos
    return (video, subject) if is_subject and name not in videos else (name, MAIN)


def without_suffix(name: str, videos: Container[str] = ()) -> str:
    """A name as videos are called, where it is that of a file: `12.mp4` → `12`, unless a video is itself called so.

    Args:
        name: of a video, of one of its people, or of its file.
        videos: the names of known videos.
    """
    video, dot, suffix = name.rpartition(".")
    is_file = bool(video) and f"{dot}{suffix}".lower() in VIDEO_SUFFIXES
    return video if is_file and split_subject(name, videos)[0] not in videos else name


def subject_called(name: str, videos: Container[str] = ()) -> tuple[str, str]:
    """The video and the subject that a row of a table, or a file of labels, names: `12_left.mp4` → (`12`, `left`)."""
    return split_subject(without_suffix(video_name(name), videos), videos)


def possible_subject(name: str) -> tuple[str, str]:
    """The video and the subject that a name may be meant as, by its form alone: `12_person3` → (`12`, `person3`)."""
    found = _OF_VIDEO.fullmatch(name)
    return (found[1], found[2]) if found else (name, MAIN)


def join_subject(video: str, subject: str) -> str:
    """The inverse of `split_subject`: how Aff-Wild2 writes a subject's name."""
    return video if subject == MAIN else f"{video}_{subject}"


def is_snapshot(name: str) -> bool:
    """Whether the engine might call a snapshot so."""
    return _SNAPSHOT.fullmatch(name) is not None


def tag_fault(tag: str) -> str | None:
    """Why a snapshot cannot be tagged so, or None; a tag is also the name of a publication's folder, on any disk."""
    if not _TAG.fullmatch(tag):
        return "a tag is made of the letters a-z and A-Z, digits, '.', '_' and '-', and begins with a letter or digit"
    if is_snapshot(tag):
        return "it could be the name of a snapshot, by which a store is read as it was then"
    if ".." in tag or tag.endswith("."):
        return "'.' stands between two other signs"
    return f"it is longer than {_LONGEST_TAG} characters" if len(tag) > _LONGEST_TAG else None


def name_fault(name: str) -> str | None:
    """Why a store cannot hold a name, or None."""
    if not name or name.strip() != name:
        return "it is empty or begins or ends with a blank"
    control = next((character for character in name if unicodedata.category(character) == "Cc"), None)
    if control is not None:
        return f"it holds the control character U+{ord(control):04X}, which no list of videos can hold"
    faults = (
        (not _is_unicode(name), "its bytes are no UTF-8 text"),
        ("/" in name or "\\" in name, "it holds '/' or '\\', which Zarr takes for folders"),
        (not name.strip("."), "it consists of dots, which Zarr takes for folders"),
        (name.startswith("__"), "Zarr keeps names that begin with '__' for itself"),
        (name.lower() == "zarr.json", "Zarr calls its own documents so"),
    )
    fault = next((reason for wrong, reason in faults if wrong), None)
    if fault is None and len(name.encode()) > LONGEST_BYTES:
        fault = f"it is longer than {LONGEST_BYTES} bytes, which a folder of an exported store cannot be called"
    return fault


def _is_unicode(name: str) -> bool:
    """Whether a name is text; Python shows other bytes of a file's name as lone surrogates."""
    return not any(unicodedata.category(character) == "Cs" for character in name)
