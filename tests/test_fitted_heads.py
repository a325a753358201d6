"""A process reads a head's parameters once, however many videos it predicts."""

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.predict import fitted_heads
from affstore.tasks.predict.fitted_heads import stored_head
from tests.factories import commit


def head(name, value=1.0):
    arrays = {"parameter_weight": np.full((4, 2), value, np.float32), "parameter_prior": np.zeros(2, np.float32)}
    attributes = {"task": "va", "labels": ["valence", "arousal"], "scores": None, "head": {"best_epoch": 1}}
    return Artifact(Address("head", name), {"value": value}, arrays, attributes)


@pytest.fixture
def store(tmp_path, monkeypatch):
    fitted_heads._kept.clear()
    return FeatureStore.create(str(tmp_path / "store"))


@pytest.fixture
def reads(monkeypatch):
    """The addresses whose arrays are read, in order."""
    read, real = [], FeatureStore.read
    monkeypatch.setattr(FeatureStore, "read", lambda *what: read.append(what[1].path) or real(*what))
    return read


def parameters_of(store, name):
    return stored_head(store, store.get(Address("head", name))).fitted.parameters


def test_a_head_is_read_once_and_again_when_it_is_another(store, reads):
    commit(store, head("mlp", value=1.0))
    for _ in range(3):
        assert parameters_of(store.newest(), "mlp")["weight"].mean() == 1
    assert reads == ["head/mlp"]
    commit(store.newest(), head("mlp", value=2.0))
    assert parameters_of(store.newest(), "mlp")["weight"].mean() == 2
    assert len(reads) == 2


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(store, reads, monkeypatch):
    commit(store, head("one"), head("two"))
    newest = store.newest()
    size = stored_head(newest, newest.get(Address("head", "one"))).nbytes
    monkeypatch.setattr(fitted_heads, "_KEPT_BYTES", size)
    for name in ("one", "two", "two", "one"):
        parameters_of(newest, name)
    assert reads == ["head/one", "head/two", "head/one"]


def test_the_prior_and_thresholds_are_no_parameters(store):
    commit(store, head("mlp"))
    newest = store.newest()
    found = stored_head(newest, newest.get(Address("head", "mlp")))
    assert set(found.fitted.parameters) == {"weight"}
    np.testing.assert_array_equal(found.prior, np.zeros(2))
    assert found.thresholds is None
