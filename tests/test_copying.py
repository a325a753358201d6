"""A store written anew at another place: the same artifacts and tags, proven, and nothing by half."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.store.contract.errors import SpecError, StoreError
from affstore.store.engine import copying
from affstore.store.engine.copying import copy_store, plan_copy
from affstore.store.engine.history import check_history
from affstore.tasks.lineage.erasure import plan_erasure
from affstore.tasks.lineage.verify import verify
from tests.factories import commit, source, visual


@pytest.fixture
def original(tmp_path) -> FeatureStore:
    """Two videos, tagged; then one is computed anew, one added, and another one removed."""
    store = FeatureStore.create(str(tmp_path / "original"))
    store = commit(store, source("anna", 1300), visual("anna", 1300, 16), source("bert"), visual("bert"))
    store.tag("first")
    store = commit(store, visual("anna", 1300, seed=3), source("carl", aliases=["karl"]))
    store.tag("second")
    draft = store.draft({}, "run")
    draft.remove(visual("bert").address)
    store.commit([draft], "removed")
    return store.newest()


def contents(url: str) -> dict[str, str]:
    """The content digest of every state, with every artifact read whole."""
    newest = FeatureStore(url)
    stores = {"": newest, **{tag: FeatureStore(url, tag) for tag in newest.tags()}}
    for store in stores.values():
        for address in store.addresses():
            store.read(address)
    assert {commit.state for commit in check_history(newest)} == {"whole"}
    assert {finding.fault for finding in verify(newest).findings} <= {"unexplained"}
    return {tag: content_digest(store) for tag, store in stores.items()}


@pytest.mark.parametrize("way", ["folder", "to S3 and back", "memory"])
def test_a_copy_has_the_same_states_under_the_same_tags(original, way, tmp_path, request):
    places = [str(tmp_path / "copy")]
    if way == "to S3 and back":
        places.insert(0, request.getfixturevalue("s3_url"))
    if way == "memory":
        places.insert(0, f"memory:{tmp_path.name}")
    url = original.url
    for place in places:
        copy_store(plan_copy(FeatureStore(url)), place)
        url = place
    assert contents(url) == contents(original.url)
    assert FeatureStore(url).records() == original.records()
    assert [len(FeatureStore(url, tag).addresses()) for tag in ("first", "second")] == [4, 5]


def test_what_is_left_out_is_in_no_state_of_the_copy(original, tmp_path):
    copied = copy_store(plan_copy(original, plan_erasure(original, ["anna"]).addresses), str(tmp_path / "copy"))
    assert copied.snapshot == FeatureStore(str(tmp_path / "copy")).snapshot
    for at in (None, "first", "second"):
        store = FeatureStore(str(tmp_path / "copy"), at)
        assert {address.video for address in store.addresses()} == {
            address.video for address in FeatureStore(original.url, at).addresses()
        } - {"anna"}


def test_a_place_that_is_not_empty_is_refused(original, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    there = FeatureStore.create(str(tmp_path / "there")).url
    for place in (there, str(tmp_path / "full"), str(tmp_path / "full" / "notes.txt")):
        with pytest.raises(SpecError, match=r"cannot be copied to .* Name another place"):
            copy_store(plan_copy(original), place)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_damaged_artifact_stops_the_copy_by_its_name_and_leaves_no_store(original, tmp_path):
    largest = max(Path(original.url, "chunks").iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[3000] ^= 1
    largest.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"'visual/toy/anna/main.*damaged"):
        copy_store(plan_copy(original), str(tmp_path / "copy"))
    with pytest.raises(StoreError, match="There is no store"):
        FeatureStore(str(tmp_path / "copy"))


def test_a_copy_that_is_killed_is_no_store_and_is_made_by_the_next_try(original, tmp_path):
    place = tmp_path / "copy"
    command = [sys.executable, "-m", "affstore.flows.cli", "copy", original.url, str(place)]
    slow = "import affstore.store.engine.copying as c, sys, time; w = c.write_state; "
    slow += "c.write_state = lambda *a: (w(*a), print('written', flush=True), time.sleep(60)); "
    slow += f"from affstore.flows.cli import call; call({command[3:]!r})"
    process = subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "written"
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for attempt in (lambda: FeatureStore(str(place)), lambda: FeatureStore.create(str(place))):
        with pytest.raises(StoreError, match=r"a copy that was not finished. Run `affstore copy` again"):
            attempt()
    assert call(["copy", original.url, str(place)]) == 0
    assert contents(str(place)) == contents(original.url)


def test_the_command_says_what_it_would_copy_and_writes_nothing(original, tmp_path, capsys):
    assert call(["copy", original.url, str(tmp_path / "copy"), "--without", "karl", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "5 artifacts" in said
    assert "2 tags would be copied" in said
    assert "1 artifacts of karl would be left out" in said
    assert not (tmp_path / "copy").exists()


def test_a_rolled_back_store_has_the_state_again_and_its_history_grows(original, capsys):
    wanted, before = FeatureStore(original.url, "first"), len(original.history())
    assert call(["rollback", "first", "--dry-run", "--store", original.url]) == 0
    said = capsys.readouterr().out
    assert all(
        f"1 {line}" in said for line in ("visual would be added", "visual would be replaced", "source would be r")
    )
    assert original.newest().snapshot == original.snapshot
    assert call(["rollback", "first", "--store", original.url]) == 0
    newest = original.newest()
    assert newest.records() == wanted.records()
    assert contents(original.url)["first"] == contents(original.url)[""]
    assert len(newest.history()) == before + 1
    assert call(["rollback", original.snapshot, "--store", original.url]) == 0
    assert original.newest().records() == original.records()
    capsys.readouterr()
    assert call(["rollback", original.snapshot, "--store", original.url]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert call(["rollback", "never", "--store", original.url]) == 4


def test_a_copy_that_waits_for_another_to_the_same_place_does_not_remove_it(tmp_path, monkeypatch):
    first, second = (commit(FeatureStore.create(str(tmp_path / name)), source(name)) for name in ("one", "two"))
    place, look = str(tmp_path / "copy"), copying.check_empty
    waits = iter([True])

    def meanwhile(url, original):
        look(url, original)
        if next(waits, False):  # the other one is finished between the look and the lock
            copy_store(plan_copy(first), url)

    monkeypatch.setattr(copying, "check_empty", meanwhile)
    with pytest.raises(SpecError, match="there is one already"):
        copy_store(plan_copy(second), place)
    assert [one.video for one in FeatureStore(place).addresses()] == ["one"]
