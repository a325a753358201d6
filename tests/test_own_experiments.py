"""A user's own experiments in a configuration: every kind of head, ensemble and protocol, in one pipeline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.config.run_config import checked
from affstore.flows.execution import _call
from affstore.flows.pipeline import pipeline
from affstore.flows.request import request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.models.heads.kinds import HEADS
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import EXPR
from affstore.store.contract.records import Address, Artifact
from affstore.tasks import recipes
from tests.factories import commit, read_submission, source
from tests.test_head_kinds import Ridge

FRAMES, SOUND = 60, "openl3_env_mel128_512"
SPLITS = {
    "a": "train",
    "b": "train",
    "c": "train",
    "g": "train",
    "h": "train",
    "d": "validation",
    "e": "validation",
    "test": None,
}
EXPERIMENTS = [
    {
        "name": "short",
        "task": "expr",
        "inputs": [SOUND],
        "head": "ridge",
        "changes": {"alpha": 2.0},
        "smooth_frames": 2,
    },
    {
        "name": "blended",
        "task": "expr",
        "blend": {
            "first": {"head": "ridge", "inputs": [SOUND]},
            "second": {"head": "ridge", "inputs": [SOUND], "changes": {"alpha": 100.0}},
            "weight": {"grid": [0.2, 0.8]},
        },
    },
]


@pytest.fixture(scope="module", autouse=True)
def ridge():
    HEADS.names()
    HEADS.register("ridge", Ridge(), "a test")
    yield
    HEADS._things.pop("ridge")
    HEADS._origins.pop("ridge")


def config(store, **fields):
    document = {
        "store": store,
        "weights": "untrained",
        "engine": "torch",
        "precision": "float32",
        "extractors": [],
        "experiments": EXPERIMENTS,
    }
    return checked({**document, **fields}, "a test")


def artifacts(video, split, extractor, seed):
    """A video with what a sound network would have given, and labels that follow from it."""
    random = np.random.default_rng(seed)
    sha = key_of(video)
    film = replace(source(video, FRAMES, sha256=sha), recipe=recipes.source(sha))
    x = random.normal(size=(FRAMES, extractor.width)).astype(np.float32)
    value = x[:, : len(EXPR)].argmax(axis=1).astype(np.int8)[:, None]
    x[:, : len(EXPR)] *= 4
    heard = Artifact(
        Address("audio", SOUND, video),
        recipes.feature(extractor, key_of(film.recipe)),
        {"embedding": x, "present": np.ones(FRAMES, bool)},
        {"frames": FRAMES, "vectors": FRAMES, "complaint": None},
        made={"provenance": "untrained"},
    )
    said = {"frames": FRAMES, "task": "expr", "labels": list(EXPR.names), "location": "", "complaint": None}
    label = Artifact(
        Address("label", "expr", video, "main"),
        {"of": video},
        {"value": value, "known": np.ones(value.shape, bool)},
        said | {"split": split},
    )
    return [film, heard, *([label] if split else [])]


def run(url, **fields):
    request = request_of(config(url, **fields))
    return _call(Server(""), RunnerSpec.of(workers=2), lambda: pipeline(request), request)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    url = str(folder / "store")
    store = FeatureStore.create(url)
    (extractor,) = request_of(config(url)).profile.extractors
    for number, (video, split) in enumerate(SPLITS.items()):
        store = commit(store, *artifacts(video, split, extractor, number))
    fields = {"protocol": "honest", "folds": 3, "publish": {"folder": str(folder / "published")}}
    return run(url, **fields), run(url, **fields)


@pytest.mark.slow
def test_each_has_a_number_an_interval_and_what_chance_gives_under_both_protocols(done):
    result, _ = done
    assert [o.reason for o in result.outcomes if o.status == "failed"] == []
    assert [one.experiment.name for one in result.experiments] == ["short", "blended"]
    for one in result.experiments:
        assert [found.protocol for found in one.results] == ["papers", "honest"]
        for found in one.results:
            assert found.interval[0] <= found.scores.value <= found.interval[1]
            assert found.by_chance < found.scores.value
    assert result.experiments[1].results[0].chosen["weight"] in (0.2, 0.8)


@pytest.mark.slow
def test_predictions_are_published_with_challenge_files_a_tag_and_a_report(done):
    result, _ = done
    assert {path.name for path in result.published} == {
        "short.txt", "blended.txt", "short.parquet", "blended.parquet",
    }  # fmt: skip
    store = FeatureStore(result.request.context.store_url, result.tag)
    path = next(path for path in result.published if path.name == "short.txt")
    listed, values = read_submission(path, "expr")
    assert set(listed.videos) == set(SPLITS)
    of_test = [i for i, image in enumerate(listed.images) if image.startswith("test/")]
    stored = store.read(Address("prediction", "short", "test", "main"))
    np.testing.assert_array_equal(values[of_test], stored["prediction"])
    page = result.report.read_text()
    assert "by chance" in page
    assert "the papers" not in page.split("<h2>Outcomes")[0].partition("difference")[0].split("<table")[0]


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_says_the_same(done):
    first, again = done
    assert {(o.stage, o.status) for o in again.outcomes if o.status != "cached"} == set()
    assert [one.results[0].scores for one in again.experiments] == [one.results[0].scores for one in first.experiments]
    assert (again.snapshot, again.tag) == (first.snapshot, first.tag)
