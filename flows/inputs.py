"""What a user points at: videos, folders, globs, and files of labels."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from affstore import FeatureStore
from affstore.flows.file_kinds import fault_of_named, is_video_by_name, why_left_alone
from affstore.models.faces.crop_folder import CropFolder, find_crops, stray_pictures
from affstore.models.labels.base import (
    FORMATS,
    TEST_ROWS,
    LabelFile,
    Split,
    check_labelled_once,
    label_file_at,
    split_called,
)
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import Task
from affstore.store.contract.names import as_text, name_fault, split_subject, video_name, without_suffix
from affstore.store.contract.walk import Leavings, LeftAlone, files_in
from affstore.tasks.ingest.file_digests import FileDigests
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.specs import Profile

Naming = Literal["file", "folder"]
"""Whether a video is called as its file (`00001`), or by the folders that it lies in too (`s1_00001`)."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file to take in.

    Attributes:
        path: where it is; with what is no UTF-8 written out, since such a path can be neither sent nor stored.
        name: what its video will be called.
        fault: why a store cannot hold its name or its place, or an empty text.
    """

    path: Path
    name: str
    fault: str = ""

    @classmethod
    def of(cls, path: Path, name: str) -> VideoFile:
        """A file, with what is wrong with its name."""
        fault, place = name_fault(name), str(path.absolute())
        if not fault and as_text(place) != place:
            name, fault = place, "the name of a folder that it is in is no UTF-8 text"
        return cls(Path(as_text(str(path))), as_text(name), fault or "")

    def digested(self, known: FileDigests, anew: bool) -> IncomingFile:
        """The file with the digest of its bytes, or of its path where it will not be read.

        Args:
            known: the digests of files that were read before.
            anew: read it, unless this process has read it already.

        Raises:
            OSError: it cannot be read.
        """
        if not self.fault:
            return IncomingFile(self.path, self.name, known.digest(self.path, anew))
        reason = f"'{self.path}' cannot be taken in: {self.fault}. Rename it and add it again."
        return IncomingFile(self.path, self.name, key_of(str(self.path)), "unfit", reason=reason)


@dataclass(frozen=True, slots=True)
class LabelFolder:
    """A folder of label files, and what their place does not say.

    Attributes:
        folder: where they are.
        format: a name of `affstore.models.labels.base.FORMATS`.
        task: what they are of.
        split: what their frames are for; by their folders if None.
    """

    folder: str
    format: str
    task: Task
    split: Split | None = None

    def files(self, leavings: Leavings | None = None) -> list[LabelFile]:
        """The files of that format in it.

        Args:
            leavings: gets what is passed over when the folder is searched.

        Raises:
            SpecError: it is no folder, or holds none.
            UnknownNameError: there is no such format.
        """
        form = FORMATS.get(self.format)
        found = form.files_of(Path(self.folder), self.task, leavings)
        if not found:
            raise SpecError(f"'{self.folder}' holds no labels of the format '{self.format}' ({form.description}).")
        return [replace(one, split=self._split_of(one)) for one in found]

    def _split_of(self, found: LabelFile) -> Split:
        """What a file is for: a folder of that name, the one that is given or one below it, says `test`."""
        if found.split == "test" or self.split is not None:
            return "test" if found.split == "test" else self.split or found.split
        root = Path(self.folder).resolve()
        below = found.path.parent.relative_to(root).parts if root in found.path.parents else ()
        return "test" if "test" in map(split_called, (root.name, *below)) else found.split


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that the user named and that cannot be taken in; `reason` is a sentence."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was found.

    Attributes:
        videos: files to ingest, in order, each once.
        annotations: files of labels.
        left_alone: the other files that the folders held.
        crops: folders of face pictures.
        refused: files that were named and are no videos.
        test_labels: files of labels, and rows of tables, that are passed over.
        is_part: whether label files may hold more than `annotations` says, as of a share, or while some files wait.
    """

    videos: tuple[VideoFile, ...]
    annotations: tuple[LabelFile, ...]
    left_alone: tuple[LeftAlone, ...] = ()
    crops: tuple[CropFolder, ...] = ()
    refused: tuple[Refusal, ...] = ()
    test_labels: tuple[LabelFile, ...] = ()
    is_part: bool = False

    @property
    def brings_files(self) -> bool:
        """Whether there is anything to take in, or to say of a file that was named."""
        return bool(self.videos or self.annotations or self.test_labels or self.refused)

    def digests(self, anew: bool = False) -> tuple[list[IncomingFile], list[Refusal]]:
        """Each video with the digest of its bytes; and the files that cannot be read.

        Args:
            anew: read every file, also one that has not changed since another process read it.
        """
        files, unread = [], []
        with FileDigests() as known:
            for video in self.videos:
                try:
                    files.append(video.digested(known, anew))
                except OSError as error:
                    unread.append(_refusal(video.path, f"cannot be read: {error.strerror}. Check its rights"))
        return files, unread


def _refusal(path: Path, fault: str) -> Refusal:
    return Refusal(as_text(str(path)), f"'{as_text(str(path))}' {fault}.")


@dataclass(slots=True)
class _Found:
    """What a search has found so far."""

    naming: Naming
    videos: dict[Path, VideoFile] = field(default_factory=dict)
    annotations: dict[tuple[Path, str, str], LabelFile] = field(default_factory=dict)
    label_paths: set[Path] = field(default_factory=set)
    leavings: Leavings = field(default_factory=Leavings)
    refused: list[Refusal] = field(default_factory=list)
    test_labels: list[LabelFile] = field(default_factory=list)

    def take_file(self, path: Path) -> None:
        """Take a file that was named: it is an annotation by its place, cannot be a video, or may be one."""
        annotation = label_file_at(Path(os.path.abspath(path)))
        fault = None if annotation and path.is_file() else fault_of_named(path)
        if fault is not None:
            self.refused.append(_refusal(path, fault))
        elif annotation is not None:
            self.take_labels([annotation])
        else:
            self.videos.setdefault(path, VideoFile.of(path, self._name(path, path.parent)))

    def take_folder(self, root: Path) -> None:
        """Take what a folder holds: videos by their suffixes, annotations by the folders of Aff-Wild2 they are in.

        Raises:
            SpecError: it holds neither.
        """
        place, own = Path(os.path.realpath(root)), Leavings()
        videos, annotations, given = dict[Path, VideoFile](), [], False
        for path in files_in(root, own):
            annotation = label_file_at(place / path.relative_to(root))
            if place / path.relative_to(root) in self.label_paths:
                given = True
                continue
            if is_video_by_name(path.name):
                videos[path] = VideoFile.of(path, self._name(path, root))
            elif annotation is not None:
                annotations.append(annotation)
            else:
                own.add(path, why_left_alone(path.name))
        if not videos and not annotations and not given:
            found = "; ".join(map(str, own.found())) or "it is empty"
            raise SpecError(f"'{root}' holds no video and no annotation ({found}). Name another folder, or the files.")
        for path, video in videos.items():
            self.videos.setdefault(path, video)
        self.take_labels(annotations)
        self.leavings.merge(own)

    def take_labels(self, found: list[LabelFile]) -> None:
        """Take files of labels; those of test videos are passed over, and noted."""
        kept = [one for one in found if one.split != "test"]
        self.annotations |= {(one.path, one.within, str(one.task)): one for one in kept}
        for one in found:
            if one.split == "test":
                self.test_labels.append(one)
                place = Path(f"{one.path}:{one.within}") if one.within else one.path
                self.leavings.add(place, TEST_ROWS, one.path.suffix.lower())
        self.label_paths |= {annotation.path for annotation in found}

    def _name(self, path: Path, root: Path) -> str:
        """What a file's video is called; by its folders from `root` on, or by `root` itself if it lies right there."""
        if self.naming == "file":
            return video_name(path.stem)
        folders = path.parent.relative_to(root).parts or (Path(os.path.realpath(root)).name,)
        return video_name("_".join((*folders, path.stem)))


def without(inputs: Inputs, names: Set[str]) -> Inputs:
    """Inputs without the labels and crop folders of videos, or of people of videos, that are called so."""
    known = {*names, *(video.name for video in inputs.videos)}

    def is_meant(name: str) -> bool:
        return not names & {name, split_subject(name, known)[0]}

    return replace(
        inputs,
        annotations=tuple(one for one in inputs.annotations if is_meant(without_suffix(one.name, known))),
        crops=tuple(folder for folder in inputs.crops if is_meant(folder.name)),
    )


def gather(
    named: Iterable[str],
    crops: Mapping[str, Iterable[str]] | None = None,
    naming: Naming = "file",
    labels: Iterable[LabelFolder] = (),
) -> Inputs:
    """Find videos, labels and crop folders.

    A file that is named is taken whatever its suffix, unless it is known to be something else. In a folder, whatever
    its suffix says is a video is taken, label files whose place says what they are of (as Aff-Wild2's folders do), and
    all else is left alone, counted and named. Linked folders are followed; hidden ones are not.

    Args:
        named: files, folders or globs.
        crops: by kind, the folders in which each video has a folder of face pictures.
        naming: what videos are called.
        labels: folders of label files whose place does not say what they are of.

    Raises:
        SpecError: a path does not exist, nothing was found in it, or a subject of a video is labelled twice for a task.
        UnknownNameError: there is no such format of labels.
    """
    found = _Found(naming)
    paths = list(_paths(named))
    places = [Path(os.path.realpath(path)) for path in paths]
    for folder in labels:
        place = Path(os.path.realpath(folder.folder))
        is_told = any(map(place.is_relative_to, places))  # what is left alone there, by another search
        found.take_labels(folder.files(Leavings() if is_told else found.leavings))
        places.append(place)
    for path in paths:
        if path.is_dir():
            found.take_folder(path)
        else:
            found.take_file(path)
    check_labelled_once(found.annotations.values())
    folders = tuple(
        folder for kind, roots in (crops or {}).items() for folder in _crop_folders(kind, roots, found.leavings)
    )
    return Inputs(
        tuple(found.videos.values()),
        tuple(found.annotations.values()),
        found.leavings.found(),
        folders,
        tuple(found.refused),
        tuple(found.test_labels),
    )


def holds_inputs(folder: Path, labels: Iterable[LabelFolder]) -> bool:
    """Whether there is a video or an annotation in a folder, by its name, or one of the folders of labels."""
    place = Path(os.path.realpath(folder))
    return any(Path(os.path.realpath(one.folder)).is_relative_to(place) for one in labels) or any(
        is_video_by_name(path.name) or label_file_at(place / path.relative_to(folder)) is not None
        for path in files_in(folder, Leavings())
    )


def _crop_folders(kind: str, roots: Iterable[str], leavings: Leavings) -> list[CropFolder]:
    """The crop folders of one kind, each name once: of two, nobody could say which is meant."""
    found: dict[str, CropFolder] = {}
    for root in _paths(roots):
        try:
            folders = list(find_crops(kind, root))
            strays = stray_pictures(root, folders)
        except OSError as error:
            raise SpecError(f"The crop folders in '{root}' cannot be read: {error.strerror}.") from error
        if not folders:
            raise SpecError(f"'{root}' holds no folder of face pictures. Name the folder that has one for each video.")
        for path in strays:
            leavings.add(path, "pictures beside the folders of face pictures")
        for folder in folders:
            first = found.setdefault(folder.name, folder)
            if os.path.realpath(first.path) != os.path.realpath(folder.path):
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


def _paths(named: Iterable[str]) -> Iterator[Path]:
    for text in named:
        path = Path(text).expanduser()
        matches = [path] if os.path.lexists(path) else [Path(hit) for hit in sorted(glob.glob(str(path)))]
        if not matches:
            raise SpecError(f"There is no file or folder '{text}'. Check the path.")
        yield from matches
