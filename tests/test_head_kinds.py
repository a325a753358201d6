"""Every kind of head keeps the contract, and one more is one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from affstore.flows.config.heads import HeadConfig, head_run_of
from affstore.flows.field_checks import Place
from affstore.models.heads.contract import CropFeatures, Fitted, FrameFeatures, HeadKind
from affstore.models.heads.frame_dataset import FrameDataset
from affstore.models.heads.kinds import HEADS, head_kind
from affstore.store.contract.errors import PluginError, SpecError, UnknownNameError
from affstore.store.contract.labels import TASKS
from affstore.testing.heads import FRAMES, HeadKindContract
from tests.test_finetune import TOY, colour_blind, coloured, use_toy

SLOW = {"lightautoml"}
"""A search takes the seconds that it is given."""


@dataclass(frozen=True, slots=True)
class RidgeSpec:
    """Least squares with a penalty, on one-hot labels."""

    KIND: ClassVar[str] = "ridge"

    name: str
    task: str
    alpha: float = 1.0
    version: int = 1

    @property
    def outputs(self) -> int:
        return len(TASKS[self.task])


class Ridge(HeadKind[RidgeSpec, FrameDataset, FrameFeatures]):
    """A head in closed form: all that a kind needs."""

    name = "ridge"
    description = "least squares"
    spec_type = RidgeSpec

    def default(self, task):
        return RidgeSpec("", task)

    def fit(self, spec, train, validation, options):
        x = np.concatenate([train.read(block) for block in range(len(train.blocks))]).astype(np.float64)
        wanted = np.eye(spec.outputs)[train.y[:, 0]]
        weights = np.linalg.solve(x.T @ x + spec.alpha * np.eye(train.width), x.T @ wanted)
        return Fitted({"weights": weights.astype(np.float32)}, precision="float64")

    def predict(self, spec, fitted, features, device):
        return (features.x.astype(np.float64) @ fitted.parameters["weights"]).astype(np.float32)


@pytest.fixture
def ridge():
    """The kind of head, registered for as long as a test runs."""
    HEADS.names()
    kind = HEADS.register("ridge", Ridge(), "a test")
    yield kind
    HEADS._things.pop("ridge")
    HEADS._origins.pop("ridge")


class Crops:
    """Coloured noise as the toy network sees it."""

    extractor = TOY

    def __init__(self, rows, seed):
        self._crops = coloured(rows, seed)
        self.y, self.frame, self.read = self._crops.y, self._crops.frame, self._crops.read

    def __len__(self):
        return len(self._crops)

    @property
    def parameters(self):
        return colour_blind()


class OnCrops(HeadKindContract):
    """A face network is fine-tuned: a toy, so that it takes a second."""

    @pytest.fixture(autouse=True)
    def toy(self, kind, monkeypatch):
        if kind.takes == "crops":
            use_toy(monkeypatch.setitem)

    @pytest.fixture
    def train(self, kind):
        return Crops(40, 0)

    @pytest.fixture
    def validation(self, kind):
        return Crops(40, 1)

    @pytest.fixture
    def features(self, kind):
        return lambda: CropFeatures(TOY, iter([coloured(FRAMES, 2).crops]))

    @pytest.fixture
    def spec(self, kind):
        return replace(kind.default("expr"), name="tested", epochs=1, batch=8, validation_stride=1)


KINDS = {name: head_kind(name) for name in HEADS.names()}


@pytest.mark.parametrize("kind", [Ridge()], ids=["ridge"])
class TestRidge(HeadKindContract):
    @pytest.fixture(autouse=True)
    def known(self, ridge):
        """It is registered."""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, kind in KINDS.items()
        if kind.takes != "crops"
    ],
)
class TestOwnKinds(HeadKindContract):
    pass


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in KINDS.values() if kind.takes == "crops"])
class TestOwnKindsOnCrops(OnCrops):
    pass


def test_a_head_is_usable_in_a_file_by_its_name(ridge):
    config = HeadConfig(head="ridge", inputs=("emotieffnet_b0",), changes={"alpha": 2.0})
    run = head_run_of(config, "expr", Place("mine.yaml", "head"))
    assert run.head == RidgeSpec(run.name, "expr", 2.0)
    assert run.name.startswith("expr-ridge-emotieffnet_b0-")


def test_an_unknown_head_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"mine\.yaml: 'head\.head'.*pretrained"):
        head_run_of(HeadConfig(head="pretraind", inputs=("emotieffnet_b0",)), "expr", Place("mine.yaml", "head"))


def test_an_unknown_preset_suggests_the_nearest():
    config = HeadConfig(head="sequence", inputs=("emotieffnet_b0",), preset="ctyun")
    with pytest.raises(UnknownNameError, match="ctyunai"):
        head_run_of(config, "expr", Place("mine.yaml", "head"))


def test_a_ridge_has_no_epochs(ridge):
    with pytest.raises(SpecError, match="has none"):
        head_run_of(HeadConfig(head="ridge", inputs=("emotieffnet_b0",), epochs=3), "expr", Place("mine.yaml"))


def test_a_head_under_another_name_than_its_own_is_refused():
    HEADS.names()
    HEADS.register("odd", Ridge(), "a test")
    try:
        with pytest.raises(PluginError, match="'odd' of a test"):
            head_kind("odd")
    finally:
        HEADS._things.pop("odd")
        HEADS._origins.pop("odd")
