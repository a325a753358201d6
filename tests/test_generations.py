"""Generations: readers see nothing of them until they are promoted, then all at once, and a rollback undoes it."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.store.contract.errors import ConflictError, NotFoundError, SpecError, StoreError
from affstore.store.engine.generations import begin, drop, generations, plan_promotion, promote
from affstore.store.engine.history import check_history
from affstore.tasks.lineage.verify import verify
from tests.factories import commit, source, visual


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request, tmp_path) -> FeatureStore:
    """Two videos with embeddings."""
    urls = {"folder": str(tmp_path / "store"), "memory": f"memory:{tmp_path.name}"}
    url = urls.get(request.param) or request.getfixturevalue("s3_url")
    return commit(FeatureStore.create(url), source("anna"), visual("anna"), source("bert"), visual("bert"))


@pytest.fixture
def local(tmp_path) -> FeatureStore:
    """The same in a folder."""
    store = FeatureStore.create(str(tmp_path / "store"))
    return commit(store, source("anna"), visual("anna"), source("bert"), visual("bert"))


def seeds(store: FeatureStore) -> dict[str, int]:
    """By video, the seed of the embeddings that a state holds, each read whole."""
    for address in store.addresses():
        store.read(address)
    return {record.address.video: record.recipe["extractor"]["seed"] for record in store.records("visual")}


def see_whole(store: FeatureStore) -> None:
    """See that every commit, artifact and object is as it was written, and no object is there for nothing."""
    assert {one.state for one in check_history(store)} == {"whole"}
    found = verify(store.newest())
    assert {finding.fault for finding in found.findings} <= {"unexplained"}
    assert {one.state for one in found.objects} <= {"noted", "self-checked"}


def test_readers_see_nothing_of_a_generation_until_it_is_promoted_and_all_of_it_then(store):
    before = content_digest(store)
    generation = commit(begin(store, "next"), visual("anna", seed=5))
    assert content_digest(store.newest()) == before
    generation = commit(begin(store, "next"), visual("bert", seed=5), source("carl"))
    assert content_digest(store.newest()) == before
    assert seeds(FeatureStore(store.url, "next")) == {"anna": 5, "bert": 5}
    see_whole(store)
    done = promote(store, "next")
    assert (done.tag, done.taken_over) == ("before-next", 0)
    assert content_digest(store.newest()) == content_digest(generation)
    assert seeds(store.newest()) == {"anna": 5, "bert": 5}
    assert content_digest(FeatureStore(store.url, "before-next")) == before
    assert generations(store) == []
    see_whole(store)


def test_what_came_meanwhile_is_taken_over(store):
    generation = commit(begin(store, "next"), visual("anna", seed=5))
    store = commit(store, source("carl"), visual("carl", seed=1), visual("anna", seed=1), visual("bert", seed=1))
    seen = content_digest(store)
    commit(generation, source("dora"))
    done = promote(store, "next")
    assert done.taken_over == 3
    assert seeds(store.newest()) == {"anna": 5, "bert": 1, "carl": 1}
    assert {one.video for one in store.newest().addresses("source")} == {"anna", "bert", "carl", "dora"}
    assert content_digest(FeatureStore(store.url, "before-next")) == seen
    see_whole(store)


def test_a_rollback_undoes_a_promotion_also_of_what_came_meanwhile(store):
    commit(begin(store, "next"), visual("anna", seed=5))
    seen = content_digest(commit(store, source("carl"), visual("carl", seed=1)))
    assert call(["generation", "promote", "next", "--store", store.url]) == 0
    assert call(["rollback", "before-next", "--store", store.url]) == 0
    assert content_digest(store.newest()) == seen
    assert seeds(store.newest()) == {"anna": 0, "bert": 0, "carl": 1}
    see_whole(store)
