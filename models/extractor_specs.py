"""What an extractor is, as plain frozen values: everything its numbers depend on travels in its spec."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import ClassVar, Literal, NamedTuple

from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import NOT_IN_KEYS
from affstore.store.contract.labels import LabelSpace
from affstore.store.contract.records import Provenance, provenance_of

Precision = Literal["float32", "bfloat16"]
Stored = Literal["float32", "float16"]
Resize = Literal["pil_bilinear", "pil_bicubic", "pil_lanczos", "cv2_bilinear"]
Framing = Literal["box", "fer"]

CROP_KIND = re.compile(r"[a-z][a-z0-9_]*")
"""How a kind of crop folder is written."""

_BLOCKS = re.compile(r"blocks(\d+)")
_WINDOWS = re.compile(r"windows(\d+)-(\d+)")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class WeightsRef:
    """Which parameters a network runs with.

    Attributes:
        name: of the entry that the extractor's kind brings.
        sha256: digest of the parameters themselves; empty in a registered spec, filled in before any key is made.
        trained: False for seeded, untrained parameters.
        official: whether they were read from a file with the published digest; equal parameters are equal numbers,
            whatever file they come from.
    """

    KIND: ClassVar[str] = "weights"

    name: str
    sha256: str = ""
    trained: bool = True
    official: bool = field(default=True, metadata=NOT_IN_KEYS)

    @property
    def provenance(self) -> Provenance:
        """What every record and report says of the parameters."""
        return provenance_of(self.trained, self.official)


class Crop(NamedTuple):
    """How a face of a picture becomes what a network sees; see `FaceExtractorSpec` for each field."""

    size_px: int
    resize: Resize = "pil_bilinear"
    framing: Framing = "box"


@dataclass(frozen=True, slots=True)
class FaceExtractorSpec:
    """A network from a face crop to an embedding.

    Attributes:
        name: the extractor's name in the store.
        version: raised whenever the same spec would give other numbers.
        width: length of the embedding.
        size_px: side of the square crop the network sees.
        mean: per RGB channel, of pixel values in [0, 1].
        std: per RGB channel.
        weights: the parameters.
        logits: meaning of the classifier's columns, or None.
        valence_arousal: whether the network also gives raw linear valence and arousal.
        precision: of the forward pass.
        engine: what runs it.
        resize: by which filter a face of any size becomes `size_px`, its aspect ratio not kept: Pillow's are
            antialiased, OpenCV's is not.
        framing: what of a picture is cut out: the face's `box`, or more of it, as the package `fer` does; see
            `affstore.models.faces.crops.cut`. A picture of a crop folder is taken as it is.
        float32_stages: first stages that stay in float32 whatever the precision: rounding does its harm there.
        faces: where the faces come from: the name of a detector, or of a kind of crop folder.
        stored: the type of the embedding in the store; what else the network says is stored in float32.
    """

    KIND: ClassVar[str] = "face extractor"
    SENSE: ClassVar[Literal["face", "sound"]] = "face"

    name: str
    version: int
    width: int
    size_px: int
    weights: WeightsRef
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    logits: LabelSpace | None = None
    valence_arousal: bool = False
    precision: Precision = "float32"
    engine: str = "torch"
    resize: Resize = "pil_bilinear"
    float32_stages: int = 0
    faces: str = "mtcnn"
    framing: Framing = "box"
    stored: Stored = "float32"

    @property
    def crop(self) -> Crop:
        """How a face becomes what the network sees."""
        return Crop(self.size_px, self.resize, self.framing)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that it gives of a face."""
        return ("embedding", *_if(self.logits, "logits"), *_if(self.valence_arousal, "valence_arousal"))

    @property
    def row_width(self) -> int:
        """Numbers a row: the embedding, and what the network says beside it."""
        return self.width + len(self.logits or ()) + 2 * self.valence_arousal

    def varied(self, variant: str) -> FaceExtractorSpec:
        """The same network on faces of a kind of crop folder, as in `--crops KIND=FOLDER`.

        Raises:
            SpecError: there can be no such kind.
        """
        if not CROP_KIND.fullmatch(variant):
            raise SpecError(
                f"'{self.name}@{variant}' should name a kind of crop folder, in small letters, as in "
                f"'{self.name}@cropped_aligned'."
            )
        return replace(self, name=f"{self.name}@{variant}", faces=variant)


@dataclass(frozen=True, slots=True)
class Segmenting:
    """How a sound is cut into what one forward pass hears; each piece is normalised by itself.

    Attributes:
        mode: `blocks` follow each other without overlap, as in the papers' notebooks: a vector depends on the block it
            lies in. `windows` overlap, and each vector is taken from the window in whose middle it lies. `whole` is
            not cut, for networks whose own windows are short.
        length_s: of a block or window; 0 for the whole.
        step_s: from the beginning of one window to that of the next; equal to `length_s` for blocks and the whole.
    """

    KIND: ClassVar[str] = "segments"

    mode: Literal["blocks", "windows", "whole"]
    length_s: int
    step_s: int

    def __post_init__(self) -> None:
        uncut = self.mode == "whole" and self.step_s == self.length_s == 0
        side_by_side = self.mode == "blocks" and self.step_s == self.length_s >= 1
        overlapping = self.mode == "windows" and 1 <= self.step_s < self.length_s
        if not (uncut or side_by_side or overlapping):
            raise SpecError(
                "Sound is heard `whole`, or cut into `blocks` of at least 1 s, or `windows` with a step of at least "
                f"1 s that is shorter than they are; found {self.mode} of {self.length_s} s every {self.step_s} s."
            )


def blocks(length_s: int) -> Segmenting:
    """Blocks of that length."""
    return Segmenting("blocks", length_s, length_s)


def whole() -> Segmenting:
    """All of the sound, uncut."""
    return Segmenting("whole", 0, 0)


@dataclass(frozen=True, slots=True)
class SoundExtractorSpec:
    """A network from a mono waveform to embeddings on its own, regular clock.

    Attributes:
        name: the extractor's name in the store.
        version: raised whenever the same spec would give other numbers.
        width: length of an embedding.
        rate_hz: sample rate the network hears.
        vectors_hz: embeddings a second, exact.
        weights: the parameters.
        segments: how the sound is cut.
        normalise: zero mean and unit variance a segment, as the model's own processor does.
        align: `time` gives each video frame the embedding playing when the frame starts; `notebook` gives frame `f` of
            `F` the embedding `int(f * L / F)` of `L`, as the papers' notebooks do.
        first_s: where the time that vector 0 stands for begins, from the first sample on; negative where it begins
            before, as it does for a network whose vector stands around an instant.
        logits: meaning of the classifier's columns, or None.
        affect: whether the network also gives arousal, dominance and valence.
        precision: of the forward pass.
        engine: what runs it.
        resampler: how the file's sample rate becomes `rate_hz`: as `affstore.models.media.sound` does it for every
            network, or by a filter of `affstore.models.media.resample`, for a network whose numbers depend on it.
        stored: the type of the embedding in the store; what else the network says is stored in float32.
    """

    KIND: ClassVar[str] = "sound extractor"
    SENSE: ClassVar[Literal["face", "sound"]] = "sound"
    faces: ClassVar[str] = ""
    """It takes none from anywhere."""

    name: str
    version: int
    width: int
    rate_hz: int
    vectors_hz: Fraction
    weights: WeightsRef
    segments: Segmenting
    normalise: bool
    align: Literal["time", "notebook"] = "time"
    first_s: Fraction = Fraction(0)
    logits: LabelSpace | None = None
    affect: bool = False
    precision: Precision = "float32"
    engine: str = "torch"
    resampler: Literal["swresample", "resampy", "resampy_0.2"] = "swresample"
    stored: Stored = "float32"

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that it gives of a sound."""
        return ("embedding", *_if(self.logits, "logits"), *_if(self.affect, "affect"))

    @property
    def row_width(self) -> int:
        """Numbers a row: the embedding, and what the network says beside it."""
        return self.width + len(self.logits or ()) + 3 * self.affect

    def varied(self, variant: str) -> SoundExtractorSpec:
        """The spec changed by the words of a variant's name, joined by `+`.

        Raises:
            SpecError: it has no such variant.
        """
        spec = replace(self, name=f"{self.name}@{variant}")
        for word in variant.split("+"):
            spec = spec.changed_by(word)
        return spec

    def changed_by(self, word: str) -> SoundExtractorSpec:
        """The spec changed by one word of a variant's name.

        Args:
            word: `blocks90`, cut every 90 s; `windows20-10`, heard in windows of 20 s every 10 s; `notebook`, how
                vectors meet frames.

        Raises:
            SpecError: the word says something else.
        """
        if word == "notebook":
            return replace(self, align="notebook")
        if found := _BLOCKS.fullmatch(word):
            return replace(self, segments=blocks(int(found[1])))
        if found := _WINDOWS.fullmatch(word):
            return replace(self, segments=Segmenting("windows", int(found[1]), int(found[2])))
        raise SpecError(
            f"'{self.name}': '{word}' is no variant of this sound network; blocks90, windows20-10 and notebook are."
        )


ExtractorSpec = FaceExtractorSpec | SoundExtractorSpec

IMPORTED = "imported/"
"""How producers of imported features are called, so that none is taken for a network of affstore's."""


@dataclass(frozen=True, slots=True)
class ImportedFeatures:
    """Features that another program computed; a store says what they are, and before that only their name is known.

    Attributes:
        name: how the store calls them, as `imported/gaze`.
        width: numbers a frame; 0 while no store was asked.
        columns: what the numbers are called; empty where the files do not say.
        of_sound: they are of a video's sound, and of nobody.
    """

    KIND: ClassVar[str] = "imported features"
    arrays: ClassVar[tuple[str, ...]] = ("embedding",)

    name: str
    width: int = 0
    columns: tuple[str, ...] = ()
    of_sound: bool = False

    @property
    def faces(self) -> str:
        """Whose they are, they say themselves: no detector and no crop folder has to have found that person."""
        return self.name if self.width and not self.of_sound else ""

    @property
    def numbers(self) -> str:
        """What a frame has, in words."""
        return f"{self.width} numbers a frame" + (f" ({', '.join(self.columns)})" if self.columns else "")

    def is_like(self, other: ImportedFeatures) -> bool:
        """Whether a head can take the ones for the others; columns are compared where both have names."""
        same = (self.name, self.width, self.of_sound) == (other.name, other.width, other.of_sound)
        return same and (self.columns == other.columns or not (self.columns and other.columns))


InputSpec = ExtractorSpec | ImportedFeatures
"""Where a head's input may come from."""


def faces_among(specs: Iterable[ExtractorSpec]) -> tuple[FaceExtractorSpec, ...]:
    """The face networks."""
    return tuple(spec for spec in specs if isinstance(spec, FaceExtractorSpec))


def sounds_among(specs: Iterable[ExtractorSpec]) -> tuple[SoundExtractorSpec, ...]:
    """The sound networks."""
    return tuple(spec for spec in specs if isinstance(spec, SoundExtractorSpec))


def split_variant(name: str) -> tuple[str, str]:
    """An extractor's name and its variant, empty for the extractor as it is registered.

    Variants are written behind `@`: `emotieffnet_b0@cropped_aligned`, `wav2vec2_base_960h@blocks300+notebook`. Each is
    stored beside its siblings under the whole name, so that one store can hold them all.
    """
    plain, _, variant = name.partition("@")
    return plain, variant


def _if(given: object, array: str) -> tuple[str, ...]:
    return (array,) if given else ()
