"""What every kind of head must do, as tests to subclass: give the fixture `kind`, and whatever else differs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.flows.field_checks import Place, changed
from affstore.models.heads.contract import Fitted, FrameFeatures, HeadKind
from affstore.models.heads.examples import Examples
from affstore.models.heads.kinds import kind_of
from affstore.models.heads.sequence.dataset import Labels, MemorySequences, Streams
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import UnknownNameError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import AFFECTNET_8, EXPR
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.predict.fitted_heads import stored_head
from affstore.tasks.training.train import head_arrays

FRAMES, WIDTH = 90, len(AFFECTNET_8)


class HeadKindContract:
    """Tests of one kind of head.

    A subclass gives the fixture `kind`. It may also give `spec`, smaller than the default so that a fit takes a second,
    and must give `train`, `validation` and `features` for a kind that takes crops.
    """

    @pytest.fixture
    def kind(self) -> HeadKind[Any, Any, Any]:
        """The kind that is tested."""
        raise NotImplementedError

    @pytest.fixture
    def spec(self, kind: HeadKind[Any, Any, Any]) -> Any:
        """A head for expressions."""
        return dataclasses.replace(kind.shortened(kind.default("expr")), name="tested")

    @pytest.fixture
    def train(self, kind: HeadKind[Any, Any, Any]) -> Any:
        """What the head is fitted on."""
        return _dataset(kind, 0)

    @pytest.fixture
    def validation(self, kind: HeadKind[Any, Any, Any]) -> Any:
        """What chooses its epoch."""
        return _dataset(kind, 1)

    @pytest.fixture
    def features(self, kind: HeadKind[Any, Any, Any]) -> Any:
        """What it is applied to, of `FRAMES` frames."""
        x, _ = _frames(2)
        return Streams((x,), np.ones((FRAMES, 1), bool)) if kind.takes == "sequences" else _features(x)

    def test_its_spec_is_a_frozen_dataclass_that_names_the_kind(self, kind: HeadKind[Any, Any, Any], spec: Any) -> None:
        assert kind.description
        assert "\n" not in kind.description
        assert kind.name == vars(kind.spec_type)["KIND"] == spec.KIND
        assert kind_of(spec).name == kind.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, "task", "another")  # noqa: B010

    def test_every_field_but_the_name_decides_the_key(self, spec: Any) -> None:
        assert len(key_of(spec)) == 64
        assert key_of(dataclasses.replace(spec)) == key_of(spec)
        assert {"name", "task"} <= {field.name for field in dataclasses.fields(spec)}

    def test_an_unknown_field_is_refused(self, spec: Any) -> None:
        with pytest.raises(UnknownNameError, match=r"a_file\.yaml"):
            changed(spec, {"no_such_field": 1}, Place("a_file.yaml"))

    def test_without_validation_there_is_nothing_left_to_choose(self, kind: HeadKind[Any, Any, Any], spec: Any) -> None:
        once = kind.without_validation(spec, 2)
        assert kind.without_validation(once) == once
        assert kind.memory_bytes(spec, 1000, WIDTH) >= 0
        assert kind.describe(spec)

    def test_a_fit_gives_the_same_bits_and_finite_outputs_and_survives_the_store(
        self, kind: HeadKind[Any, Any, Any], spec: Any, train: Any, validation: Any, features: Any
    ) -> None:
        first, again = (kind.fit(spec, train, validation, TrainerOptions()) for _ in range(2))
        assert _bits(head_arrays(first)) == _bits(head_arrays(again))
        outputs = kind.predict(spec, first, _anew(features), "cpu")
        assert outputs.dtype == np.float32
        assert outputs.shape == (FRAMES, spec.outputs)
        assert np.isfinite(outputs).all()
        stored = _through_a_store(spec, first)
        np.testing.assert_array_equal(kind.predict(spec, stored, _anew(features), "cpu"), outputs)


def _bits(arrays: dict[str, NDArray[Any]]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in sorted(arrays.items()) if not name.startswith("blob_")}


def _anew(features: Any) -> Any:
    """Features that can be read once, given again."""
    return features() if callable(features) else features


def _frames(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Features whose largest column tells the class."""
    random = np.random.default_rng(seed)
    y = random.integers(0, len(EXPR), (FRAMES, 1)).astype(np.int8)
    x = random.normal(size=(FRAMES, WIDTH)) + 2 * np.eye(WIDTH)[y[:, 0]]
    return x.astype(np.float32), y


def _features(x: NDArray[np.float32]) -> FrameFeatures:
    return FrameFeatures(x, AFFECTNET_8.names)


def _dataset(kind: HeadKind[Any, Any, Any], seed: int) -> Any:
    if kind.takes == "nothing":
        return None
    x, y = _frames(seed)
    if kind.takes == "frames":
        return Examples(x, y)
    known = np.ones(FRAMES, bool)
    return MemorySequences([("a video", Streams((x,), known[:, None]), Labels(y, known))])


def _through_a_store(spec: Any, head: Fitted) -> Fitted:
    """A head that was written and read again."""
    store = FeatureStore.create(f"memory:contract-{key_of(spec)[:12]}")
    draft = store.draft({}, "contract")
    attributes = {"task": spec.task, "labels": [], "scores": None}
    attributes["head"] = {"best_epoch": head.best_epoch, "report": dict(head.report)}
    arrays = head_arrays(head) | {"parameter_prior": np.zeros(spec.outputs, np.float32)}
    draft.put(Artifact(Address("head", "tested"), {"spec": key_of(spec)}, arrays, attributes))
    store.commit([draft], "contract")
    newest = store.newest()
    return stored_head(newest, newest.get(Address("head", "tested"))).fitted
