"""What every extractor owes its callers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec, SoundExtractorSpec


@dataclass(frozen=True, slots=True)
class FaceOutput:
    """What a face network says of `n` crops.

    Attributes:
        embedding: `(n, width)` float32.
        logits: `(n, classes)` float32, in the order of `spec.logits`; None when the network has no classifier.
        valence_arousal: `(n, 2)` float32, raw linear outputs; None when the network has none.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None
    valence_arousal: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class SoundOutput:
    """What a sound network says, one row a vector of its own clock.

    Attributes:
        embedding: `(vectors, width)` float32.
        logits: `(vectors, classes)` float32, of the segment that each vector was computed in; None without a
            classifier.
        affect: `(vectors, 3)` float32, arousal, dominance and valence of that segment; None without such a head.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None
    affect: NDArray[np.float32] | None = None


class FaceExtractor(ABC):
    """A face network with its parameters, ready to run. Built by `affstore.models.extractors.registry.build_face`.

    Attributes:
        spec: what it is.
        batch: crops that one forward pass takes.
    """

    spec: FaceExtractorSpec
    batch: int

    @abstractmethod
    def __init__(self, spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str) -> None:
        """Load `parameters` (a state dict of torch tensors) into the network.

        Raises:
            ArchitectureError: the parameters are another network's.
        """

    @abstractmethod
    def embed(self, crops: NDArray[np.uint8]) -> FaceOutput:
        """Embed RGB crops `(n, size_px, size_px, 3)`, any `n` ≥ 0.

        Row `i` depends on `crops[i]` alone, to the bit on a CPU: the network always sees full, padded batches of
        one shape.
        """


class SoundExtractor(ABC):
    """A sound network with its parameters, ready to run. Built by `affstore.models.extractors.registry.build`."""

    @abstractmethod
    def __init__(self, spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str) -> None:
        """See `FaceExtractor.__init__`."""

    @abstractmethod
    def embed(self, wave: NDArray[np.floating[Any]]) -> SoundOutput:
        """Embed a mono waveform `(samples,)` at `spec.rate_hz`, float32 unless `spec.resampler` gives float64.

        Returns:
            Vector `i` stands for `first_s + [i, i + 1) / vectors_hz` seconds after the first sample. No sound gives no
            vector; what comes of a sound shorter than one window, the network says.
        """
