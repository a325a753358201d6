"""What a user points at: videos, folders, globs, and Aff-Wild2's own folders with their annotations."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.annotations import FoundAnnotation, find_annotations
from store.contract.errors import SpecError
from store.contract.keys import digest_file, key_of

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
    ".wmv",
)  # fmt: skip
"""What is taken for a video when a folder is searched."""

SOUND_SUFFIXES = (".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")
"""What is taken in a folder too, so that its quarantine says that it has no pictures."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was found.

    Attributes:
        videos: files to ingest, in order, each once.
        annotations: ABAW annotation files.
        left_alone: how many other files the folders held.
    """

    videos: tuple[Path, ...]
    annotations: tuple[FoundAnnotation, ...]
    left_alone: int = 0

    def digests(self) -> list[tuple[Path, str, str]]:
        """Each video's path, name and the digest of its bytes; of its path where it cannot be read: a task says why."""
        return [(path, path.stem, _digest(path)) for path in self.videos]


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError:
        return key_of(str(path))


def gather(named: Iterable[str]) -> Inputs:
    """Find videos and annotations.

    A file that is named is always taken. In a folder, whatever its name says is a video or a sound is taken, and
    annotation files by the folders of Aff-Wild2 that they are in.

    Raises:
        SpecError: a path does not exist, or nothing was found in it.
    """
    videos: dict[Path, None] = {}
    annotations: dict[Path, FoundAnnotation] = {}
    left_alone = 0
    for path in _paths(named):
        if not path.is_dir():
            videos[path] = None
            continue
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        media = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES + SOUND_SUFFIXES]
        found = {annotation.path: annotation for annotation in find_annotations(path)}
        if not media and not found:
            raise SpecError(
                f"'{path}' holds no video and no annotation ({len(files)} other files). Name another folder."
            )
        videos |= dict.fromkeys(media)
        for annotation in found.values():
            _check_once(annotation, annotations.values())
        annotations |= found
        left_alone += len(files) - len(media) - len(found)
    return Inputs(tuple(videos), tuple(annotations.values()), left_alone)


def _check_once(new: FoundAnnotation, known: Iterable[FoundAnnotation]) -> None:
    """Two editions of the annotations would take turns in the store, run by run."""
    for old in known:
        same = (old.task, old.video, old.subject) == (new.task, new.video, new.subject)
        if same and old.path != new.path:
            raise SpecError(f"'{old.path}' and '{new.path}' annotate the same for one task. Name one edition only.")


def _paths(named: Iterable[str]) -> Iterator[Path]:
    for text in named:
        path = Path(text).expanduser()
        matches = [path] if path.exists() or path.is_symlink() else [Path(hit) for hit in sorted(glob.glob(str(path)))]
        if not matches:
            raise SpecError(f"There is no file or folder '{text}'. Check the path.")
        yield from matches
