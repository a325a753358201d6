"""Search a folder for files: what is found, and what is left alone and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affstore.store.contract.names import as_text

_MOST_NAMED = 100
"""Files of one kind that are named: a folder of crops has millions."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Files of one kind that a search of folders did not take.

    Attributes:
        suffix: of their names, in lower case.
        why: why they were left.
        count: how many.
        files: the first of them.
    """

    suffix: str
    why: str
    count: int
    files: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        """For other programs."""
        return {"suffix": self.suffix, "why": self.why, "count": self.count, "files": list(self.files)}

    def __str__(self) -> str:
        more = f" and {self.count - 3} more" if self.count > 3 else ""
        return f"{self.count} {self.suffix or 'other'} ({self.why}): {', '.join(self.files[:3])}{more}"


class Leavings:
    """Gathers what is left alone."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], list[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, path: Path, why: str, suffix: str | None = None) -> None:
        """Note a file, or a folder."""
        kind = (why, path.suffix.lower() if suffix is None else suffix)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        named = self._kinds.setdefault(kind, [])
        if len(named) < _MOST_NAMED:
            named.append(as_text(str(path)))

    def merge(self, other: Leavings) -> None:
        """Note what another search left."""
        for kind, count in other._counts.items():
            self._counts[kind] = self._counts.get(kind, 0) + count
            self._kinds[kind] = (self._kinds.get(kind, []) + other._kinds[kind])[:_MOST_NAMED]

    def found(self) -> tuple[LeftAlone, ...]:
        """All of it by kind."""
        return tuple(
            LeftAlone(kind[1], kind[0], self._counts[kind], tuple(self._kinds[kind])) for kind in sorted(self._kinds)
        )


@dataclass(slots=True)
class _Walk:
    """A search under way.

    Attributes:
        leavings: where what is not taken is noted.
        files: what was found.
        links: linked folders, looked into after all others so that files keep their own paths.
        been: the folders that were looked into.
    """

    leavings: Leavings
    files: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    been: set[tuple[int, int]] = field(default_factory=set)

    def search(self, root: Path) -> None:
        """Look into a folder and all below it."""
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                here = os.stat(folder)
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self.leavings.add(folder, f"folders that cannot be read: {error.strerror}", "")
                continue
            self.been.add((here.st_dev, here.st_ino))
            waiting += reversed([Path(folder, entry.name) for entry in entries if self._is_folder(entry)])

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry is to be looked into; a file is noted."""
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            self.leavings.add(path, "hidden, or notes that a Mac leaves about other files", "")
            return False
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            self.leavings.add(path, f"links that cannot be followed: {error.strerror}")
            return False
        if stat.S_ISDIR(mode):
            if entry.is_symlink():
                self.links.append(path)
            return not entry.is_symlink()
        if stat.S_ISREG(mode):
            self.files.append(path)
        else:
            self.leavings.add(path, "pipes, sockets and devices")
        return False

    def follow(self) -> None:
        """Look into linked folders, each once, and never back into a folder that holds the link."""
        while self.links:
            link = self.links.pop(0)
            target = os.path.realpath(link)
            about = os.stat(link)
            if Path(os.path.realpath(link.parent)).is_relative_to(target):
                self.leavings.add(link, "links back to a folder that they are in", "")
            elif (about.st_dev, about.st_ino) in self.been:
                self.leavings.add(link, "links to folders that are taken in already", "")
            else:
                self.search(link)


def files_in(root: Path, leavings: Leavings) -> Iterable[Path]:
    """Every ordinary file below a folder, sorted; linked folders are followed, hidden ones are not.

    Args:
        root: the folder.
        leavings: gets what is passed over.
    """
    walk = _Walk(leavings)
    walk.search(root)
    walk.follow()
    return sorted(walk.files)
