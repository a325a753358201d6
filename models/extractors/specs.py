"""What an extractor is, as plain frozen values: everything its numbers depend on travels in its spec."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from store.contract.labels import LabelSpace

Precision = Literal["float32", "bfloat16"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class WeightsRef:
    """Which parameters a network runs with.

    Attributes:
        name: the entry of `models/weights/registry.yaml`.
        sha256: digest of the parameters themselves; empty in a registered spec, filled in before any key is made.
        trained: False for seeded, untrained parameters; every record and report says so.
    """

    name: str
    sha256: str = ""
    trained: bool = True


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
        resize: how a face of any size becomes `size_px`; `pil_bilinear` is antialiased, aspect ratio not kept.
    """

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
    resize: Literal["pil_bilinear"] = "pil_bilinear"


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
        block_s: seconds embedded in one forward pass; blocks do not overlap, each is normalised by itself.
        normalise: zero mean and unit variance a block, as the model's own processor does.
        align: `time` gives each video frame the embedding playing when the frame starts.
        precision: of the forward pass.
        engine: what runs it.
    """

    name: str
    version: int
    width: int
    rate_hz: int
    vectors_hz: Fraction
    weights: WeightsRef
    block_s: int
    normalise: bool
    align: Literal["time"] = "time"
    precision: Precision = "float32"
    engine: str = "torch"


ExtractorSpec = FaceExtractorSpec | SoundExtractorSpec
