"""What every extractor must do, as tests to subclass: give the fixtures `kind` and `name`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affstore.models.engines.footprint import Workload
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec
from affstore.models.extractors.base import ExtractorKind, FaceExtractor, FaceOutput, SoundExtractor, SoundOutput
from affstore.models.extractors.registry import EXTRACTORS
from affstore.store.contract.errors import ArchitectureError

_SOUND_S = 2


class ExtractorContract:
    """Tests of one extractor with untrained parameters.

    A subclass gives the fixtures `kind` and `name` in the scope of its class; of a kind that answers for a prefix, a
    name that begins with it.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls) -> ExtractorKind[Any]:
        """The kind that is tested."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def name(cls) -> str:
        """An extractor of it."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, kind: ExtractorKind[Any], name: str) -> ExtractorSpec:
        """What the extractor is."""
        found: ExtractorSpec = kind.spec(name)
        return found

    @pytest.fixture(scope="class")
    @classmethod
    def parameters(cls, kind: ExtractorKind[Any], spec: ExtractorSpec) -> dict[str, Any]:
        """Untrained parameters."""
        return kind.untrained(spec, 1)

    @pytest.fixture(scope="class")
    @classmethod
    def extractor(
        cls, kind: ExtractorKind[Any], spec: ExtractorSpec, parameters: dict[str, Any]
    ) -> FaceExtractor | SoundExtractor:
        """The network on a CPU."""
        return kind.build(spec, parameters, "cpu")

    def test_it_answers_to_its_name_and_names_its_weights(
        self, kind: ExtractorKind[Any], name: str, spec: ExtractorSpec
    ) -> None:
        assert EXTRACTORS.get(name) is kind
        assert spec.name == name
        assert kind.weights(spec.weights.name).name == spec.weights.name
        assert kind.pass_bytes(spec, Workload(sound_s=_SOUND_S)).host > 0

    def test_untrained_parameters_are_the_same_every_time_and_others_with_another_seed(
        self, kind: ExtractorKind[Any], spec: ExtractorSpec, parameters: dict[str, Any]
    ) -> None:
        assert _equal(kind.untrained(spec, 1), parameters)
        assert not _equal(kind.untrained(spec, 2), parameters)

    def test_parameters_of_another_network_are_refused(
        self, kind: ExtractorKind[Any], spec: ExtractorSpec, parameters: dict[str, Any]
    ) -> None:
        lacking = dict(list(parameters.items())[1:])
        with pytest.raises(ArchitectureError):
            kind.build(spec, lacking, "cpu")

    def test_its_outputs_are_what_its_spec_says(
        self, extractor: FaceExtractor | SoundExtractor, spec: ExtractorSpec
    ) -> None:
        found = _embedded(extractor, spec, _inputs(spec))
        rows = len(found.embedding)
        assert rows > 0
        widths = {"embedding": spec.width, "logits": len(spec.logits or ()), "valence_arousal": 2, "affect": 3}
        for array in spec.arrays:
            values = getattr(found, array)
            assert (values.dtype, values.shape) == (np.float32, (rows, widths[array]))
            assert np.isfinite(values).all()

    def test_what_it_says_depends_on_the_input(
        self, extractor: FaceExtractor | SoundExtractor, spec: ExtractorSpec
    ) -> None:
        embedding = _embedded(extractor, spec, _inputs(spec)).embedding
        other = _embedded(extractor, spec, _inputs(spec, seed=7)).embedding
        different = np.abs(embedding[: len(other)] - other[: len(embedding)]).max()
        assert different > 1e-3 * np.abs(embedding).max()

    def test_the_same_input_gives_the_same_bits(
        self, extractor: FaceExtractor | SoundExtractor, spec: ExtractorSpec
    ) -> None:
        first, again = (_embedded(extractor, spec, _inputs(spec)).embedding for _ in range(2))
        assert first.tobytes() == again.tobytes()

    def test_a_face_does_not_depend_on_those_beside_it(
        self, extractor: FaceExtractor | SoundExtractor, spec: ExtractorSpec
    ) -> None:
        if isinstance(extractor, FaceExtractor):
            crops = _inputs(spec)
            together = extractor.embed(crops).embedding
            alone = np.concatenate([extractor.embed(crop[None]).embedding for crop in crops])
            assert together.tobytes() == alone.tobytes()
            assert extractor.embed(crops[:0]).embedding.shape == (0, spec.width)


def _inputs(spec: ExtractorSpec, seed: int = 0) -> NDArray[Any]:
    """Five faces, or a sound: noise that is smooth enough to pass every first layer."""
    random = np.random.default_rng(seed)
    if isinstance(spec, FaceExtractorSpec):
        coarse = random.integers(0, 256, (5, 8, 8, 3), np.uint8)
        index = np.arange(spec.size_px) * 8 // spec.size_px
        return coarse[:, index][:, :, index]
    time_s = np.arange(_SOUND_S * spec.rate_hz) / spec.rate_hz
    tone = np.sin(2 * np.pi * (200 + 100 * seed) * time_s) + 0.1 * random.normal(size=len(time_s))
    return tone.astype(np.float32 if spec.resampler == "swresample" else np.float64)


def _embedded(
    extractor: FaceExtractor | SoundExtractor, spec: FaceExtractorSpec | SoundExtractorSpec, given: NDArray[Any]
) -> FaceOutput | SoundOutput:
    assert isinstance(extractor, FaceExtractor if spec.SENSE == "face" else SoundExtractor)
    return extractor.embed(given)


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)
