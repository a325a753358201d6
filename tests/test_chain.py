"""The hash chain over commits: a history that was altered, cut or made elsewhere is found, and nothing else is."""

from __future__ import annotations

import subprocess
import sys

import icechunk
import numpy as np
import pytest
import zarr

from affstore import FeatureStore
from affstore.store.contract.records import Address
from affstore.store.engine.erasing import fold
from affstore.store.engine.history import check_history
from affstore.store.engine.upgrade import upgrade
from affstore.tasks.lineage.verify import verify
from tests.factories import CODE, commit, source, visual
from tests.lineage_store import visual as embedding
from tests.lineage_store import whole_chain
from tests.test_damage import old_url  # noqa: F401


def states(url):
    """Of every commit, the newest first."""
    return [commit.state for commit in check_history(FeatureStore(url))]


@pytest.fixture
def store(tmp_path):
    return whole_chain(str(tmp_path / "store"), tmp_path)


def repository(url):
    return icechunk.Repository.open(icechunk.local_filesystem_storage(url))


def test_every_way_to_commit_keeps_the_chain(store):
    draft = store.draft(CODE, "run")
    draft.remove(Address("head", "expr-mlp"))
    draft.put(source("c"))
    draft.remove(Address("source", video="c"))
    store.commit([draft], "removed, and put and taken back", {"run_id": "run"})
    store = commit(store.newest(), embedding(store, "a", seed=7), source("ä"))
    store.tag("named")
    assert states(store.url) == ["whole"] * len(store.history())
    assert verify(store).unproven == {}


def test_a_draft_of_what_was_put_and_taken_back_commits_nothing_of_it(store):
    draft = store.draft(CODE, "run")
    draft.put(source("c"))
    draft.remove(Address("source", video="c"))
    store.commit([draft], "nothing")
    assert store.newest().addresses() == store.addresses()
    before = store.newest().snapshot
    store.commit([store.newest().draft(CODE, "run")], "empty")
    assert store.newest().snapshot == before


def test_a_commit_of_another_program_is_named(store):
    session = repository(store.url).writable_session("main")
    zarr.open_group(session.store, mode="a")["source/a"].attrs["bytes"] = 2
    foreign = session.commit("by another program")
    commit(store, source("c"))
    assert states(store.url)[:3] == ["whole", "altered", "whole"]
    assert ("altered", f"snapshot {foreign}") in {(one.fault, one.what) for one in verify(store).findings}


@pytest.mark.parametrize("what", ["message", "record", "left out"])
def test_a_history_that_was_rewritten_is_found(store, what):
    """Somebody who knows the engine writes the last commits anew, with the metadata that they had."""
    last, before = store.history()[:2]
    repo = repository(store.url)
    start = before.parent_id if what == "left out" else before.id
    repo.reset_branch("main", start)
    session = repo.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    root.create_group("prediction/expr-mlp")
    then = zarr.open_group(repo.readonly_session(snapshot_id=last.id).store, mode="r")
    for video in "ab":
        path = f"prediction/expr-mlp/{video}/main"
        attributes = dict(then[path].attrs)
        if what == "record":
            attributes["affstore"]["code"] = {"affstore": "another"}
        root.create_group(path, attributes=attributes)
    session.commit("rewritten" if what == "message" else last.message, metadata=dict(last.metadata))
    assert "altered" in states(store.url)


def test_the_same_commit_written_again_by_hand_would_pass_so_the_test_above_can_fail(store):
    last = store.history()[0]
    repo = repository(store.url)
    repo.reset_branch("main", last.parent_id)
    session = repo.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    then = zarr.open_group(repo.readonly_session(snapshot_id=last.id).store, mode="r")
    for video in "ab":
        path = f"prediction/expr-mlp/{video}/main"
        root.create_group(path, attributes=dict(then[path].attrs))
    metadata = {name: value for name, value in last.metadata.items() if name != "__icechunk"}
    session.commit(last.message, metadata=metadata)
    assert states(store.url)[0] == "whole"


def test_a_history_cut_at_its_beginning_is_found_unless_it_was_announced(store):
    kept = store.history()[2]
    gone = [info.id for info in store.history()[3:-1]]
    repository(store.url).expire_snapshots(kept.written_at)
    assert states(store.url) == ["whole", "whole", "shortened", "whole"]
    found = [(one.fault, one.what) for one in verify(store.newest()).findings]
    assert found == [("missing", f"snapshot {snapshot}") for snapshot in (kept.id, *sorted(gone))]


def test_a_history_that_was_folded_on_purpose_is_said_to_be_so(store):
    store.tag("early")
    for number in range(3):
        store = commit(store, source(f"more{number}"))
    kept = store.history()[1]
    fold(store, kept.written_at)
    assert states(store.url) == ["whole", "whole", "folded", "whole", "folded"]
    found = verify(store.newest())
    assert found.findings == ()
    assert found.unproven["commits that came first when older history was let go on purpose"] == 2


def test_a_history_from_before_the_chain_is_said_to_be_so(old_url):  # noqa: F811
    old = len(FeatureStore(old_url).history()) - 1
    upgrade(old_url)
    commit(FeatureStore(old_url), source("new"))
    assert states(old_url) == ["whole", "whole", *["unchained"] * old, "whole"]
    assert verify(FeatureStore(old_url)).unproven["commits made before commits were chained"] == old


COMMITTER = """
import sys
from affstore import FeatureStore
from tests.factories import commit, visual
for number in range(int(sys.argv[3])):
    commit(FeatureStore(sys.argv[1]), visual("a", 40, 8, extractor=f"{sys.argv[2]}{number}"))
"""


def commit_side_by_side(url, count):
    commit(FeatureStore.create(url), source("a"))
    both = [subprocess.Popen([sys.executable, "-c", COMMITTER, url, name, str(count)]) for name in ("one", "two")]
    assert [process.wait(300) for process in both] == [0, 0]


@pytest.mark.parametrize("count", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_two_processes_that_commit_to_one_store_keep_one_chain(tmp_path, count):
    url = str(tmp_path / "store")
    commit_side_by_side(url, count)
    assert states(url) == ["whole"] * (2 * count + 3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 40])
def test_two_coordinators_on_an_object_store_keep_one_chain(s3_url, count):
    commit_side_by_side(s3_url, count)
    assert states(s3_url) == ["whole"] * (2 * count + 3)
    np.testing.assert_array_equal(FeatureStore(s3_url).read(visual("a", extractor="one0").address)["present"], True)


def test_a_commit_that_others_overtake_on_an_object_store_is_chained_to_theirs(s3_url, monkeypatch):
    store = commit(FeatureStore.create(s3_url), source("a"))
    real, overtaken = icechunk.Session.commit, []

    def overtaken_once(session, *arguments, **options):
        if not overtaken:
            overtaken.append(True)
            commit(FeatureStore(s3_url), source("theirs"))
        return real(session, *arguments, **options)

    draft = store.draft(CODE, "run")
    draft.put(source("ours"))
    monkeypatch.setattr(icechunk.Session, "commit", overtaken_once)
    store.commit([draft], "ours")
    store = store.newest()
    assert [address.video for address in store.addresses()] == ["a", "ours", "theirs"]
    assert states(s3_url) == ["whole"] * len(store.history())
    assert [info.message for info in store.history()[:2]] == ["ours", "test"]
