"""What videos and their subjects may be called; the only place that knows Aff-Wild2's suffixes."""

from __future__ import annotations

import re
import unicodedata

from affstore.store.contract.errors import SourceError

MAIN = "main"
"""The subject of a video whose annotation names no side."""

SIDES = ("left", "right")
"""Subjects named by their place in the picture, as Aff-Wild2's `_left` and `_right`."""

_LONGEST = 200
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """The name itself, if it can be a video's name.

    Raises:
        SourceError: the name could escape its place in the store, hide, or be taken for an option.
    """
    reason = name_fault(name)
    if reason:
        raise SourceError(f"A video cannot be called {name!r}: {reason}. Rename the file and add it again.")
    return name


def split_subject(name: str) -> tuple[str, str]:
    """Split an annotation's or a crop folder's name into video and subject: `12_left` → (`12`, `left`)."""
    for side in SIDES:
        video = name.removesuffix(f"_{side}")
        if video and video != name:
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
    return f"it is longer than {_LONGEST} characters" if len(tag) > _LONGEST else None


def name_fault(name: str) -> str | None:
    """Why a name will not do, or None."""
    if not name or name.strip() != name:
        return "it is empty or begins or ends with a blank"
    if "/" in name or "\\" in name or ".." in name:
        return "it holds '/', '\\' or '..'"
    if any(unicodedata.category(character).startswith("C") for character in name):
        return "it holds a control character"
    if name.startswith(("-", ".", "__")):
        return f"it begins with '{name[0]}'"
    return f"it is longer than {_LONGEST} characters" if len(name) > _LONGEST else None
