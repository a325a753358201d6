"""What is exported for other tools is read back by them, and is equal."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from affstore import FeatureStore, read_clock
from affstore.flows.cli import call
from affstore.models.labels.base import FORMATS
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import FER_2013, TASKS
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.exporters.base import export
from affstore.store.engine.exporters.tiers import tiers_of
from tests.factories import commit, decisions_of, labels_of, source
from tests.test_analyze import FRAMES, person, voice

UNITS = TASKS["au"].names


def units(video, subject):
    """AU12 in frames 5 to 14 and AU1 always; nothing is known of the last five frames."""
    values = np.zeros((FRAMES, len(UNITS)), np.int8)
    values[:, 0], values[5:15, UNITS.index("AU12")] = 1, 1
    present = np.arange(FRAMES) < FRAMES - 5
    raw = values.astype(np.float32)
    address = Address("prediction", "au-mlp", video, subject)
    arrays = {"raw": raw, "smoothed": raw, "prediction": values, "present": present}
    return Artifact(address, {"of": address.path}, arrays, {"frames": FRAMES, "task": "au", "labels": list(UNITS)})


def artifacts():
    """A video of two people, one of whom is not always there."""
    first = np.arange(FRAMES) < 25
    people = [*person("two", "left", np.ones(FRAMES, bool)), *person("two", "right", first)]
    return [source("two"), *people, voice("two"), units("two", "left")]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return commit(FeatureStore.create(str(tmp_path_factory.mktemp("exporters") / "store")), *artifacts())


def exported(store, folder, name):
    (path,) = export(store, store.records(), folder / name, name)
    return path


def plain(store):
    records = [one for one in store.records(video="two") if one.address.family != "source"]
    return {one.name: [(i.start_s, i.end_s, i.text) for i in one.intervals] for one in tiers_of(store, "two", records)}


def test_tiers_hold_classes_units_faces_and_speech_where_they_are_known(store):
    found = plain(store)
    assert found["visual/faces/right"] == [(0.0, 0.8, "Happiness"), (0.8, 1.0, "Sadness")]
    assert found["face/mtcnn/right"] == [(0.0, 1.0, "face")]
    assert found["audio/voices/Speech"] == [(0.4, 0.8, "Speech"), (1.2, 1.6, "unknown")]
    assert found["prediction/au-mlp/left/AU12"] == [(0.2, 0.6, "AU12"), (1.4, 1.6, "unknown")]
    assert found["prediction/au-mlp/left/AU1"] == [(0.0, 1.4, "AU1"), (1.4, 1.6, "unknown")]
    assert found["prediction/au-mlp/left/AU2"] == [(1.4, 1.6, "unknown")]


def test_a_sound_network_without_classes_says_where_sound_is(tmp_path):
    speech = voice("two")
    attributes = {**speech.attributes, "classes": None}
    arrays = {name: speech.arrays[name] for name in ("embedding", "present")}
    silent = Artifact(speech.address, speech.recipe, arrays, attributes)
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("two"), silent)
    assert plain(store) == {"audio/voices": [(0.0, 1.2, "sound")]}


def test_elan_s_files_are_read_back_by_pympi(store, tmp_path):
    pympi = pytest.importorskip("pympi", reason="needs pympi-ling")
    file = pympi.Elan.Eaf(str(exported(store, tmp_path, "elan")))
    wanted = plain(store)
    assert set(file.get_tier_names()) == set(wanted)
    for name, intervals in wanted.items():
        found = sorted((start, end, text) for start, end, text, *_ in file.get_annotation_data_for_tier(name))
        assert found == [(round(1000 * start), round(1000 * end), text) for start, end, text in intervals]


def test_praat_s_files_are_read_back_by_praatio(store, tmp_path):
    praatio = pytest.importorskip("praatio.textgrid", reason="needs praatio")
    grid = praatio.openTextgrid(str(exported(store, tmp_path, "praat")), includeEmptyIntervals=False)
    wanted = plain(store)
    assert set(grid.tierNames) == set(wanted)
    for name, intervals in wanted.items():
        found = [(one.start, one.end, one.label) for one in grid.getTier(name).entries]
        assert found == intervals
    assert grid.maxTimestamp == pytest.approx(FRAMES * 0.04)


def test_openface_s_columns_are_read_back_by_pandas(store, tmp_path):
    table = pd.read_csv(exported(store, tmp_path, "openface"))
    assert list(table.columns[:5]) == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert len(table) == 2 * FRAMES
    right = table[table.face_id == 1].reset_index()
    assert right.success.tolist() == [int(frame < 25) for frame in range(FRAMES)]
    assert right.frame.tolist() == [*range(1, FRAMES + 1)]
    assert np.allclose(right.timestamp, read_clock(store, "two").starts_s)
    left = table[table.face_id == 0].reset_index()
    assert left.AU12_c[:35].tolist() == [float(5 <= frame < 15) for frame in range(35)]
    assert left.AU01_c.isna().tolist() == [frame >= 35 for frame in range(FRAMES)]
    assert right.AU12_c.isna().all()


def test_py_feat_s_columns_are_read_back_by_pandas(store, tmp_path):
    table = pd.read_csv(exported(store, tmp_path, "pyfeat"))
    right = table[table.Identity == "right"].reset_index()
    emotions = [name.lower() for name in FER_2013.names]
    assert np.allclose(right.loc[:24, emotions].sum(axis=1), 1, atol=1e-6)
    assert right.loc[25:, [*emotions, "FaceRectX", "FaceRectWidth"]].isna().all(axis=None)
    assert right.loc[:24, "happiness"].gt(0.5).tolist() == [frame < 20 for frame in range(25)]
    assert (right.FaceRectX[0], right.FaceRectWidth[0], right.FaceRectHeight[0]) == (1, 29, 38)
    assert right.frame.tolist() == [*range(FRAMES)]


@pytest.mark.parametrize("name", ["elan", "praat"])
def test_what_is_exported_can_be_taken_in_as_labels_again(store, tmp_path, name):
    path = exported(store, tmp_path, name)
    form, clock = FORMATS.get(name), read_clock(store, "two")
    found = form.read(form.at(path), TASKS["au"], clock)
    stored = store.read(Address("prediction", "au-mlp", "two", "left"))
    assert np.array_equal(found.value, stored["prediction"] * stored["present"][:, None])
    assert np.array_equal(found.known, np.repeat(stored["present"][:, None], len(UNITS), axis=1))
    assert found.complaint is None
    assert found.note == "read from the tier 'prediction/au-mlp/left/AU1' and 11 more, predictions"
    with pytest.raises(AnnotationError, match="its tiers are"):
        form.read(form.at(path), TASKS["va"], clock)


@pytest.mark.parametrize(("name", "suffix"), [("elan", "eaf"), ("praat", "TextGrid"), ("openface", "csv")])
def test_a_video_whose_name_is_too_long_for_a_file_is_left_out_and_the_others_are_written(
    tmp_path, capsys, name, suffix
):
    long = "映" * 84 + "abc"
    store = FeatureStore.create(str(tmp_path / "store"))
    commit(store, *artifacts(), source(long), *person(long, "main", np.ones(FRAMES, bool)))
    assert call(["export", str(tmp_path / "out"), "--to", name, "--store", store.url]) == 3
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == [f"two.{suffix}"]
    assert "Rename the video's file" in capsys.readouterr().out


HEAD = Artifact(Address("head", "mlp"), {"of": "mlp"}, {}, {"task": "au", "labels": [], "head": {}, "scores": {}})


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("parquet", "head"),
        ("csv", "head"),
        ("elan", "head"),
        ("praat", "source"),
        ("openface", "label"),
        ("overlay", "source"),
    ],
)
@pytest.mark.parametrize("more", [["--dry-run"], []], ids=["dry", "wet"])
def test_an_export_that_has_a_place_for_nothing_is_refused(store, tmp_path, capsys, name, family, more):
    labelled = labels_of(TASKS["au"], "two", np.zeros((FRAMES, 12)), subject="left")
    whole = commit(FeatureStore.create(str(tmp_path / "store")), *artifacts(), HEAD, labelled)
    words = ["export", str(tmp_path / "out"), "--to", name, "--family", family, "--store", whole.url, *more]
    assert call(words) == 2
    assert f"'{name}' has no place for any of the 1 artifacts that are meant ({family})" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "copied", "others"),
    [
        ("zarr", 8, ""),
        ("csv", 7, "1 other artifacts: head"),
        ("praat", 6, "2 other artifacts: head, source"),
        ("openface", 3, "5 other artifacts: audio, head, source, visual"),
        ("pyfeat", 5, "3 other artifacts: audio, head, source"),
    ],
)
def test_an_export_counts_what_was_written_and_says_what_was_not(tmp_path, capsys, name, copied, others):
    whole = commit(FeatureStore.create(str(tmp_path / "store")), *artifacts(), HEAD)
    for more in (["--dry-run"], []):
        assert call(["export", str(tmp_path / "out"), "--to", name, "--store", whole.url, *more]) == 0
        said = capsys.readouterr().out
        assert f"{copied} artifacts {'would be ' if more else ''}copied to" in said
        assert (f"'{name}' has no place for {others}" in said) == bool(others)
    shutil.rmtree(tmp_path / "out")
    assert call(["export", str(tmp_path / "out"), "--to", name, "--store", whole.url, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["artifacts"]) == copied


@pytest.mark.parametrize(
    ("name", "copied", "said"),
    [
        ("elan", 9, "Nothing is written of 1 artifacts, which are no intervals of time"),
        ("praat", 9, "Nothing is written of 1 artifacts, which are no intervals of time"),
        ("openface", 3, "Nothing is written of 1 artifacts, for others say the same"),
        ("pyfeat", 5, "Nothing is written of 1 artifacts, for others say the same"),
    ],
)
def test_an_artifact_that_a_format_has_no_columns_or_intervals_for_is_not_called_copied(
    tmp_path, capsys, name, copied, said
):
    more = [
        decisions_of(TASKS["va"], "va-mlp", "two", np.zeros((FRAMES, 2)), "left"),
        decisions_of(TASKS["expr"], "expr-mlp", "two", np.zeros(FRAMES), "left"),
        labels_of(TASKS["va"], "two", np.zeros((FRAMES, 2)), subject="left"),
        labels_of(TASKS["au"], "two", np.zeros((FRAMES, 12)), subject="left"),
    ]
    whole = commit(FeatureStore.create(str(tmp_path / "store")), *artifacts(), *more)
    assert call(["export", str(tmp_path / "out"), "--to", name, "--store", whole.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["artifacts"]) == copied
    assert any(said in note for note in told["notes"])
    assert "prediction/va-mlp/two/left" not in told["artifacts"]


def test_the_exported_hierarchy_opens_as_a_tree_of_xarray_heads_and_all(tmp_path):
    head = Artifact(HEAD.address, HEAD.recipe, {"parameter_w": np.zeros((2, 3), np.float32)}, HEAD.attributes)
    whole = commit(FeatureStore.create(str(tmp_path / "store")), *artifacts(), head)
    export(whole, whole.records(), tmp_path / "out", "zarr")
    tree = xr.open_datatree(tmp_path / "out", engine="zarr", consolidated=False)
    assert tree["head/mlp/parameter_w"].shape == (2, 3)
    assert tree["visual/faces/two/left/logits"].sizes["class"] == len(FER_2013)
