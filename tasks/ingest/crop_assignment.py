"""Which crop folders belong to which video of the store."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from affstore.models.faces.crop_folder import CropFolder
from affstore.store.contract.names import SIDES, possible_subject, split_subject, video_name
from affstore.store.contract.records import Record


@dataclass(frozen=True, slots=True)
class CropAssignment:
    """The crop folders of a run, put to the store's videos.

    Attributes:
        folders: by kind and video, and in there by subject.
        unmatched: folders of no video of the store, and why they are left.
        notes: by path, what a person should know of how a folder was understood.
    """

    folders: Mapping[tuple[str, str], Mapping[str, CropFolder]] = field(default_factory=dict)
    unmatched: tuple[tuple[CropFolder, str], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, video: str) -> Mapping[str, CropFolder]:
        """A video's folders of one kind, by subject."""
        return self.folders.get((kind, video), {})

    def kinds(self, video: str) -> set[str]:
        """The kinds of which a video has a folder."""
        return {kind for kind, owner in self.folders if owner == video}


def match_crops_to_videos(records: Iterable[Record], crops: Iterable[CropFolder]) -> CropAssignment:
    """Put crop folders to the videos that they are named after, also by an alias.

    A folder `12_left` shows the left person of `12`, unless a video is itself called `12_left`.
    """
    video_of = {
        video_name(name): record.address.video
        for record in records
        if record.address.family == "source"
        for name in (*record.attributes["aliases"], record.address.video)
    }
    folders: dict[tuple[str, str], dict[str, CropFolder]] = {}
    unmatched: list[tuple[CropFolder, str]] = []
    notes: dict[str, str] = {}
    for folder in crops:
        called, subject = split_subject(folder.name, video_of)
        video = video_of.get(called)
        if video is None:
            unmatched.append((folder, f"There is no video called '{called}' in the store. Add the video too."))
            continue
        first = folders.setdefault((folder.kind, video), {}).setdefault(subject, folder)
        if first is not folder:
            unmatched.append((folder, f"'{first.path}' shows the same face of '{video}'. Give one of the two."))
        elif note := two_meanings(folder.name, video_of):
            notes[str(folder.path)] = note
    return CropAssignment(folders, tuple(unmatched), notes)


def two_meanings(name: str, videos: Container[str]) -> str:
    """A sentence where a name such as `12_left` may mean a video or a person of another one, or an empty text."""
    video, subject = possible_subject(name)
    if name not in videos or video == name or video not in videos:
        return ""
    who = f"{subject} person" if subject in SIDES else f"subject {subject}"
    return f"'{name}' is taken for the video of that name, not for the {who} of '{video}'."
