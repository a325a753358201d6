"""Two states of a store compared: artifacts, reasons, scores, and numbers down to frames."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.records import Address
from affstore.tasks.lineage.differences import ArrayChange, difference
from affstore.testing import artifacts
from tests.factories import commit, source
from tests.lineage_store import FRAMES, head, prediction, visual, whole_chain


@pytest.fixture
def before(tmp_path):
    return whole_chain(str(tmp_path / "store"), tmp_path)


def test_what_was_added_removed_changed_and_rewritten_is_counted(before):
    after = commit(before, source("c"), visual(before, "a"), visual(before, "b", seed=7))
    draft = after.draft({}, "r")
    draft.remove(Address("prediction", "expr-mlp", "a", "main"))
    after.commit([draft], "test")
    found = difference(before, after.newest())
    assert found.counts() == {
        "prediction": {"added": 0, "removed": 1, "changed": 0, "rewritten": 0},
        "source": {"added": 1, "removed": 0, "changed": 0, "rewritten": 0},
        "visual": {"added": 0, "removed": 0, "changed": 1, "rewritten": 1},
    }
    (change,) = found.changed
    assert (change.new.address.video, change.reasons[0]) == ("b", "seed: 0 → 7")
    assert change.has_other_numbers


def test_a_reason_names_what_it_was_computed_from_and_scores_are_told(before):
    after = commit(before, visual(before, "a", seed=3), visual(before, "b", seed=3))
    after = commit(after, head(after, score=0.625))
    (change,) = difference(before, after, "head").changed
    assert "computed from 2 others of visual/toy" in change.reasons
    assert not any(reason.startswith("train:") for reason in change.reasons)
    assert change.scores == {"value": (0.5, 0.625)}


def test_other_numbers_under_the_same_key_are_called_so(before):
    same_key = prediction(before, "a", shift=1)
    after = commit(before, same_key)
    (change,) = difference(before, after).changed
    assert change.old.key == change.new.key
    assert "the same key gave other numbers" in change.reasons


def test_numbers_are_compared_down_to_frames(before):
    artifact = visual(before, "a")
    embedding = artifact.arrays["embedding"].copy()
    embedding[3:6, 0] += 0.5
    embedding[20, 7] -= 2
    present = np.ones(FRAMES, bool)
    present[-1] = False
    after = commit(before, replace(artifact, arrays={"embedding": embedding, "present": present}))
    (change,) = difference(before, after, numbers=True).changed
    first, second = change.arrays
    assert (first.array, first.rows, first.of, first.ranges) == ("embedding", 4, FRAMES, ((3, 5), (20, 20)))
    assert first.largest == pytest.approx(2)
    assert second == ArrayChange("present", "", 1, FRAMES, ((FRAMES - 1, FRAMES - 1),), 1.0)


def test_another_shape_is_said_and_nothing_is_counted(before):
    artifact = visual(before, "a")
    arrays = {**artifact.arrays, "embedding": np.zeros((FRAMES, 4), np.float32)}
    after = commit(before, replace(artifact, arrays=arrays))
    (change,) = difference(before, after, numbers=True).changed
    assert change.arrays == (ArrayChange("embedding", "float32 (40, 8) → float32 (40, 4)"),)


def test_a_state_compared_with_itself_and_the_way_back(before):
    assert difference(before, before).counts() == {}
    after = commit(before, source("c"))
    assert [address.video for address in difference(after, before).removed] == ["c"]


def test_the_command_tells_alike_changes_once_and_takes_tags_snapshots_and_times(before, capsys):
    before.tag("v1")
    after = commit(before, visual(before, "a", seed=3), visual(before, "b", seed=3))
    assert call(["diff", "v1", "--store", before.url]) == 0
    said = capsys.readouterr().out
    assert "visual/toy/a/main, visual/toy/b/main\n" in said
    assert said.count("seed: 0 → 3") == 1
    assert call(["diff", before.snapshot, after.snapshot, "visual/toy/a", "--frames", "--store", before.url]) == 0
    assert "embedding differs in 40 of 40 frames (0–39)" in capsys.readouterr().out
    time = next(info.written_at for info in after.history()).isoformat()
    assert call(["diff", "v1", time, "b", "--json", "--store", before.url]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["artifact"] for one in document["changed"]] == ["visual/toy/b/main"]
    assert call(["diff", "--store", before.url]) == 0
    assert "visual" in capsys.readouterr().out
    assert call(["diff", "v1", "v1", "--store", before.url]) == 0
    assert "nothing differs" in capsys.readouterr().out
    assert call(["diff", "v1", after.snapshot, "copy", "--json", "--store", before.url]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["artifact"] for one in document["changed"]] == ["visual/toy/a/main"], "'copy' is an alias of 'a'"
    assert call(["diff", "v1", "v2", "--store", before.url]) == 4
    assert "no tag, generation, snapshot or time 'v2'" in capsys.readouterr().err
    empty = FeatureStore.create(f"{before.url}2")
    assert call(["diff", "--store", empty.url]) == 4
    assert "has no state before" in capsys.readouterr().err
    assert FeatureStore(before.url).tags() == {"v1": before.snapshot}


@pytest.mark.parametrize("written", ["visual/timm/toy", "visual/timm%2Ftoy"])
def test_a_slash_in_a_network_s_name_may_stand_as_it_is(tmp_path, capsys, written):
    before = commit(
        FeatureStore.create(str(tmp_path / "store")), source("a"), artifacts.visual("a", extractor="timm/toy")
    )
    commit(before, artifacts.visual("a", seed=1, extractor="timm/toy"))
    assert call(["diff", before.snapshot, before.newest().snapshot, written, "--json", "--store", before.url]) == 0
    assert len(json.loads(capsys.readouterr().out)["changed"]) == 1
    for words in (["impact", written], ["impact", f"{written}/a/main"], ["show", f"{written}/a/main"]):
        assert call([*words, "--store", before.url]) == 0, words
    assert call(["show", f"{written}/a/main/embedding", "--store", before.url]) == 4
    assert "is no address of an artifact" in capsys.readouterr().err
