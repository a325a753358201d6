"""A store verified: what is altered, missing, orphaned or unexplained is found and named, and nothing else is."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.models.faces.crop_pictures import CropPictures
from affstore.models.feature_files import read_features
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import StoreError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.copying import plan_copy
from affstore.store.engine.erasing import fold
from affstore.store.engine.generations import has_begun, plan_promotion
from affstore.store.engine.history import check_history
from affstore.tasks.ingest.imported_features import imported_artifact
from affstore.tasks.lineage.verify import verify
from affstore.tasks.recipes import cropped_face
from tests.factories import commit, source
from tests.lineage_store import FRAMES, NAMES, NETWORK_WEIGHTS, whole_chain


@pytest.fixture
def store(tmp_path):
    return whole_chain(str(tmp_path / "store"), tmp_path)


def faults(store, **options):
    return [(finding.fault, finding.what) for finding in verify(store, **options).findings]


def test_a_store_as_it_was_written_has_no_fault(store):
    found = verify(store)
    assert (found.findings, found.artifacts, found.snapshots) == ((), 11, len(store.history()))
    assert found.array_bytes > 11 * 40


def test_what_was_computed_from_what_is_gone_is_orphaned(store):
    draft = store.draft({}, "r")
    draft.remove(Address("face", "mtcnn", "a", "main"))
    store.commit([draft], "test")
    assert faults(store.newest()) == [("orphaned", "visual/toy/a/main")]


def test_what_names_no_origin_is_unexplained(store):
    head = Artifact(
        Address("head", "from-nowhere"),
        {"fit": 1},
        {"parameter_prior": np.ones(8, np.float32)},
        {"task": "expr", "labels": list(NAMES), "head": {}, "scores": None},
    )
    assert faults(commit(store, head)) == [("unexplained", "head/from-nowhere")]


def test_files_are_read_again_only_when_asked(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"a film")
    facts = {"sha256": digest_file(video), "location": str(video)}
    sources = (source("a", **facts), source("b", location=str(tmp_path / "gone.mp4")))
    store = whole_chain(str(tmp_path / "store"), tmp_path, sources)
    assert faults(store) == []
    assert faults(store, deep=True) == [("missing", str(tmp_path / "gone.mp4"))]
    video.write_bytes(b"another film")
    (tmp_path / "b.txt").write_text("other labels")
    assert set(faults(store, deep=True)) == {
        ("missing", str(tmp_path / "gone.mp4")),
        ("altered", str(video)),
        ("altered", str(tmp_path / "b.txt")),
    }


def test_weights_that_are_gone_are_missing_and_damaged_ones_are_altered(store, tmp_path, monkeypatch, capsys):
    folder = WeightsFolder(tmp_path / "weights")
    networks = {("missing", "weights toy_weights"), ("missing", "weights mtcnn")}
    assert {fault for fault in faults(store, weights=folder, deep=True) if "weights" in fault[1]} == networks
    path = folder.path_of(NETWORK_WEIGHTS)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"others")
    assert ("altered", "weights toy_weights") in faults(store, weights=folder, deep=True)
    path.unlink()
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(folder.root))
    assert call(["verify", "--store", store.url]) == 0
    capsys.readouterr()
    assert call(["verify", "--deep", "--store", store.url]) == 4
    assert f"({NETWORK_WEIGHTS[:12]}) are not in '{folder.root}'" in capsys.readouterr().out


def test_crop_folders_and_imported_files_are_read_again_too(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a", FRAMES))
    crops, table = tmp_path / "crops", tmp_path / "gaze.npy"
    crops.mkdir()
    for number in (1, 3):
        Image.new("RGB", (8, 8), (9 * number, 0, 0)).save(crops / f"{number:05d}.jpg")
    np.save(table, np.ones((FRAMES, 2), np.float32))
    source_record = store.get(Address("source", video="a"))
    face = Artifact(
        Address("face", "cropped", "a", "main"),
        cropped_face(CropPictures(crops, FRAMES).digest_alone(), source_record.key, "main"),
        {"present": np.arange(FRAMES) % 2 == 0},
        {"frames": FRAMES, "prominent": True, "location": str(crops), "signature": "s", "counts_from": 1},
        (source_record.as_parent(),),
    )
    features = imported_artifact(store, "gaze", ("a", "main"), table, read_features(table, ()))
    store = commit(store, face, features)
    outside = str(Path(source_record.attributes["location"]))
    assert {what for _, what in faults(store, deep=True)} == {outside}
    assert verify(store, deep=True).files == 3
    Image.new("RGB", (8, 8), (1, 1, 1)).save(crops / "00003.jpg")
    np.save(table, np.zeros((FRAMES, 2), np.float32))
    found = set(faults(store, deep=True)) - {("missing", outside)}
    assert found == {("altered", str(crops)), ("altered", str(table))}
    shutil.rmtree(crops)
    table.unlink()
    found = set(faults(store, deep=True)) - {("missing", outside)}
    assert found == {("missing", str(crops)), ("missing", str(table))}


def test_imported_files_of_unknown_place_are_said_and_no_fault(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a", FRAMES, location=str(tmp_path / "a.mp4")))
    np.save(tmp_path / "gaze.npy", np.ones((FRAMES, 2), np.float32))
    made = imported_artifact(
        store, "gaze", ("a", "main"), tmp_path / "gaze.npy", read_features(tmp_path / "gaze.npy", ())
    )
    imported = {name: value for name, value in made.made["imported"].items() if name != "location"}
    store = commit(store, replace(made, made={**made.made, "imported": imported}))
    found = verify(store, deep=True)
    assert [finding.what for finding in found.findings] == [str(tmp_path / "a.mp4")]
    assert [count for reason, count in found.unproven.items() if reason.startswith("files of features")] == [1]


def copies_with(store, tmp_path, damage, *kinds):
    """Copies of the store, in each of which one object of these kinds is damaged; a few objects of each kind."""
    folder = tmp_path / "store"
    for kind in kinds:
        files = sorted(path.relative_to(folder) for path in (folder / kind).rglob("*") if path.is_file())
        assert files
        for path in files[:: max(1, len(files) // 3)]:
            copy = tmp_path / f"{kind}-without-{path.name}"
            shutil.copytree(folder, copy)
            damage(copy / path)
            yield copy, path


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_turned_bit_in_an_array_is_found(store, tmp_path):
    for copy, path in copies_with(store, tmp_path, turn_a_bit, "chunks"):
        assert call(["verify", "--store", str(copy)]) == 4, path


def test_an_object_that_is_gone_is_found_also_in_the_history(store, tmp_path):
    for copy, path in copies_with(store, tmp_path, Path.unlink, "chunks", "manifests", "snapshots", "transactions"):
        assert call(["verify", "--store", str(copy)]) == 4, path


def test_the_command_says_what_it_looked_at(store, capsys):
    assert call(["verify", "--store", store.url]) == 0
    assert "11 artifacts" in (said := capsys.readouterr().out)
    assert "all is as it was written" in said
    draft = store.draft({}, "r")
    draft.remove(Address("head", "expr-mlp"))
    store.commit([draft], "test")
    assert call(["verify", "--store", store.url, "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [one["fault"] for one in document["findings"]] == ["orphaned", "orphaned"]
    assert call(["verify", "--store", store.url, "--at", store.snapshot]) == 0
    assert FeatureStore(store.url).snapshot != store.snapshot


def test_a_store_that_is_removed_while_it_is_read_is_one_sentence(store):
    shutil.rmtree(store.url)
    for ask in (
        store.tags,
        store.history,
        store.newest,
        lambda: store.tag("v1"),
        lambda: store.group(store.addresses()[0]),
        lambda: list(check_history(store)),
        lambda: fold(store, datetime.datetime.now(datetime.UTC)),
        lambda: has_begun(store, "new"),
        lambda: plan_promotion(store, "new"),
        lambda: plan_copy(store),
        lambda: verify(store),
    ):
        with pytest.raises(StoreError, match=r"the store at .* (failed|has no)"):
            ask()
    with pytest.raises(StoreError, match=r"it is not there any more\. Check the place, or restore it from a copy"):
        store.tags()


def test_an_emptied_list_of_snapshots_is_named_with_what_to_do_also_by_a_repair(store, capsys):
    Path(store.url, "repo").write_bytes(b"")
    assert call(["status", "--store", store.url]) == 4
    assert "is damaged (invalid icechunk header" in (said := capsys.readouterr().err)
    assert "`affstore verify` names it; restore it from a copy" in said
    assert call(["verify", "--repair", "--store", store.url]) == 4
    said = capsys.readouterr().out
    assert "not repaired" in said
    assert "More than a bit of it is gone." in said
