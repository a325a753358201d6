"""Several write to one store, most of all in a bucket, where no lock keeps them apart: what each read still holds."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from datetime import timedelta

import icechunk
import pytest

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import ConflictError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address
from affstore.store.engine import committing, erasing
from affstore.store.engine.copying import roll_back
from affstore.store.engine.erasing import collect_garbage, plan_garbage
from affstore.store.engine.generations import begin, drop, generations, promote
from affstore.store.engine.history import check_history
from affstore.store.engine.kept_lists import drop_lists
from affstore.store.engine.states import dropped_snapshots
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks.lineage import forgetting
from affstore.tasks.lineage.erasure import plan_erasure
from affstore.tasks.lineage.forgetting import forget
from tests.factories import CODE, commit, source, visual


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Tombstones in a bucket are looked at again at once, and not after two seconds."""
    monkeypatch.setattr("affstore.store.engine.tombstones._SETTLED_S", 0.3)


@pytest.fixture
def store(s3_url):
    return commit(FeatureStore.create(s3_url), source("a"), source("b"))


@pytest.fixture
def before_the_commit(monkeypatch):
    """Let others do something in the moment before the next commit is made; so many times."""

    def others_do(what, times=1):
        real, done = committing.commit_linked, []

        def linked(*arguments):
            if len(done) < times:
                done.append(None)
                what()
            return real(*arguments)

        monkeypatch.setattr(committing, "commit_linked", linked)
        monkeypatch.setattr(committing, "_LONGEST_WAIT_S", 0)
        return done

    return others_do


def videos(store):
    return [address.video for address in store.newest().addresses("source")]


def draft_of(store, *artifacts):
    draft = store.draft(CODE, "ours")
    for artifact in artifacts:
        draft.put(artifact)
    return draft


def of_other_bytes(video):
    return replace(source(video), recipe={"bytes": "others"})


def test_what_others_commit_meanwhile_stays_and_so_does_the_own(store, before_the_commit):
    draft = draft_of(store, visual("a"))
    before_the_commit(lambda: commit(store, visual("b"), source("c")))
    store.commit([draft], "ours")
    assert [one.path for one in store.newest().addresses("visual")] == ["visual/toy/a/main", "visual/toy/b/main"]
    assert videos(store) == ["a", "b", "c"]
    assert {one.state for one in check_history(store.newest())} == {"whole"}


def test_nothing_is_committed_of_what_was_made_from_a_video_that_others_replaced_meanwhile(store, before_the_commit):
    parent = store.get(Address("source", video="a")).as_parent()
    draft = draft_of(store, replace(visual("a"), parents=(parent,)))
    before_the_commit(lambda: commit(store, of_other_bytes("a")))
    with pytest.raises(ConflictError, match="Another run changed 'source/a' while this one worked with it"):
        store.commit([draft], "ours")
    assert store.newest().addresses("visual") == []


def let_go_of_the_history(store):
    assert collect_garbage(store.newest(), timedelta(days=1), timedelta(0)).snapshots


@pytest.mark.parametrize("kind", ["new", "replaced", "removed"])
def test_a_draft_is_committed_also_when_the_snapshot_that_it_began_with_was_let_go(store, kind):
    draft = draft_of(store, *{"new": [source("c"), visual("a")], "replaced": [of_other_bytes("a")]}.get(kind, []))
    if kind == "removed":
        draft.remove(Address("source", video="a"))
    commit(store, source("d"))
    let_go_of_the_history(store)
    FeatureStore(store.url).commit([pickle.loads(pickle.dumps(draft))], "ours")
    FeatureStore(store.url).commit([draft], "ours, as when the first try was interrupted")
    wanted = {"new": ["a", "b", "c", "d"], "removed": ["b", "d"]}.get(kind, ["a", "b", "d"])
    assert videos(store) == wanted
    assert bool(store.newest().addresses("visual")) == (kind == "new")
    assert kind != "replaced" or store.newest().get(source("a").address).recipe == {"bytes": "others"}
    assert {one.state for one in check_history(store.newest())} <= {"whole", "folded"}


def test_what_others_changed_before_they_let_go_of_the_history_is_not_overwritten(store):
    parent = store.get(Address("source", video="a")).as_parent()
    of_a, at_b = draft_of(store, replace(visual("a"), parents=(parent,))), draft_of(store, source("b", 30))
    note = draft_of(store, source("b", aliases=["mine"]))
    commit(store, of_other_bytes("a"), source("b", aliases=["theirs"]))
    let_go_of_the_history(store)
    with pytest.raises(ConflictError, match="Another run changed 'source/a'"):
        store.commit([of_a], "ours")
    with pytest.raises(ConflictError, match="Another run changed what is noted of 'source/b'"):
        store.commit([note], "ours")
    store.commit([at_b], "ours")
    assert store.newest().get(source("b").address).attributes["aliases"] == ["theirs"]


def test_the_history_is_let_go_in_the_moment_before_a_commit(store, before_the_commit):
    draft = draft_of(store, source("c"))

    def others_do():
        commit(store, source("d"))
        let_go_of_the_history(store)

    before_the_commit(others_do)
    store.commit([draft], "ours")
    assert videos(store) == ["a", "b", "c", "d"]


def test_a_rollback_takes_back_what_others_committed_meanwhile_too(store, before_the_commit):
    wanted = store.newest()
    later = commit(store, source("c"))
    before_the_commit(lambda: commit(store, source("d"), of_other_bytes("a")))
    roll_back(later, wanted)
    assert content_digest(store.newest()) == content_digest(wanted)
    assert {one.state for one in check_history(store.newest())} == {"whole"}


def test_what_others_compute_meanwhile_from_a_video_is_forgotten_with_it(store, before_the_commit, tmp_path):
    erasure = plan_erasure(store, ["a"])
    before_the_commit(lambda: commit(store, visual("a"), source("c")))
    done = forget(store, erasure, tmp_path / "runs")
    assert done.objects == ()
    assert (erasure.families, done.erasure.families) == ({"source": 1}, {"source": 1, "visual": 1})
    assert [one.path for one in store.newest().addresses()] == ["source/b", "source/c"]


def test_a_promotion_looks_again_at_what_a_run_commits_to_the_generation_meanwhile(store, before_the_commit):
    commit(begin(store, "next"), source("c"))
    commit(store, source("b", 30))  # which the promotion takes over by a commit of its own
    before_the_commit(lambda: commit(store.state("next"), source("e"), visual("a"), visual("b", 40)))
    promote(store, "next")
    assert videos(store) == ["a", "b", "c", "e"]
    assert [one.video for one in store.newest().addresses("visual")] == ["a"], "the other has rows of other frames"


def test_whoever_is_never_first_is_told_so(store, before_the_commit, monkeypatch):
    monkeypatch.setattr(committing, "_MOST_RACES", 3)
    session = icechunk.Repository.writable_session

    def others_commit():
        session(store.repository.reopen(), "main").commit("others", allow_empty=True)

    done = before_the_commit(others_commit, times=9)
    draft = draft_of(store, source("c"))
    with pytest.raises(ConflictError, match=r"Nothing was committed .* were first 3 times\. Run the command again"):
        store.commit([draft], "ours")
    assert len(done) == 3
    assert videos(store) == ["a", "b"]


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_of_two_that_change_what_was_forgotten_at_once_neither_change_is_lost(place, tmp_path, request, monkeypatch):
    url = str(tmp_path / "store") if place == "folder" else request.getfixturevalue("s3_url")
    store, wrote, real = FeatureStore.create(url), threading.Event(), icechunk.Repository.update_metadata
    Tombstones.change(store, lambda known: known.with_forgotten(["a"], {}))

    def and_tells(*words):
        real(*words)
        wrote.set()

    def forget_b():
        Tombstones.change(FeatureStore(url), lambda known: known.with_forgotten(["b"], {"first": 1}))

    monkeypatch.setattr(icechunk.Repository, "update_metadata", and_tells)
    other = threading.Thread(target=forget_b)

    looks = []

    def allow_a(known):
        looks.append(known)
        if len(looks) == 2:  # once it has read what it writes, and before it does
            other.start()
            wrote.wait(0.5 if place == "folder" else 20)
        return known.without("a")

    Tombstones.change(store, allow_a)
    other.join()
    now = Tombstones.of(FeatureStore(url))
    assert (bool(now.date_of("a")), bool(now.date_of("b"))) == (False, True)
    assert now.began_with(["a", "b"]) == ["b"]
    assert [one.tag for one in now.retracted] == ["first"]


def test_a_deletion_that_ends_leaves_one_that_was_begun_meanwhile(store, tmp_path, monkeypatch):
    def and_others_begin(*words):
        Tombstones.change(store, lambda known: known.with_forgotten(["others"], {}))
        return drop_lists(*words)

    monkeypatch.setattr(forgetting, "drop_lists", and_others_begin)
    forget(store, plan_erasure(store, ["a"]), tmp_path / "runs")
    assert Tombstones.of(store).began_with([key_of("a"), "others"]) == ["others"]


@pytest.mark.parametrize("verb", ["promote", "drop"])
def test_what_a_run_commits_to_a_generation_in_the_moment_of_its_deletion_is_not_lost(store, verb, monkeypatch):
    run = commit(begin(store, "next"), source("c"))
    draft, real = draft_of(run, source("late")), icechunk.Repository.delete_branch

    def delete(*words):
        run.commit([draft], "late")
        real(*words)

    with monkeypatch.context() as patch:
        patch.setattr(icechunk.Repository, "delete_branch", delete)
        if verb == "promote":
            promote(store, "next")
        else:
            with pytest.raises(ConflictError, match=r"'next' .* was not dropped: a run committed to it meanwhile"):
                drop(store, "next")
            assert not dropped_snapshots(store.repository.reopen())
    assert videos(store) == (["a", "b", "c"] if verb == "promote" else ["a", "b"])
    assert videos(run) == ["a", "b", "c", "late"]
    promote(store, "next")
    assert videos(store) == ["a", "b", "c", "late"]
    assert generations(store) == []
    assert {one.state for one in check_history(store.newest())} == {"whole"}


def test_a_deletion_that_was_begun_while_another_was_being_confirmed_is_carried_out_with_it(store, tmp_path):
    planned = plan_erasure(store, ["a"])
    Tombstones.change(store, lambda known: known.with_forgotten([key_of("b")], {}))  # whoever began it was killed
    done = forget(store, planned, tmp_path / "runs")
    assert done.erasure.digests == {key_of("a"), key_of("b")}
    assert videos(store) == []
    assert not Tombstones.of(store).unfinished


def test_a_dry_run_of_gc_goes_on_while_others_commit(tmp_path, monkeypatch):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"))
    for seed in range(3):
        store = commit(store, visual("a", seed=seed))
    alone, real, done = plan_garbage(store, timedelta(0), timedelta(0)), erasing.objects_of, []

    def others_write():
        if len(done) < 20:
            done.append(commit(store, source(f"b{len(done)}")))

    def beside_others(url):
        objects = real(url)

        def listed():
            found = objects.sizes() | {"snapshots/.gone.partial": 9}
            others_write()
            return found

        def read(key):
            others_write()
            return objects.read(key)

        return replace(objects, sizes=listed, read=read)

    monkeypatch.setattr(erasing, "objects_of", beside_others)
    found = plan_garbage(store, timedelta(0), timedelta(0))
    assert done
    assert found.snapshots >= alone.snapshots


def test_a_tag_that_is_set_while_garbage_is_collected_waits_and_stays(tmp_path, monkeypatch):
    store, real = commit(FeatureStore.create(str(tmp_path / "store")), source("a")), icechunk.Repository.garbage_collect
    tagging = threading.Thread(target=FeatureStore(store.url).tag, args=("meanwhile",))

    def collect(*words):
        tagging.start()
        tagging.join(0.5)
        assert tagging.is_alive(), "the engine would write the list of tags that it had read before"
        return real(*words)

    monkeypatch.setattr(icechunk.Repository, "garbage_collect", collect)
    collect_garbage(store, timedelta(0))
    tagging.join()
    assert store.newest().tags() == {"meanwhile": store.snapshot}


def test_a_draft_that_was_released_is_committed_once(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"))
    adding, removing = draft_of(store, source("b")), store.draft(CODE, "ours")
    removing.remove(source("a").address)
    snapshot = store.commit([adding, removing], "ours")
    for draft in (adding, removing):
        draft.release()
    assert store.commit([adding, removing], "ours, as when a commit that was interrupted is made once more") == snapshot
    assert videos(store) == ["b"]
