"""What face detection and tracking are, as plain frozen values; imports neither torch nor OpenCV."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from affstore.models.engines.base import ENGINES, EngineName
from affstore.models.extractor_specs import CROP_KIND, Precision
from affstore.store.contract.errors import SpecError, WeightsDigestError, WeightsMissingError
from affstore.store.contract.keys import digest_file, key_of

PUBLISHED_SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""The three networks' parameters in the wheel of `mtcnn` 1.0.0 (MIT)."""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """MTCNN (Zhang et al. 2016): three networks in cascade, from a pyramid of the picture to boxes and landmarks.

    Attributes:
        name: the detector's name in the store.
        version: raised whenever the same spec would give other numbers.
        smallest_share: side of the smallest face to find, as a share of the picture's short side.
        smallest_px: its absolute floor; smaller faces carry no expression.
        pyramid_factor: ratio of one pyramid level to the one before.
        thresholds: score that a box needs to pass P-Net, R-Net and O-Net.
        redetect_frames: in a video the whole picture is searched every so many frames; between them the boxes of the
            frame before are refined. 1 searches every frame.
        weights_sha256: digest of the parameters; empty until `resolve`.
        precision: of the forward pass.
        engine: what runs it; boxes of two engines differ in their last bits.
    """

    KIND: ClassVar[str] = "detector"

    name: str = "mtcnn"
    version: int = 2  # 2: every level of the pyramid is shrunk from the picture itself, halved
    smallest_share: float = 0.08
    smallest_px: int = 20
    pyramid_factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.9)
    redetect_frames: int = 5
    weights_sha256: str = ""
    precision: Precision = "float32"
    engine: EngineName = "torch"

    def __post_init__(self) -> None:
        if not (0 < self.smallest_share <= 1 and self.smallest_px >= 12 and 0 < self.pyramid_factor < 1):
            raise SpecError(
                "A detector needs 0 < smallest_share <= 1, smallest_px >= 12 and 0 < pyramid_factor < 1; found "
                f"{self.smallest_share}, {self.smallest_px} and {self.pyramid_factor}."
            )
        if len(self.thresholds) != 3 or not all(0 <= threshold < 1 for threshold in self.thresholds):
            raise SpecError(f"A detector needs three thresholds in [0, 1); found {self.thresholds}.")
        if self.redetect_frames < 1:
            raise SpecError(f"A detector searches every redetect_frames >= 1 frames; found {self.redetect_frames}.")
        if (self.name, self.precision) != ("mtcnn", "float32") or self.engine not in ENGINES:
            raise SpecError(
                f"Faces are found by mtcnn in float32 on {' or '.join(ENGINES)}; found {self.name}, {self.precision}, "
                f"{self.engine}."
            )


@dataclass(frozen=True, slots=True)
class TrackingSpec:
    """How the faces of single frames become the subjects of a video.

    Attributes:
        version: raised whenever the same spec would give other subjects.
        link_iou: overlap (intersection over union) at which a face continues a track.
        longest_gap_frames: frames without its face that a track survives.
        most_candidates: faces of a frame that are followed, the largest tracks first; all of them where all people are
            subjects.
        shortest_track_frames: shorter tracks are false boxes.
        shortest_subject_frames: presence a subject needs; half of a video shorter than twice this.
        smallest_subject_share: presence, and presence × area, that a second subject needs, as a share of the first's.
        most_subjects: one; two that are told apart by their side; or `all` who are present for long enough.
        cut_difference: grey levels, on average, by which the first picture of a shot differs from the one before.
        least_likeness: of the colours of two faces, at which they may be one person on both sides of a cut.
    """

    KIND: ClassVar[str] = "tracking"

    version: int = 2  # 2: nobody goes on through a cut unless the face fits
    link_iou: float = 0.3
    longest_gap_frames: int = 25
    most_candidates: int = 3
    shortest_track_frames: int = 3
    shortest_subject_frames: int = 12
    smallest_subject_share: float = 0.25
    most_subjects: Literal[1, 2, "all"] = 2
    cut_difference: float = 20.0
    least_likeness: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.link_iou <= 1 and 0 <= self.smallest_subject_share <= 1):
            raise SpecError(
                "Tracking needs 0 < link_iou <= 1 and 0 <= smallest_subject_share <= 1; found "
                f"{self.link_iou} and {self.smallest_subject_share}."
            )
        if self.longest_gap_frames < 0 or min(self.shortest_track_frames, self.shortest_subject_frames) < 1:
            raise SpecError("Tracking needs longest_gap_frames >= 0 and shortest_…_frames >= 1.")
        if not (self.cut_difference > 0 and 0 <= self.least_likeness <= 1):
            raise SpecError(
                "Tracking needs cut_difference > 0 and 0 <= least_likeness <= 1; found "
                f"{self.cut_difference} and {self.least_likeness}."
            )
        if self.most_subjects not in (1, 2, "all") or self.most_candidates < (self.subject_limit or 1):
            raise SpecError(
                "Tracking knows one subject, two, or 'all', and needs at least as many candidates; found "
                f"{self.most_subjects} of {self.most_candidates}."
            )

    @property
    def subject_limit(self) -> int | None:
        """How many subjects a video may have; None for any number."""
        return None if self.most_subjects == "all" else self.most_subjects

    @property
    def candidate_limit(self) -> int | None:
        """How many faces of a frame are followed; None for any number."""
        return None if self.most_subjects == "all" else self.most_candidates


def check_kind(kind: str) -> str:
    """The name of a kind of crop folder itself, if it can be one.

    Raises:
        SpecError: it could not be written behind an extractor's name, or is the face detector's.
    """
    if not CROP_KIND.fullmatch(kind):
        raise SpecError(f"A kind of crop folder is named in small letters, as 'cropped_aligned'; found '{kind}'.")
    if kind == DetectorSpec().name:
        raise SpecError(f"'{kind}' is the face detector's name. Give this kind of crop folder another one.")
    return kind


def resolve(spec: DetectorSpec) -> DetectorSpec:
    """The spec with the digest of the installed weights.

    Raises:
        WeightsMissingError: the `mtcnn` distribution is not installed.
        WeightsDigestError: its files are not those that were published, or not those the spec names.
        SpecError: another version of the detector is asked for.
    """
    today = DetectorSpec().version
    if spec.version != today:
        raise SpecError(
            f"These faces were found by version {spec.version} of the face detector; this affstore has version "
            f"{today}, whose boxes differ. Find them anew with `affstore run` or `affstore add`."
        )
    digest = key_of({path.name: digest_file(path) for path in weights_files()})
    if digest != key_of(PUBLISHED_SHA256):
        raise WeightsDigestError(
            f"MTCNN's weights in {weights_files()[0].parent} are not those of mtcnn 1.0.0. Reinstall mtcnn==1.0.0."
        )
    if spec.weights_sha256 not in ("", digest):
        raise WeightsDigestError(
            f"The spec asks for MTCNN weights {spec.weights_sha256[:8]}, found {digest[:8]}. "
            "Leave weights_sha256 empty, or install the mtcnn release it was made with."
        )
    return replace(spec, weights_sha256=digest)


def weights_files() -> tuple[Path, ...]:
    """The weight files of P-Net, R-Net and O-Net, found without importing `mtcnn` (which would load TensorFlow).

    Raises:
        WeightsMissingError: the `mtcnn` distribution is not installed.
    """
    package = importlib.util.find_spec("mtcnn")
    if package is None or package.origin is None:
        raise WeightsMissingError(
            "MTCNN's weights come with the package mtcnn, which is not here: install mtcnn==1.0.0."
        )
    files = tuple(Path(package.origin).parent / "assets" / "weights" / name for name in PUBLISHED_SHA256)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise WeightsMissingError(f"The package mtcnn has no {', '.join(missing)}: reinstall mtcnn==1.0.0.")
    return files
