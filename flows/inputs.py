"""What a user points at: videos, folders, globs, and Aff-Wild2's own folders with their annotations."""

from __future__ import annotations

import functools
import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from affstore import FeatureStore
from affstore.models.annotations import FoundAnnotation, find_annotations
from affstore.models.faces.crop_folder import CropFolder, find_crops
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import digest_file, key_of
from affstore.tasks.specs import Profile

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
        crops: folders of face pictures.
    """

    videos: tuple[Path, ...]
    annotations: tuple[FoundAnnotation, ...]
    left_alone: int = 0
    crops: tuple[CropFolder, ...] = ()

    def digests(self) -> list[tuple[Path, str, str]]:
        """Each video's path, name and the digest of its bytes; of its path where it cannot be read: a task says why."""
        return [(path, path.stem, _digest(path)) for path in self.videos]


def _digest(path: Path) -> str:
    try:
        facts = path.stat()
        return _digest_of(path, facts.st_size, facts.st_mtime_ns)
    except OSError:
        return key_of(str(path))


@functools.lru_cache(maxsize=100_000)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    """The digest of a file's bytes, read once as long as it does not change."""
    return digest_file(path)


def gather(named: Iterable[str], crops: Mapping[str, Iterable[str]] | None = None) -> Inputs:
    """Find videos, annotations and crop folders.

    A file that is named is always taken. In a folder, whatever its name says is a video or a sound is taken, and
    annotation files by the folders of Aff-Wild2 that they are in.

    Args:
        named: files, folders or globs.
        crops: by kind, the folders in which each video has a folder of face pictures.

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
    folders = tuple(folder for kind, roots in (crops or {}).items() for folder in _crop_folders(kind, roots))
    return Inputs(tuple(videos), tuple(annotations.values()), left_alone, folders)


def _crop_folders(kind: str, roots: Iterable[str]) -> list[CropFolder]:
    """The crop folders of one kind, each name once: of two, nobody could say which is meant."""
    found: dict[str, CropFolder] = {}
    for root in _paths(roots):
        try:
            folders = list(find_crops(kind, root))
        except OSError as error:
            raise SpecError(f"The crop folders in '{root}' cannot be read: {error.strerror}.") from error
        if not folders:
            raise SpecError(f"'{root}' holds no folder of face pictures. Name the folder that has one for each video.")
        for folder in folders:
            first = found.setdefault(folder.name, folder)
            if first.path.resolve() != folder.path.resolve():
                raise SpecError(
                    f"'{first.path}' and '{folder.path}' are both {kind} faces of '{folder.name}'. Name one."
                )
    return list(found.values())


def check_kinds(profile: Profile, given: Iterable[str], store: FeatureStore) -> None:
    """See that every kind of crop folder that a network takes its faces from is there for some video at least.

    Args:
        profile: what is wanted.
        given: the kinds of which this run brings folders.
        store: where others may be known.

    Raises:
        UnknownNameError: one is neither given nor in the store.
    """
    known = {*given, *(address.producer for address in store.addresses("face"))} - {profile.detector.name}
    for spec in profile.faces:
        if spec.faces not in {*known, profile.detector.name}:
            here = f"Known: {', '.join(sorted(known))}." if known else "Neither this run nor the store has any."
            raise UnknownNameError(
                f"'{spec.name}' takes faces from crop folders of the kind '{spec.faces}'. {here} "
                f"Give them with --crops {spec.faces}=FOLDER, or as `crops` in a configuration."
            )


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
