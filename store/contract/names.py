"""What videos and their subjects may be called; the only place that knows Aff-Wild2's suffixes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from affstore.store.contract.errors import SourceError

MAIN = "main"
"""The subject of a video whose annotation names no side."""

SIDES = ("left", "right")
"""Subjects named by their place in the picture, as Aff-Wild2's `_left` and `_right`."""

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_TAG = 200
_LONGEST_BYTES = 255
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


def split_subject(name: str, videos: Container[str] = ()) -> tuple[str, str]:
    """Split an annotation's or a crop folder's name into video and subject: `12_left` → (`12`, `left`).

    Args:
        name: as the file or folder is called.
        videos: the names of known videos; one of them that ends in `_left` is that video, and no side of another.
    """
    for side in SIDES:
        video = name.removesuffix(f"_{side}")
        if video and video != name and name not in videos:
            return video, side
    return name, MAIN


def join_subject(video: str, subject: str) -> str:
    """The inverse of `split_subject`: how Aff-Wild2 writes a subject's name."""
    return video if subject == MAIN else f"{video}_{subject}"


def tag_fault(tag: str) -> str | None:
    """Why a snapshot cannot be tagged so, or None; a tag is also the name of a publication's folder, on any disk."""
    if not _TAG.fullmatch(tag):
        return "a tag is made of the letters a-z and A-Z, digits, '.', '_' and '-', and begins with a letter or digit"
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
    if fault is None and len(name.encode()) > _LONGEST_BYTES:
        fault = f"it is longer than {_LONGEST_BYTES} bytes, which a folder of an exported store cannot be called"
    return fault


def _is_unicode(name: str) -> bool:
    """Whether a name is text; Python shows other bytes of a file's name as lone surrogates."""
    return not any(unicodedata.category(character) == "Cs" for character in name)
