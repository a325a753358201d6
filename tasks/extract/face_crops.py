"""The faces of a video as networks saw them, once more: pictures of a crop folder, or cut out of the video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.extractor_specs import Crop as CropSpec
from affstore.models.face_pass import StoredFaces, faces_in_video
from affstore.models.faces.crop_folder import Listing
from affstore.models.faces.crops import resized
from affstore.models.faces.tracking import FaceTrack
from affstore.models.media.pictures import decode
from affstore.models.media.video import frames
from affstore.store.contract.errors import ConflictError, MediaError, SpecError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import join_subject
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of
from affstore.tasks.cancellation import report_frames
from affstore.tasks.ingest.sources import facts_of

Crop = NDArray[np.uint8]
"""RGB `(size_px, size_px, 3)`."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceFrames:
    """Frames of one subject, all of which show its face.

    Attributes:
        face: the record of the face.
        at: the frames, ascending.
    """

    face: Record
    at: NDArray[np.int64]


def face_of_feature(store: FeatureStore, feature: Record) -> tuple[Record, NDArray[np.bool_]]:
    """The face that a feature was made of, and the frames that show it."""
    faces = [parent for parent in feature.parents if parent.path.startswith("face/")]
    if len(faces) != 1:
        raise SpecError(f"A face network is fine-tuned on what it saw of faces; '{feature.address}' is of none.")
    face = store.get(address_of(faces[0].path))
    if face.key != faces[0].key:
        raise ConflictError(f"'{feature.address}' was made of an older '{face.address}'. Run the extraction again.")
    return face, store.read(feature.address, ["present"])["present"]


def has_boxes(store: FeatureStore, face: Record) -> bool:
    """Whether a detector found the face, in a video; crop folders know no boxes."""
    return "box" in store.group(face.address)


def crops_of_face(store: FeatureStore, frames: FaceFrames, wanted: CropSpec) -> Iterator[Crop]:
    """The crops of one subject, frame by frame."""
    if not len(frames.at):
        return
    if has_boxes(store, frames.face):
        for _, _, crop in cut_out(store, [frames], wanted):
            yield crop
        return
    pictures = Pictures.of(frames, wanted)
    for row in range(len(pictures)):
        report_frames(0)
        yield pictures[row]


def cut_out(store: FeatureStore, subjects: Sequence[FaceFrames], wanted: CropSpec) -> Iterator[tuple[int, int, Crop]]:
    """The crops of one video's subjects, in one decode: which subject, which frame, and the crop."""
    if not subjects:
        return
    source = store.get(Address("source", video=subjects[0].face.address.video))
    path = _video_file(source)
    tracks = {str(i): _track(store, one) for i, one in enumerate(subjects)}
    pictures = frames(path, facts_of(store, source))
    for face in faces_in_video(pictures, StoredFaces(tracks), lambda: report_frames(0)):
        yield int(face.who), face.frame, face.crops([wanted])[wanted]


def _track(store: FeatureStore, one: FaceFrames) -> FaceTrack:
    """A subject's face where it is wanted."""
    track = FaceTrack(**store.read(one.face.address))
    mask = np.zeros(len(track.present), bool)
    mask[one.at] = True
    return replace(track, present=mask)


def _video_file(source: Record) -> Path:
    path, video = Path(source.attributes["location"]), source.address.video
    if not path.is_file():
        raise MediaError(
            f"'{path}' is not there any more, and the faces of '{video}' are cut out of it. Put it back, or add the "
            "video again from where it is now."
        )
    if digest_file(path) != source.attributes["sha256"]:
        raise MediaError(f"'{path}' is not the file that was added. Restore it, or add it again with --replace.")
    return path


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures of a crop folder, by row.

    Attributes:
        folder: where they are.
        names: `(rows,)` file names.
        wanted: what becomes of each.
    """

    folder: Path
    names: NDArray[np.str_]
    wanted: CropSpec

    @classmethod
    def of(cls, frames: FaceFrames, wanted: CropSpec) -> Pictures:
        """Find the files of frames, by one look at the folder.

        Raises:
            MediaError: it is not what it was when it was taken in.
        """
        face = frames.face.address
        folder = Path(frames.face.attributes["location"])
        again = f"add it again with --crops {face.producer}=FOLDER"
        try:
            listing = Listing.of(folder)
        except OSError as error:
            raise MediaError(
                f"'{folder}' with the faces of '{join_subject(face.video, face.subject)}' cannot be read: "
                f"{error.strerror}. Put it back, or {again} from where it is now."
            ) from error
        if listing.signature != frames.face.attributes["signature"]:
            raise MediaError(f"The files in '{folder}' are not those that were taken in. Restore them, or {again}.")
        first = int(frames.face.attributes.get("counts_from", 1))
        names = [listing.file_of(first + frame)[0] for frame in frames.at.tolist()]
        return cls(folder, np.array(names, np.str_), wanted)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Crop:
        path = self.folder / str(self.names[row])
        try:
            return resized(decode(path.read_bytes()).rgb, self.wanted.size_px, self.wanted.resize)
        except (OSError, MediaError) as error:
            raise MediaError(
                f"'{path}' cannot be read any more: {error}. Restore it, or add its folder again."
            ) from error
