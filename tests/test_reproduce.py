"""Artifacts computed again from what their records name, and a store repaired by that."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from numcodecs import blosc
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.models.demo.film import Pictures, write_film
from affstore.models.labels.base import LabelFile
from affstore.models.weights.folder import default_folder
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.keys import digest_arrays, digest_file
from affstore.store.contract.records import Address
from affstore.store.contract.schema import families
from affstore.store.engine.mending import bit_turned_back
from affstore.tasks.ingest.annotations import store_labels
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.ingest.videos import ingest
from affstore.tasks.lineage.graph import LineageGraph
from affstore.tasks.lineage.repair import repair
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.verify import verify, verify_place
from affstore.tasks.specs import WorkerContext
from tests.parameters import usually
from tests.test_objects import KINDS, files

FRAMES = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a clip and its annotation, and the store that they were added to."""
    folder = tmp_path_factory.mktemp("reproduce")
    rng = np.random.default_rng(0)
    shown = (rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(FRAMES))
    write_film(folder / "a.mp4", Pictures(shown, (32, 32), FrameClock.uniform(25, FRAMES)), None)
    rng = np.random.default_rng(0)
    lines = [",".join(f"{value:.4f}" for value in row) for row in rng.uniform(-1, 1, (FRAMES, 2))]
    (folder / "a.txt").write_text("\n".join(["valence,arousal", *lines]), encoding="utf-8")
    url = str(folder / "store")
    FeatureStore.create(url)
    context = WorkerContext(url, "run", folder)
    video = IncomingFile(folder / "a.mp4", "a", digest_file(folder / "a.mp4"))
    label = LabelFile("va", "train", "a", "main", folder / "a.txt")
    for work in (lambda: ingest(context, video), lambda: store_labels(context, "a", [label])):
        FeatureStore(url).commit([work().draft], "added", {"run_id": "run"})
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of the store; the files that it was made of stay where they are."""
    shutil.copytree(made / "store", tmp_path / "store")
    return tmp_path / "store"


LABEL = Address("label", "va", "a", "main")


def verdicts(url, *addresses):
    store = FeatureStore(str(url))
    return [(one.verdict, one.reason) for one in reproduce(store, addresses or store.addresses(), default_folder())]


def test_a_video_and_its_labels_come_out_bit_by_bit(made):
    assert verdicts(made / "store") == [("equal", "")] * 2


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("a.mp4", Path.unlink, "The video '.*' is not there any more. Put it back"),
        ("a.mp4", lambda path: path.write_bytes(b"another"), "has other bytes than when it was added. Restore it."),
        ("a.txt", Path.unlink, "The annotation '.*' is not there any more"),
    ],
)
def test_an_input_that_is_gone_or_changed_is_one_sentence(made, file, change, reason):
    address = Address("source", video="a") if file == "a.mp4" else LABEL
    was = (made / file).read_bytes()
    change(made / file)
    try:
        ((verdict, text),) = verdicts(made / "store", address)
    finally:
        (made / file).write_bytes(was)
    assert verdict == "not computed"
    assert re.search(reason, text)


def test_a_parent_that_was_replaced_meanwhile_is_said(copy):
    store = FeatureStore(str(copy))
    source = store.get(Address("source", video="a"))
    draft = store.draft({}, "run")
    draft.copy(replace(source, key="0" * 64), store.read(source.address), 1)
    store.commit([draft], "replaced by hand")
    ((verdict, text),) = verdicts(copy, LABEL)
    assert verdict == "not computed"
    assert text.startswith("'source/a' was replaced after 'label/va/a/main' was computed from it. Name the snapshot")


def test_numbers_that_are_not_those_of_the_inputs_are_found(copy):
    store = FeatureStore(str(copy))
    arrays = store.read(LABEL)
    arrays["value"] = arrays["value"] + np.float32(0.01)
    draft = store.draft({}, "run")
    draft.copy(replace(store.get(LABEL), digest=digest_arrays(arrays)), arrays, 1)
    store.commit([draft], "by hand")
    ((verdict, text),) = verdicts(copy, LABEL)
    assert (verdict, text.partition(" is off")[0]) == ("other", "'value'")
    assert call(["reproduce", "label/va/a/main", "--store", str(copy)]) == 4


def test_the_command_suggests_names_and_has_documented_exit_codes(made, capsys):
    url = str(made / "store")
    assert call(["reproduce", "label/va/a/mian", "--store", url]) == 4
    assert "has no artifact 'label/va/a/mian'. Did you mean 'label/va/a/main'?" in capsys.readouterr().err
    assert call(["reproduce", "--store", url]) == 2
    assert "neither is given" in capsys.readouterr().err
    assert call(["reproduce", "label/va/a/main", "--all", "--store", url]) == 2
    assert "both are given" in capsys.readouterr().err
    assert call(["reproduce", "--all", "--store", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["path"], one["verdict"]) for one in document] == [("label/va/a/main", "equal"), ("source/a", "equal")]
    assert call(["reproduce", "--all", "--store", url, "--at", "ZZZZ"]) == 4
    assert "a snapshot is named by its whole id" in capsys.readouterr().err


def damaged(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("kind", usually(KINDS))
@pytest.mark.parametrize("count", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_what_one_turned_bit_broke_is_brought_back_to_the_same_digest(made, copy, kind, count):
    before = content_digest(FeatureStore(str(made / "store")))
    rng = np.random.default_rng(len(kind))
    for _ in range(count):
        among = files(copy, kind)
        path = among[rng.integers(len(among))]
        was = path.read_bytes()
        damaged(path, int(rng.integers(8 * len(was))))
        assert verify_place(str(copy), None).findings
        assert call(["verify", "--repair", "--dry-run", "--store", str(copy)]) == 4
        assert path.read_bytes() != was
        repaired = list(repair(str(copy), default_folder()))
        assert {one.state for one in repaired} == {"repaired"}
        assert content_digest(FeatureStore(str(copy))) == before
        assert path.read_bytes() == was
        assert verify(FeatureStore(str(copy))).findings == ()


def test_a_whole_store_is_left_alone_by_a_repair(copy):
    before = FeatureStore(str(copy)).snapshot
    assert list(repair(str(copy), default_folder())) == []
    assert FeatureStore(str(copy)).snapshot == before


def test_what_cannot_be_brought_back_is_said_and_nothing_is_changed(made, copy):
    max(files(copy, "chunks"), key=lambda path: path.stat().st_size).unlink()
    was = (made / "a.txt").read_bytes()
    (made / "a.txt").unlink()
    before = FeatureStore(str(copy)).snapshot
    try:
        (one,) = repair(str(copy), default_folder())
    finally:
        (made / "a.txt").write_bytes(was)
    assert (one.what, one.state) == ("label/va/a/main", "not repaired")
    assert "is not there any more. Put it back" in one.reason
    assert FeatureStore(str(copy)).snapshot == before
    (one,) = repair(str(copy), default_folder())
    assert one.state == "repaired"


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.fixture
def tagged(made, copy, tmp_path) -> Path:
    """A store whose newest state has other labels than the one that is tagged `v1`."""
    FeatureStore(str(copy)).tag("v1")
    later = tmp_path / "later.txt"
    later.write_text((made / "a.txt").read_text(encoding="utf-8").replace("0.1", "0.2"), encoding="utf-8")
    work = store_labels(WorkerContext(str(copy), "run", made), "a", [LabelFile("va", "train", "a", "main", later)])
    FeatureStore(str(copy)).commit([work.draft], "added", {"run_id": "run"})
    return copy


def chunk_of_tag_alone(url) -> Path:
    """The largest chunk that only the state needs which `v1` names."""
    store = FeatureStore(str(url))
    alone = [one for one in verify(store).objects if one.tags == ("v1",) and one.snapshots == 1]
    return Path(url, max((one for one in alone if one.key.startswith("chunks/")), key=lambda one: one.size).key)


@pytest.mark.parametrize("damage", [lambda path: damaged(path, 12345), zeroed, Path.unlink], ids=["bit", "all", "gone"])
def test_a_tagged_state_is_repaired_where_it_is(tagged, tmp_path, damage, capsys):
    url, before = str(tagged), content_digest(FeatureStore(str(tagged), "v1"))
    newest, path = FeatureStore(url).snapshot, chunk_of_tag_alone(tagged)
    was = path.read_bytes()
    damage(path)
    assert call(["verify", "--store", url]) == 4
    export = ["export", "--to", "parquet", "--at", "v1", "--store", url]
    assert call([*export, str(tmp_path / "broken")]) == 4
    assert call(["verify", "--repair", "--dry-run", "--store", url]) == 4
    assert not path.exists() or path.read_bytes() != was
    capsys.readouterr()
    assert call(["verify", "--repair", "--store", url]) == 0
    assert "label/va/a/main of snapshot" in " ".join(capsys.readouterr().out.split())
    assert (path.read_bytes(), FeatureStore(url).snapshot) == (was, newest)
    assert content_digest(FeatureStore(url, "v1")) == before
    assert call([*export, str(tmp_path / "out")]) == 0
    assert call(["copy", url, str(tmp_path / "other")]) == 0
    assert content_digest(FeatureStore(str(tmp_path / "other"), "v1")) == before


def packed_otherwise(url):
    """Commit the labels again, with the same numbers in chunks that Blosc packs by another method."""
    store = FeatureStore(url)
    (record,) = store.records("label")
    draft = store.draft({}, "run")
    draft.copy(record, store.read(record.address), families()["label"].version)
    key = f"{record.address.path}/value/c/0/0"
    prototype = default_buffer_prototype()
    content = sync(draft.fork.store.get(key, prototype)).to_bytes()
    other = blosc.Blosc(cname="zstd", clevel=9).encode(blosc.Blosc().decode(content[:-4]))
    assert other != content[:-4]
    whole = prototype.buffer.from_bytes(other + google_crc32c.value(other).to_bytes(4, "little"))
    sync(draft.fork.store.set(key, whole))
    store.commit([draft], "packed otherwise")
    return store.newest()


def test_what_packs_into_other_bytes_is_committed_anew_and_a_copy_takes_it_for_the_tag(copy, tmp_path):
    store = packed_otherwise(str(copy))
    store.tag("v1")
    assert verify(store).findings == ()
    path = chunk_of_tag_alone(copy)
    zeroed(path)
    place = str(tmp_path / "other")
    assert call(["copy", str(copy), place]) == 4
    (one,) = repair(str(copy), default_folder())
    assert (one.what, one.state) == ("label/va/a/main", "repaired")
    assert "earlier snapshots keep what is broken" in one.reason
    assert path.read_bytes() == bytes(path.stat().st_size)
    broken = [one.what for one in verify(store.newest()).findings]
    assert broken == [f"label/va/a/main of snapshot {store.snapshot}"]
    assert call(["copy", str(copy), place]) == 0
    copied = FeatureStore(place, "v1")
    assert content_digest(copied) == content_digest(store)
    assert verify(copied).findings == ()


def test_what_no_manifest_leads_to_any_more_is_committed_anew(copy):
    store = FeatureStore(str(copy))
    nodes = store.repository.inspect_snapshot(store.snapshot)["nodes"]
    (value,) = (node for node in nodes if node["path"] == "/label/va/a/main/value")
    (copy / "manifests" / value["manifest_refs"][0]["id"]).unlink()
    (one,) = repair(str(copy), default_folder())
    assert (one.what, one.state) == ("label/va/a/main", "repaired")
    assert content_digest(store.newest()) == content_digest(store)
    assert store.newest().read(Address("label", "va", "a", "main"))["value"].shape == (FRAMES, 2)


def test_what_the_tag_alone_has_and_no_file_gives_again_is_left_as_it_is(made, tagged):
    path = chunk_of_tag_alone(tagged)
    zeroed(path)
    was = (made / "a.txt").read_bytes()
    (made / "a.txt").unlink()
    try:
        (one,) = repair(str(tagged), default_folder())
    finally:
        (made / "a.txt").write_bytes(was)
    assert (one.what.partition(" ")[0], one.state) == ("label/va/a/main", "not repaired")
    assert path.read_bytes() == bytes(path.stat().st_size)


def test_a_repair_is_of_every_state(made):
    assert call(["verify", "--repair", "--at", FeatureStore(str(made / "store")).snapshot, "--store", str(made)]) == 2
    assert call(["verify", "--dry-run", "--store", str(made / "store")]) == 2


@pytest.mark.parametrize("length", [1, 5, 3000])
def test_a_turned_bit_is_named_by_the_checksum_behind_it_and_anything_else_is_not(length):
    rng = np.random.default_rng(length)
    data = rng.bytes(length)
    whole = data + google_crc32c.value(data).to_bytes(4, "little")
    assert bit_turned_back(whole) is None
    for bit in {0, 8 * length - 1, 8 * length, 8 * len(whole) - 1, *rng.integers(8 * len(whole), size=20).tolist()}:
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        assert bit_turned_back(bytes(turned)) == whole
    assert bit_turned_back(bytes([whole[0] ^ 3]) + whole[1:]) is None


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_artifact_of_the_demo_traces_to_bytes_and_is_reproduced_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(["demo"]) == 0
    row = ["abaw6/table5/emotieffnet-smoothed", "--source", "affstore-demo/corpus", "--store", "affstore-demo/store"]
    assert call(["experiment", *row, "--weights", "untrained", "--protocol", "honest"]) in (0, 3)
    store = FeatureStore("affstore-demo/store")
    graph = LineageGraph(store.records())
    records = [record for record in graph.records.values() if record.address.family != "quarantine"]
    assert set(families()) - {"quarantine"} == {record.address.family for record in records}
    assert [gap for record in records for gap in graph.gaps(record)] == []
    found = reproduce(store, [record.address for record in records], default_folder())
    assert [one for one in found if one.verdict != "equal"] == []
