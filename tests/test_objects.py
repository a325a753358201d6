"""Every object of a store is accounted for, and every bit that is turned in one is found and named."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import StoreUnavailableError
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.records import Address, Parent
from affstore.store.engine import ledger
from affstore.store.engine.accounting import account_for
from affstore.store.engine.ledger import with_bit_turned_back
from affstore.store.engine.objects import objects_of
from affstore.tasks.lineage.repair import repair
from affstore.tasks.lineage.verify import verify, verify_place
from tests.factories import CODE, commit, source
from tests.factories import visual as unlinked
from tests.lineage_store import visual, whole_chain
from tests.test_chain import COMMITTER

KINDS = ("chunks", "manifests", "snapshots", "transactions", "overwritten", "ledger", "repo")


def wide(video, extractor="wide", seed=0):
    """An embedding whose chunk is an object of its own, made of a source as `factories` makes it."""
    made = unlinked(video, 40, 64, seed=seed, extractor=extractor)
    parent = source(video)
    return replace(made, parents=(Parent(parent.address.path, key_of(parent.recipe), digest_arrays(parent.arrays)),))


@pytest.fixture(scope="module")
def populated(tmp_path_factory) -> Path:
    """A store with a history: artifacts that were replaced and removed, a tag, chunks in objects of their own."""
    folder = tmp_path_factory.mktemp("objects")
    store = whole_chain(str(folder / "store"), folder)
    store.tag("first")
    store = commit(store, wide("a"), wide("b"))
    store = commit(store, wide("a", seed=5), visual(store, "a", seed=7))
    store.tag("second")
    draft = store.draft(CODE, "run")
    draft.remove(Address("visual", "wide", "b", "main"))
    store.commit([draft], "removed")
    return folder / "store"


@pytest.fixture
def copy(populated, tmp_path) -> Path:
    shutil.copytree(populated, tmp_path / "store")
    return tmp_path / "store"


def objects(url):
    store = FeatureStore(str(url))
    return account_for(store.url, store.repository)


def files(folder, kind):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] == kind)


def test_every_object_of_a_store_is_known_by_what_it_is_and_what_needs_it(populated):
    found = objects(populated).objects
    assert set(found) == {str(path.relative_to(populated)) for path in populated.rglob("*") if path.is_file()}
    assert {key.partition("/")[0] for key in found} == set(KINDS)
    assert {one.state for one in found.values()} == {"noted", "self-checked"}
    needed = [one for key, one in found.items() if key.startswith(("chunks", "manifests", "snapshots", "transactions"))]
    assert all(one.snapshots for one in needed)
    (tip,) = (one for one in needed if one.key == f"snapshots/{FeatureStore(str(populated)).tags()['first']}")
    assert (tip.snapshots, tip.tags) == (1, ("first",))
    assert any(one.tags == ("first", "second") for one in needed)


def test_notes_can_be_checked_with_stock_tools(populated):
    check = ["sha256sum", "--check", "--quiet", *(str(path) for path in files(populated, "ledger")[:1])]
    lines = [line for line in files(populated, "ledger")[-1].read_text().splitlines() if not line.startswith("#")]
    named = [line for line in lines if not line.endswith("  repo")]
    assert named
    done = subprocess.run(check[:3], input="\n".join(named) + "\n", cwd=populated, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_a_killed_run_left_is_garbage_and_no_fault(copy):
    store = FeatureStore(str(copy))
    store.draft(CODE, "killed").put(wide("b", seed=9, extractor="left"))
    garbage = objects(copy).of("garbage")
    assert garbage
    assert all(one.key.startswith("chunks/") and not one.snapshots for one in garbage)
    assert verify(store).findings == ()


def test_a_foreign_file_is_named_and_no_fault(copy, capsys):
    (copy / "notes.txt").write_text("mine")
    assert [one.key for one in objects(copy).of("foreign")] == ["notes.txt"]
    assert call(["verify", "--store", str(copy)]) == 0
    assert "'notes.txt' is no object of a store" in capsys.readouterr().out


def test_a_commit_that_was_killed_before_its_note_is_not_called_damage(copy, monkeypatch):
    from affstore.store.engine import chain

    monkeypatch.setattr(chain, "note_update", lambda *_: None)
    store = commit(FeatureStore(str(copy)), source("late"))
    found = verify(store)
    assert found.findings == ()
    assert {one.key.partition("/")[0] for one in found.objects_of("not vouched for")} == {
        "repo", "manifests", "snapshots", "transactions",
    }  # fmt: skip
    monkeypatch.undo()
    store = commit(store, source("later"))
    assert "repo" not in {one.key for one in verify(store).objects_of("not vouched for")}


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), StoreUnavailableError("the server refuses")])
def test_a_commit_stands_whose_note_cannot_be_written(copy, monkeypatch, fault):
    def may_not(*_):
        raise fault

    real = ledger.objects_of
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "objects_of", lambda url: replace(real(url), write=may_not))
        store = commit(FeatureStore(str(copy)), source("late"))
        store.tag("late")
    assert [one.video for one in FeatureStore(str(copy), "late").addresses("source")][-1] == "late"
    found = verify(store.newest())
    assert found.findings == ()
    assert found.objects_of("not vouched for")


def test_objects_are_listed_while_one_is_put_in_its_place(tmp_path, monkeypatch):
    """An object is written under another name first, and may be listed by that, and gone from it then."""
    objects, real = objects_of(str(tmp_path)), os.lstat
    objects.write("ledger/a", b"12345")
    partial = tmp_path / "ledger" / ".b.partial"
    partial.write_bytes(b"123")

    def once_it_is_renamed(path):
        if Path(path) == partial and partial.exists():
            partial.rename(tmp_path / "ledger" / "b")
        return real(path)

    monkeypatch.setattr(os, "lstat", once_it_is_renamed)
    assert objects.sizes() == {"ledger/a": 5}
    assert objects.sizes() == {"ledger/a": 5, "ledger/b": 3}


def test_an_older_list_of_snapshots_put_back_is_found(copy):
    before = (copy / "repo").read_bytes()
    commit(FeatureStore(str(copy)), source("late"))
    (copy / "repo").write_bytes(before)
    faults = [(one.fault, one.what.partition(" ")[0]) for one in verify_place(str(copy), None).findings]
    assert faults == [("altered", "repo"), ("missing", "snapshot")]


def test_what_the_engine_collects_leaves_no_fault(copy):
    store = FeatureStore(str(copy))
    store.draft(CODE, "killed").put(wide("b", seed=9, extractor="left"))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(copy)))
    repository.garbage_collect(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1))
    assert objects(copy).of("garbage") == []
    assert verify(store.newest()).findings == ()


@pytest.mark.parametrize("kind", ["chunks", "manifests", "snapshots", "transactions"])
@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_any_object_that_is_gone_is_found(copy, kind, step):
    missed = []
    for path in files(copy, kind)[::step]:
        was = path.read_bytes()
        path.unlink()
        if not verify_place(str(copy), None).findings:
            missed.append(path.name)
        path.write_bytes(was)
    assert missed == []


def test_a_store_whose_newest_snapshot_is_gone_says_so_and_its_tags_can_be_read(copy):
    newest = f"snapshots/{FeatureStore(str(copy)).snapshot}"
    (copy / newest).unlink()
    found = verify_place(str(copy), None).findings
    assert [(one.fault, one.what) for one in found] == [("missing", "store"), ("missing", newest)]
    assert FeatureStore(str(copy), "first").addresses()


def test_a_store_that_another_process_writes_to_meanwhile_has_no_fault(copy):
    writer = subprocess.Popen([sys.executable, "-c", COMMITTER, str(copy), "theirs", "4"])
    found = [verify_place(str(copy), None)]
    while writer.poll() is None:
        found.append(verify_place(str(copy), None))
    assert writer.returncode == 0
    assert {finding for one in found for finding in one.findings if finding.fault != "unexplained"} == set()
    assert objects(copy).of("garbage") == []


def flipped(copy, rng, count):
    """Turn a bit in as many objects of every kind, chosen by chance; what they were is restored afterwards."""
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        among = files(copy, kind)
        path = among[rng.integers(len(among))]
        was = path.read_bytes()
        bit = int(rng.integers(8 * len(was)))
        damaged = bytearray(was)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        yield path.relative_to(copy), bit
        path.write_bytes(was)


@pytest.mark.parametrize("count", [7, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_every_bit_that_is_turned_in_any_object_is_found_named_and_turned_back(populated, copy, tmp_path, count):
    tally = {kind: Counter[str]() for kind in KINDS}
    for path, _ in flipped(copy, np.random.default_rng(count), count):
        kind = path.parts[0]
        names = {finding.what.partition(" ")[0] for finding in verify_place(str(copy), None).findings}
        artifacts = ("visual/", "source/", "face/", "label/", "head/", "prediction/")
        named = any(name.startswith(artifacts) for name in names) if kind == "chunks" else str(path) in names
        states = {one.state for one in repair(str(copy), WeightsFolder(tmp_path))}
        back = states == {"repaired"} and (copy / path).read_bytes() == (populated / path).read_bytes()
        tally[kind].update({"flips": 1, "found": bool(names), "named": named, "repaired": back})
    assert all(len(set(one.values())) == 1 for one in tally.values()), tally
    assert sum(one["flips"] for one in tally.values()) == count


def test_a_single_bit_is_turned_back_by_the_digest_and_anything_else_is_not():
    content = bytes(range(200))
    digest = hashlib.sha256(content).hexdigest()
    for bit in (0, 7, 801, 1599):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        assert with_bit_turned_back(bytes(damaged), digest) == content
    assert with_bit_turned_back(bytes(reversed(content)), digest) is None
    assert with_bit_turned_back(content[:-1], digest) is None


@pytest.mark.slow
def test_objects_in_a_bucket_are_accounted_for_too(s3_url):
    store = commit(FeatureStore.create(s3_url), source("a"), wide("a"))
    store.tag("named")
    found = verify(store)
    assert found.findings == ()
    assert {one.state for one in found.objects} == {"noted", "self-checked"}
    import boto3

    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    for kind in ("manifests", "snapshots", "ledger"):
        key = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/{kind}/")["Contents"][0]["Key"]
        was = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.put_object(Bucket=bucket, Key=key, Body=bytes([was[0] ^ 1]) + was[1:])
        named = {finding.what for finding in verify_place(s3_url, None).findings}
        assert key.removeprefix(f"{prefix}/") in named
        client.put_object(Bucket=bucket, Key=key, Body=was)
    assert verify(store.newest()).findings == ()
