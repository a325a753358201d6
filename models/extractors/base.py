"""What every extractor owes its callers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import ENGINES, EngineName
from affstore.models.engines.footprint import PassBytes, Workload
from affstore.models.extractor_specs import FaceExtractorSpec, SoundExtractorSpec
from affstore.models.weights.entry import WeightsEntry


@dataclass(frozen=True, slots=True)
class FaceOutput:
    """A face network's outputs for `n` crops.

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
    def embed(self, crops: NDArray[np.uint8]) -> FaceOutput:
        """Embed RGB crops `(n, size_px, size_px, 3)`, any `n` ≥ 0.

        Row `i` depends on `crops[i]` alone, to the bit on a CPU: the network always sees full, padded batches of
        one shape.
        """


class SoundExtractor(ABC):
    """A sound network with its parameters, ready to run. Built by `affstore.models.extractors.registry.build_sound`.

    Attributes:
        spec: what it is.
    """

    spec: SoundExtractorSpec

    @abstractmethod
    def embed(self, wave: NDArray[np.floating[Any]]) -> SoundOutput:
        """Embed a mono waveform `(samples,)` at `spec.rate_hz`, float32 unless `spec.resampler` gives float64.

        Returns:
            Vector `i` stands for `first_s + [i, i + 1) / vectors_hz` seconds after the first sample. No sound gives no
            vector; what comes of a sound shorter than one window, the network says.
        """


class ExtractorKind[S: FaceExtractorSpec | SoundExtractorSpec](ABC):
    """Everything affstore asks of an extractor, or of all extractors whose names begin with a prefix such as `timm/`.

    A module of this package registers a kind in `affstore.models.extractors.registry.EXTRACTORS`. A plugin names an
    instance in an entry point of the group `affstore.extractors`, and states in the class attribute `contract` which
    number of this contract it follows; today's is 1.
    """

    @abstractmethod
    def spec(self, name: str) -> S:
        """What the extractor of that name is, its weights not resolved yet.

        Raises:
            SpecError: there is none, or it cannot be used.
        """

    @abstractmethod
    def weights(self, name: str) -> WeightsEntry:
        """What is known of the parameters: their file, its digest and licence, and the network they are of.

        Args:
            name: of the extractor; of a prefix's, the name of the weights in its spec.
        """

    @abstractmethod
    def build(self, spec: S, parameters: Mapping[str, Any], device: str) -> FaceExtractor | SoundExtractor:
        """The network, ready to run.

        Args:
            spec: as `spec` gave it, perhaps varied, with resolved weights and an engine.
            parameters: a state dict of torch tensors.
            device: `cpu`, `cuda`, `cuda:1` …

        Raises:
            ArchitectureError: the parameters are another network's.
        """

    @abstractmethod
    def untrained(self, spec: S, seed: int) -> dict[str, Any]:
        """Seeded, untrained parameters, whose embeddings depend on the input; the same ones every time."""

    def engines(self, spec: S) -> Sequence[EngineName]:
        """The engines that run the network on a CPU: all run a face network, and torch runs a sound network."""
        return ENGINES if spec.SENSE == "face" else ("torch",)

    @abstractmethod
    def pass_bytes(self, spec: S, workload: Workload) -> PassBytes:
        """The memory that forward passes need beside the parameters, estimated from above."""


@dataclass(frozen=True, slots=True)
class OneExtractor[S: FaceExtractorSpec | SoundExtractorSpec](ExtractorKind[S]):
    """The kind of an extractor with a name of its own.

    Attributes:
        only: what it is.
        entry: what is known of its parameters.
    """

    only: S
    entry: WeightsEntry

    def spec(self, name: str) -> S:
        """The only one."""
        return self.only

    def weights(self, name: str) -> WeightsEntry:
        """The only one's."""
        return self.entry
