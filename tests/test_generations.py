"""Generations: readers see nothing of them until they are promoted, then all at once, and a rollback undoes it."""

from __future__ import annotations

import json
import multiprocessing
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import ConflictError, NotFoundError, SpecError, StoreError
from affstore.store.contract.records import Address, record_of
from affstore.store.engine.generations import begin, drop, generations, plan_promotion, promote
from affstore.store.engine.history import check_history
from affstore.store.engine.merging import merged
from affstore.store.engine.places import translate_errors
from affstore.tasks.lineage.repair import repair
from affstore.tasks.lineage.verify import verify, verify_place
from tests.factories import commit, source, visual
from tests.parameters import usually
from tests.test_damage import OLD_STORE

PLACES = ["folder", "s3", "memory"]


@pytest.fixture(params=usually(PLACES, lambda place: place != "s3"))
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


def see_whole(store: FeatureStore, *more: str) -> None:
    """See that every commit, artifact and object is as it was written, and what `more` objects may be."""
    assert {one.state for one in check_history(store)} == {"whole"}
    found = verify(store.newest())
    assert {finding.fault for finding in found.findings} <= {"unexplained"}
    assert {one.state for one in found.objects} <= {"noted", "self-checked", *more}


@pytest.mark.parametrize("store", PLACES, indirect=True)
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


def test_no_rollback_shows_readers_an_open_generation(store, capsys):
    begun = begin(store, "next")
    seen = content_digest(commit(store, source("carl")))
    for state in ("next", commit(begun, visual("anna", seed=5)).snapshot):
        for more in ([], ["--dry-run"]):
            assert call(["rollback", state, "--store", store.url, *more]) == 2
            said = capsys.readouterr().err
            assert "an open generation" in said
            assert "`affstore generation drop next`" in said
    assert content_digest(store.newest()) == seen


def test_what_readers_saw_at_a_time_is_told_without_the_generation_s_own_commits(store):
    early = commit(begin(store, "next"), visual("anna", seed=5))
    late = commit(store, visual("bert", seed=1))
    commit(begin(store, "next"), visual("bert", seed=5))
    promote(store, "next")
    times = {one.snapshot: store.newest().repository.lookup_snapshot(one.snapshot).written_at for one in (early, late)}
    assert seeds(FeatureStore(store.url, times[early.snapshot].isoformat())) == {"anna": 0, "bert": 0}
    assert seeds(FeatureStore(store.url, times[late.snapshot].isoformat())) == {"anna": 0, "bert": 1}
    assert seeds(FeatureStore(store.url, early.snapshot)) == {"anna": 5, "bert": 0}
    assert seeds(FeatureStore(store.url, late.snapshot)) == {"anna": 0, "bert": 1}


def test_two_generations_are_promoted_one_after_the_other(store):
    commit(begin(store, "one"), visual("anna", seed=1), source("carl"))
    commit(store, source("dora"), visual("dora", seed=3))
    commit(begin(store, "two"), visual("bert", seed=2))
    promote(store, "one")
    commit(store, visual("dora", seed=4))
    assert promote(store, "two").taken_over == 3  # anna's, carl, and dora's as it is now
    assert seeds(store.newest()) == {"anna": 1, "bert": 2, "dora": 4}
    see_whole(store)


def test_a_video_that_is_not_there_any_more_is_not_brought_back(local):
    commit(begin(local, "next"), visual("anna", seed=5), visual("bert", seed=5))
    draft = local.draft({}, "run")
    for address in local.addresses(video="bert"):
        draft.remove(address)
    local.commit([draft], "removed")
    promote(local, "next")
    assert seeds(local.newest()) == {"anna": 5}
    assert {one.video for one in local.newest().addresses()} == {"anna"}
    see_whole(local)


def test_what_was_made_of_the_older_version_of_a_video_is_not_taken_over(local):
    generation = begin(local, "next")
    draft = generation.draft({}, "run")
    for address in generation.addresses(video="bert"):
        draft.remove(address)
    draft.put(source("bert", 30))
    generation.commit([draft], "replaced")
    commit(local, visual("bert", extractor="other"))
    promote(local, "next")
    assert {one.path for one in local.newest().addresses(video="bert")} == {"source/bert"}
    see_whole(local)


def test_what_is_damaged_and_has_to_be_taken_over_is_named_and_readers_see_what_they_saw(local, capsys):
    commit(begin(local, "next"), visual("anna", seed=5))
    before = {path.name for path in Path(local.url, "chunks").iterdir()}
    local = commit(local, source("carl", 1300), visual("carl", 1300, 16))
    new = [path for path in Path(local.url, "chunks").iterdir() if path.name not in before]
    largest = max(new, key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[3000] ^= 1
    largest.write_bytes(damaged)
    assert call(["generation", "promote", "next", "--store", local.url]) == 4
    assert "'visual/toy/carl/main/embedding' is damaged" in capsys.readouterr().err
    assert local.newest().snapshot == local.snapshot
    assert [one.name for one in generations(local)] == ["next"]


ADDRESSES = [Address("result", f"{name}@papers") for name in "abcd"]
STATES = st.dictionaries(st.sampled_from(ADDRESSES), st.integers(0, 2))


@given(STATES, STATES, STATES)
def test_what_one_of_two_states_changed_is_as_that_one_has_it(base, main, generation):
    """Of three versions of an artifact or none, without videos and parents."""
    record = record_of(source("anna"), "digest", {}, "run", "2026-11-28T00:00:00+00:00")

    def state(versions):
        return {one: replace(record, address=one, key=str(version)) for one, version in versions.items()}

    found = {one: int(kept.key) for one, kept in merged(*map(state, (base, main, generation))).items()}
    for one in ADDRESSES:
        was, seen, own = base.get(one), main.get(one), generation.get(one)
        assert found.get(one) == (seen if own == was else own)
    assert list(found) == sorted(found)


def test_a_generation_goes_on_where_a_run_was_cut_off(local):
    """Drafts that were never committed are lost; what was committed is where the next run begins."""
    generation = commit(begin(local, "next"), visual("anna", seed=5))
    generation.draft({}, "killed").put(visual("bert", seed=5))
    again = begin(FeatureStore(local.url), "next")
    assert again.snapshot == generation.snapshot
    assert seeds(commit(again, visual("bert", seed=6))) == {"anna": 5, "bert": 6}
    assert [one.videos for one in generations(local)] == [2]


@pytest.mark.parametrize("cut", ["create_tag", "reset_branch", "delete_branch"])
def test_a_promotion_that_was_cut_off_is_finished_by_the_next(local, cut, monkeypatch):
    """Before each of its steps, and with another commit before it is tried again."""
    import icechunk

    commit(begin(local, "next"), visual("anna", seed=5))
    before = content_digest(commit(local, source("carl")))
    with monkeypatch.context() as patch:

        def end(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(icechunk.Repository, cut, end)
        with pytest.raises(KeyboardInterrupt):
            promote(local, "next")
    seen = content_digest(local.newest())
    assert (seen == before) == (cut != "delete_branch")
    commit(local, source("dora"))
    done = promote(local, "next")
    assert generations(local) == []
    assert {one.video for one in local.newest().addresses("source")} == {"anna", "bert", "carl", "dora"}
    assert seeds(local.newest()) == {"anna": 5, "bert": 0}
    undone = {one.video for one in FeatureStore(local.url, done.tag).addresses("source")}
    assert undone == {"anna", "bert", "carl"} | ({"dora"} if cut != "delete_branch" else set())
    assert not {fault.fault for fault in verify(local.newest()).findings} - {"unexplained"}


def promoted(url: str, barrier, queue) -> None:
    store = FeatureStore(url)
    barrier.wait()
    try:
        queue.put(promote(store, "next").snapshot)
    except StoreError as error:
        queue.put(str(error))


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_of_two_promotions_at_once_one_moves_and_no_other_is_made(place, tmp_path, request):
    url = str(tmp_path / "store") if place == "folder" else request.getfixturevalue("s3_url")
    store = commit(FeatureStore.create(url), source("anna"), visual("anna"))
    generation = commit(begin(store, "next"), visual("anna", seed=5))
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    both = [context.Process(target=promoted, args=(url, barrier, queue)) for _ in range(2)]
    for one in both:
        one.start()
    said = [queue.get(timeout=120) for _ in both]
    for one in both:
        one.join()
    [other] = {*said} - {store.newest().snapshot} or {""}
    assert not other or "has no " in other or "Another run is writing" in other
    assert list(store.tags()) == ["before-next"]
    assert store.newest().records() == generation.records()
    assert generations(store) == []
    see_whole(store, "not vouched for", "garbage")  # two at once in a bucket, which has no lock


def test_others_commit_meanwhile_to_a_bucket_and_nothing_of_theirs_is_lost(s3_url, monkeypatch):
    import icechunk

    store = commit(FeatureStore.create(s3_url), source("anna"), visual("anna"), source("bert"), visual("bert"))
    commit(begin(store, "next"), visual("anna", seed=5))
    commit(store, visual("bert", seed=1))
    move, moved = icechunk.Repository.reset_branch, []

    def overtaken(*words, **names):
        if not moved:
            moved.append(commit(store, visual("bert", seed=2), source("carl")))
        return move(*words, **names)

    monkeypatch.setattr(icechunk.Repository, "reset_branch", overtaken)
    promote(store, "next")
    assert seeds(store.newest()) == {"anna": 5, "bert": 2}
    assert store.newest().find(source("carl").address) is not None
    tag = max(store.newest().tags())
    assert FeatureStore(store.url, tag).snapshot == moved[0].snapshot
    see_whole(store)


def test_drafts_of_a_run_that_a_promotion_overtook_in_a_bucket_are_not_lost(s3_url):
    store = commit(FeatureStore.create(s3_url), source("anna"), visual("anna"))
    commit(begin(store, "next"), visual("anna", seed=5))
    store = commit(store, source("bert"))
    new, contested = (store.draft({}, "run") for _ in range(2))
    new.put(visual("bert", seed=1))
    contested.put(visual("anna", seed=1))
    promote(store, "next")
    store.commit([new], "late")
    with pytest.raises(ConflictError, match="Run the command again"):
        store.commit([contested], "late")
    assert seeds(store.newest()) == {"anna": 5, "bert": 1}
    see_whole(store, "garbage")  # of the draft that was refused


def test_a_dropped_generation_is_gone_and_nothing_is_said_to_be_lost(store):
    commit(begin(store, "next"), visual("anna", seed=5), source("carl"))
    before = content_digest(store)
    assert drop(store, "next").videos == 2
    with pytest.raises(NotFoundError, match="no tag, generation"):
        FeatureStore(store.url, "next")
    assert call(["gc", "--keep-younger-than", "0s", "--store", store.url]) == 0
    assert content_digest(store.newest()) == before
    see_whole(store)


@pytest.mark.parametrize("meanwhile", [False, True])
def test_older_history_is_let_go_but_for_what_a_generation_began_with(local, meanwhile, capsys):
    for seed in range(1, 4):
        local = commit(local, visual("anna", seed=seed))
    base = local.snapshot
    commit(begin(local, "next"), visual("bert", seed=5))
    if meanwhile:
        local = commit(local, visual("anna", seed=8))
    local = commit(local, source("carl"))
    assert call(["gc", "--expire-older-than", "0s", "--store", local.url]) == 0
    assert "4 snapshots" in capsys.readouterr().out
    assert FeatureStore(local.url, base).records("visual")
    assert {one.state for one in check_history(local.newest())} == {"whole", "folded"}
    assert seeds(FeatureStore(local.url, "next")) == {"anna": 3, "bert": 5}
    promote(local, "next")
    assert seeds(local.newest()) == {"anna": 8 if meanwhile else 3, "bert": 5}
    assert call(["gc", "--expire-older-than", "0s", "--store", local.url]) == 0
    assert {one.state for one in check_history(local.newest())} <= {"whole", "folded"}
    assert not {one.fault for one in verify(local.newest()).findings} - {"unexplained"}
    assert call(["rollback", "before-next", "--store", local.url]) == 0
    assert seeds(local.newest()) == {"anna": 8 if meanwhile else 3, "bert": 0}


def test_nothing_is_forgotten_while_a_generation_is_open_and_every_byte_of_it_after(local, capsys):
    commit(begin(local, "next"), visual("bert", seed=5))
    before = local.newest().snapshot
    for more in (["--dry-run"], ["--yes"]):
        assert call(["forget", "bert", *more, "--store", local.url]) == 4
        assert "while generations are open (next)" in capsys.readouterr().err
    assert local.newest().snapshot == before
    assert call(["generation", "promote", "next", "--store", local.url]) == 0
    assert call(["forget", "bert", "--yes", "--store", local.url]) == 0
    assert "nothing of the store names it" in capsys.readouterr().out
    assert seeds(local.newest()) == {"anna": 0}


def test_a_dropped_generation_s_bytes_are_forgotten_too(local, capsys):
    commit(begin(local, "next"), visual("bert", seed=5))
    assert call(["generation", "drop", "next", "--store", local.url]) == 0
    assert call(["forget", "bert", "--yes", "--store", local.url]) == 0
    assert "nothing of the store names it" in capsys.readouterr().out
    assert not {one.fault for one in verify(local.newest()).findings} - {"unexplained"}


def test_a_copy_says_which_generations_it_leaves_out(local, tmp_path, capsys):
    generation = commit(begin(local, "next"), visual("bert", seed=5))
    assert call(["copy", local.url, str(tmp_path / "copy")]) == 0
    assert "The generation 'next' is left out" in capsys.readouterr().out
    copied = FeatureStore(str(tmp_path / "copy"))
    assert copied.records() == local.newest().records() != generation.records()
    assert generations(copied) == []
    see_whole(copied)


def test_the_status_and_the_list_tell_of_open_generations(local, capsys):
    begin(local, "empty")
    commit(begin(local, "next"), visual("bert", seed=5), source("carl"))
    assert call(["generation", "list", "--json", "--store", local.url]) == 0
    empty, written = json.loads(capsys.readouterr().out)
    assert (empty["generation"], empty["since"], empty["videos"]) == ("empty", None, 0)
    assert (written["videos"], written["changes"]["added"], written["changes"]["replaced"]) == (
        2,
        {"source": 1},
        {"visual": 1},
    )
    assert call(["status", "--store", local.url]) == 0
    said = capsys.readouterr().out
    assert "generation empty is open: nothing is written to it yet" in said
    assert "generation next is open: 2 artifacts of 2 videos differ from what it began with, since 20" in said
    assert call(["diff", "--at", "next", "--json", "--store", local.url]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == ["source/carl"]


def test_the_history_and_the_newest_change_tell_of_a_promotion(local, capsys):
    commit(begin(local, "next"), visual("bert", seed=5))
    commit(local, source("carl"))
    promote(local, "next")
    assert call(["log", "-n", "1", "--json", "--store", local.url]) == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert entry["what"] == "readers saw a generation from then on; added 1 video"
    assert call(["diff", "--json", "--store", local.url]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], len(said["changed"])) == ([], 1)


def test_a_dry_run_says_what_would_change_and_changes_nothing(local, capsys):
    commit(begin(local, "next"), visual("bert", seed=5), source("carl"))
    commit(local, source("dora"))
    before = written(local.url)
    assert call(["generation", "promote", "next", "--dry-run", "--store", local.url]) == 0
    said = capsys.readouterr().out
    assert "1 source would be added." in said
    assert "1 visual would be replaced." in said
    assert "1 artifact that came meanwhile would be taken over." in said
    assert written(local.url) == before


def test_a_generation_that_replaces_what_only_some_videos_have_says_so(local, capsys):
    commit(begin(local, "part"), visual("bert", seed=5))
    words = ["generation", "promote", "part", "--dry-run", "--store", local.url]
    assert call(words) == 0
    assert "Of 2 artifacts of visual/toy, 1 would be left as they were: a run that stopped" in capsys.readouterr().out
    assert call([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["part_replaced"] == {"visual/toy": {"replaced": 1, "unchanged": 1}}
    commit(local.state("part"), visual("anna", seed=5))
    assert call([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["part_replaced"] == {}


def written(url: str) -> dict[Path, int]:
    """The files of a store, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in Path(url).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("new models", "its name is made of the letters"),
        ("../up", "its name is made of the letters"),
        ("x" * 60, "longer than 50"),
        ("2026-11-28", "it is a time"),
        ("D929080JDMQ0W68ZPH0G", "it could be the name of a snapshot"),
        ("first", "has, or had, a tag 'first'"),
        ("again", "has, or had, a tag 'before-again'"),
        ("anna", "a video is called so"),
    ],
)
def test_a_generation_has_a_name_of_its_own(local, name, reason):
    local.tag("first")
    local.tag("before-again")
    with pytest.raises(SpecError, match=f"A generation cannot be called .*{reason}"):
        begin(local, name)
    assert generations(local) == []


def test_a_tag_is_not_called_as_an_open_generation(local):
    begin(local, "next")
    with pytest.raises(SpecError, match="a generation is called so"):
        local.tag("next")


def test_a_name_is_used_once(local):
    commit(begin(local, "next"), visual("bert", seed=5))
    promote(local, "next")
    with pytest.raises(SpecError, match="a tag 'before-next'"):
        begin(local, "next")


def test_what_cannot_be_promoted_or_dropped_is_one_sentence_and_changes_nothing(local, capsys):
    begin(local, "empty")
    commit(begin(local, "next"), visual("bert", seed=5))
    before = local.newest().snapshot

    def refused(*words: str) -> tuple[int, str]:
        code = call(["generation", *words, "--store", local.url])
        return code, capsys.readouterr().err

    for verb in ("promote", "drop"):
        code, said = refused(verb, "nxt")
        assert (code, "has no generation 'nxt'. Did you mean 'next'?" in said) == (4, True)
    code, said = refused("promote", "empty")
    assert (code, "holds nothing but what it began with" in said) == (2, True)
    draft = FeatureStore(local.url, "next").draft({}, "run")
    for verb in ("promote", "drop"):
        code, said = refused(verb, "next")
        assert (code, "Another run is writing to the store" in said) == (4, True)
    draft.release()
    assert local.newest().snapshot == before
    assert [one.name for one in generations(local)] == ["empty", "next"]
    with pytest.raises(StoreError):
        plan_promotion(local, "nxt")


def test_a_generation_begins_in_a_store_of_today_s_format_and_no_store_is_upgraded_under_one(tmp_path, capsys):
    with tarfile.open(OLD_STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    old = FeatureStore(str(tmp_path / "store"))
    with pytest.raises(StoreError, match=r"in which no generation can begin\. Run `affstore upgrade` first"):
        begin(old, "next")
    old.repository.create_branch("generation-next", old.snapshot)
    for more in ([], ["--dry-run"]):
        assert call(["upgrade", old.url, *more]) == 4
        assert "The store cannot be upgraded while generations are open (next)" in capsys.readouterr().err
    assert FeatureStore(old.url).snapshot == old.snapshot
    old.repository.delete_branch("generation-next")
    assert call(["upgrade", old.url]) == 0
    assert commit(begin(FeatureStore(old.url), "next"), source("dora")).branch == "generation-next"
    promote(FeatureStore(old.url), "next")
    assert FeatureStore(old.url).find(source("dora").address) is not None


def test_a_promoted_tag_of_what_was_forgotten_is_not_a_name_again(local):
    commit(begin(local, "next"), visual("bert", seed=5))
    promote(local, "next")
    assert call(["forget", "bert", "--yes", "--store", local.url]) == 0
    assert "before-next" not in local.newest().tags()
    with pytest.raises(SpecError, match="has, or had, a tag 'before-next'"):
        begin(local.newest(), "next")


def test_a_turned_bit_of_what_only_a_generation_holds_is_found_and_turned_back(local):
    place = Path(local.url)
    known = {path for path in place.rglob("*") if path.is_file()}
    commit(begin(local, "next"), visual("anna", seed=5), source("cleo"), visual("cleo"))
    new = sorted(path for path in place.rglob("*") if path.is_file() and path not in known)
    kinds = {path.relative_to(place).parts[0] for path in new}
    assert kinds >= {"chunks", "manifests", "snapshots", "transactions"}
    for path in new:
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
        named = {finding.what for finding in verify_place(local.url, None).findings}
        (repaired,) = list(repair(local.url, WeightsFolder(place / "no weights")))
        assert (repaired.state, path.read_bytes() == whole) == ("repaired", True), path
        assert any(" of snapshot " in what or what == str(path.relative_to(place)) for what in named), named
    assert {one.fault for one in verify_place(local.url, None).findings} == {
        "unexplained"
    }  # the embeddings name nothing


def test_a_generation_that_goes_while_it_is_opened_is_one_sentence(local):
    with pytest.raises(NotFoundError, match="has no such state any more"), translate_errors(local.url, "Opening"):
        local.repository.lookup_branch("generation-gone")
