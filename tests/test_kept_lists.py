"""The list of a long snapshot is kept beside the store for the next command; it is doubted, bounded and forgotten."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import zarr

from affstore import FeatureStore
from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Address
from affstore.store.engine import kept_lists
from affstore.store.engine.kept_lists import keep_list, kept_list
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks.lineage.erasure import plan_erasure
from affstore.tasks.lineage.forgetting import forget
from affstore.tasks.lineage.verify import verify
from tests.factories import commit, source, visual

VIDEOS = ("anna", "bert", "clara")


@pytest.fixture
def url(tmp_path, monkeypatch) -> str:
    """A store of three videos, in a process that keeps also short lists."""
    monkeypatch.setattr(kept_lists, "_WORTH", 1)
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), *(make(name) for name in VIDEOS for make in (source, visual)))
    return url


def lists(url: str) -> list[Path]:
    return sorted(Path(f"{url}.lists").glob("*")) if Path(f"{url}.lists").is_dir() else []


def groups_of(store: FeatureStore) -> set[str]:
    """The paths of all groups that hold a record, as plain zarr finds them."""
    members = zarr.open_group(store.session.store, mode="r").members(max_depth=None)
    return {path for path, one in members if isinstance(one, zarr.Group) and "key" in one.attrs.get("affstore", {})}


def paths(store: FeatureStore) -> list[str]:
    return [address.path for address in store.addresses()]


def test_a_kept_list_is_what_the_engine_lists_and_is_taken_for_it(url):
    first = FeatureStore(url)
    listed = first.addresses()
    assert {address.path for address in listed} == groups_of(first)
    assert [one.name for one in lists(url)] == [f"{first.snapshot}.json"]
    assert list(kept_list(url, first.snapshot) or ()) == listed
    keep_list(url, first.snapshot, listed[:2])  # what only a kept list says is what is listed then
    assert FeatureStore(url).addresses() == listed[:2]


def test_short_lists_and_those_of_stores_in_memory_are_not_kept(url, monkeypatch):
    commit(FeatureStore.create("memory:kept-lists"), source("anna")).addresses()
    assert not Path("memory:kept-lists.lists").exists()
    monkeypatch.undo()
    FeatureStore(url).addresses()
    assert lists(url) == []


@pytest.mark.parametrize("damage", ["a bit", "the end", "nothing left", "another snapshot's"])
def test_a_damaged_list_or_another_snapshots_is_read_anew(url, damage):
    store = FeatureStore(url)
    store.addresses()
    (file,) = lists(url)
    text = bytearray(file.read_bytes())
    if damage == "a bit":
        text[-20] ^= 1
    elif damage == "the end":
        del text[-1]
    elif damage == "nothing left":
        text.clear()
    else:
        store = commit(store, source("dora"))
        file = file.with_name(f"{store.snapshot}.json")
    file.write_bytes(text)
    assert set(paths(FeatureStore(url))) == groups_of(FeatureStore(url))
    assert list(kept_list(url, store.snapshot) or ()) == FeatureStore(url).addresses()  # it was mended


def test_what_a_kept_list_has_too_much_is_no_artifact(url):
    store = FeatureStore(url)
    keep_list(url, store.snapshot, [*store.addresses(), Address("source", video="nobody")])
    assert [record.address for record in FeatureStore(url).records()] == store.addresses()


def test_what_a_kept_list_has_too_much_is_not_looked_through_for_a_text(url):
    store = FeatureStore(url)
    keep_list(url, store.snapshot, [*store.addresses(), Address("source", video="zoe")])
    assert {record.address.video for record in FeatureStore(url).mentioning("anna")} == {"anna"}


def test_what_a_kept_list_lacks_is_found_and_verified(url):
    store = FeatureStore(url)
    keep_list(url, store.snapshot, store.addresses()[:1])
    assert FeatureStore(url).get(Address("source", video="clara")).address.video == "clara"
    assert verify(FeatureStore(url)).artifacts == len(groups_of(store))


def test_a_damaged_snapshot_is_found_although_its_list_was_kept(url):
    store = FeatureStore(url)
    store.addresses()
    file = Path(url) / "snapshots" / store.snapshot
    whole = file.read_bytes()
    kinds = set()
    for place in range(200, len(whole), len(whole) // 40):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            kinds.add(bool(verify(FeatureStore(url)).findings))
        except StoreError:
            kinds.add(True)
    assert kinds == {True}


def test_the_oldest_lists_are_let_go(url, monkeypatch):
    monkeypatch.setattr(kept_lists, "_MOST", 2)
    store, kept = FeatureStore(url), []
    for second, name in enumerate(("dora", "emil", "fritz")):
        store = commit(store, source(name))
        store.addresses()
        kept.append(f"{store.snapshot}.json")
        file = Path(f"{url}.lists") / kept[-1]
        os.utime(file, (second, second))
    assert [one.name for one in lists(url)] == sorted(kept[1:])


def test_no_list_names_a_video_that_was_forgotten(url, tmp_path):
    store = commit(FeatureStore(url), replace(source("dora"), recipe={"bytes": "d"}))
    store.tag("with-anna")
    for state in (store, FeatureStore(url, store.history()[1].id)):
        state.addresses()
    assert [b"anna" in one.read_bytes() for one in lists(url)] == [True, True]
    assert forget(FeatureStore(url), plan_erasure(FeatureStore(url), ["anna"]), tmp_path / "runs").objects == ()
    assert lists(url) == []
    assert {address.video for address in FeatureStore(url).addresses()} == {"bert", "clara", "dora"}
    assert not Tombstones.of(FeatureStore(url)).unfinished
    keep_list(url, store.snapshot, store.addresses())  # as one who had listed the old snapshot just before
    assert [one for one in lists(url) if b"anna" in one.read_bytes()] == []


def test_a_list_that_cannot_be_removed_is_told(url, tmp_path):
    FeatureStore(url).addresses()
    (file,) = lists(url)
    file.parent.chmod(0o500)
    if os.access(file.parent, os.W_OK):
        pytest.skip("this user may write into every folder")
    erasure = plan_erasure(FeatureStore(url), ["anna"])
    assert forget(FeatureStore(url), erasure, tmp_path / "runs").files == (file,)
    file.parent.chmod(0o700)
    assert forget(FeatureStore(url), erasure, tmp_path / "runs").files == ()
    assert lists(url) == []


def test_where_nothing_can_be_kept_everything_is_listed_all_the_same(url):
    Path(f"{url}.lists").write_text("a file of somebody else", encoding="utf-8")
    assert set(paths(FeatureStore(url))) == groups_of(FeatureStore(url))
    shutil.copytree(url, f"{url}-copy")
    assert paths(FeatureStore(f"{url}-copy")) == paths(FeatureStore(url))
