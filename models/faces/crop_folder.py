"""Folders of face pictures, as Aff-Wild2's `cropped` and `cropped_aligned`: `<root>/<video>[_left|_right]/00001.jpg`.

Picture `i + 1` shows frame `i`; picture `i` does in a folder that counts from 0 up to its video's last frame. Where no
face was found there is no file.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from affstore.store.contract.names import video_name

_NUMBERED = re.compile(r"([0-9]+)\.(jpg|jpeg|png)", re.IGNORECASE)
_DEEPEST = 2
_NO_NUMBERS = (1, 0)


@dataclass(frozen=True, slots=True)
class CropFolder:
    """A folder with one subject's face, as it lies on the disk.

    Attributes:
        kind: how its pictures were cut, e.g. `cropped_aligned`.
        path: the folder.
        signature: digest of its files' names, sizes and times of change, from the directory alone. While it is the
            same, not one file need be read to know that nothing has changed. It is in no key: what the numbers depend
            on are the files' bytes.
        numbers: the first and the last number of its pictures; (1, 0) without any.
    """

    kind: str
    path: Path
    signature: str
    numbers: tuple[int, int] = _NO_NUMBERS

    @property
    def name(self) -> str:
        """The video's name, with the side of its subject."""
        return video_name(self.path.name)


def counts_from(numbers: tuple[int, int], frames: int) -> int:
    """The number of a video's first frame in a crop folder: 1, or 0 where the first and the last picture say so."""
    return 0 if numbers == (0, frames - 1) else 1


def find_crops(kind: str, root: Path) -> Iterator[CropFolder]:
    """Every crop folder in `root`, at most two levels down, or `root` itself.

    Pictures that lie in `root` beside folders of pictures make it a crop folder only where they are more than the
    folders and reach as far as the pictures there, as where crops of one video have others of theirs below; see
    `stray_pictures`.

    Raises:
        OSError: a directory cannot be read.
    """
    yield from _found(kind, root, 0)


def stray_pictures(root: Path, found: Iterable[CropFolder]) -> list[Path]:
    """The pictures in `root` that are in none of the crop folders found there.

    Raises:
        OSError: it cannot be read.
    """
    if any(folder.path == root for folder in found):
        return []
    return [root / name for named in Listing.of(root).pictures.values() for name, _ in named]


def _found(kind: str, folder: Path, depth: int) -> Iterator[CropFolder]:
    listing = Listing.of(folder)
    own = CropFolder(kind, folder, listing.signature, listing.numbers)
    if depth == _DEEPEST or (depth and (listing.pictures or not listing.folders)):
        yield own
        return
    below = [found for name in listing.folders for found in _found(kind, folder / name, depth + 1)]
    several = len(listing.pictures) > max(1, len(below)) and all(one.numbers[1] <= own.numbers[1] for one in below)
    yield from [own] if several or (listing.pictures and all(one.numbers == _NO_NUMBERS for one in below)) else below


@dataclass(frozen=True, slots=True)
class Listing:
    """What one directory says it holds; hidden files are not looked at.

    Attributes:
        pictures: by number, the files that are named so, `(name, bytes)`: the one in use first, which is the one that
            Aff-Wild2 would name so (`00001.jpg`), without it the first by name.
        others: how many further files there are.
        folders: names of the directories in it.
        signature: see `CropFolder`.
    """

    pictures: dict[int, list[tuple[str, int]]]
    others: int
    folders: tuple[str, ...]
    signature: str

    @property
    def numbers(self) -> tuple[int, int]:
        """The first and the last number of its pictures."""
        return (min(self.pictures), max(self.pictures)) if self.pictures else _NO_NUMBERS

    def file_of(self, number: int) -> tuple[str, int]:
        """The file in use for a number, `(name, bytes)`."""
        return self.pictures[number][0]

    @classmethod
    def of(cls, folder: Path) -> Listing:
        """List a directory, by one look at it.

        Raises:
            OSError: it cannot be read.
        """
        files, folders = _entries(folder)
        pictures: dict[int, list[tuple[str, int]]] = {}
        for name, size, _ in files:
            if found := _NUMBERED.fullmatch(name):
                pictures.setdefault(int(found[1]), []).append((name, size))
        pictures = {number: _in_order(number, named) for number, named in pictures.items()}
        numbered = sum(len(named) for named in pictures.values())
        text = "".join(f"{name}\0{size}\0{changed_ns}\n" for name, size, changed_ns in files)
        signature = hashlib.sha256(os.fsencode(text)).hexdigest()
        return cls(pictures, len(files) - numbered, tuple(sorted(folders)), signature)


def _in_order(number: int, named: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Files of one number, the one in use first."""
    official = f"{number:05d}.jpg"
    return sorted(named, key=lambda file: (file[0] != official, file[0]))


def _entries(folder: Path) -> tuple[list[tuple[str, int, int]], list[str]]:
    """A directory's files, by name, with size and time of change; and its directories."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__")):
                continue
            try:
                about = entry.stat()
            except OSError:  # a link to nowhere
                about = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                folders.append(entry.name)
            elif stat.S_ISREG(about.st_mode):
                files.append((entry.name, about.st_size, about.st_mtime_ns))
    return sorted(files), folders
