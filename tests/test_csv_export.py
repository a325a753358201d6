"""CSV holds what Parquet holds; and a part of a store is exported by naming its videos and networks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.records import Artifact
from affstore.store.engine.exporters.base import EXPORTERS
from tests.factories import commit, labels_of, source, visual
from tests.test_analyze import FRAMES, person, voice
from tests.test_exporters import units


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    url = str(tmp_path_factory.mktemp("tables") / "store")
    first = np.arange(FRAMES) < 25
    half = visual("one", FRAMES, extractor="timm/half", gaps=(3,))
    arrays = {**half.arrays, "embedding": half.arrays["embedding"].astype(np.float16)}
    packed = Artifact(half.address, half.recipe, arrays, half.attributes, (), half.made)
    people = [*person("two", "left", first), *person("two", "right", ~first), *person("one", "main", first)]
    sources = [source("one", FRAMES, aliases=["eins"]), source("two", FRAMES)]
    return commit(FeatureStore.create(url), *sources, *people, packed, voice("two"), units("two", "left"))


def exported(store, folder, to, *options):
    assert call(["export", str(folder), "--store", store.url, "--to", to, *options]) == 0
    return {str(path.relative_to(folder).with_suffix("")): path for path in folder.rglob(f"*.{to}")}


def test_every_table_of_parquet_is_the_same_as_csv(store, tmp_path):
    parquet, csv = exported(store, tmp_path / "p", "parquet"), exported(store, tmp_path / "c", "csv")
    assert csv.keys() == parquet.keys() >= {"visual/timm/half", "face/mtcnn", "prediction/au-mlp", "source/source"}
    for name, path in parquet.items():
        wanted, found = pd.read_parquet(path), pd.read_csv(csv[name], keep_default_na=False, na_values=[""])
        lists = [column for column in wanted if isinstance(wanted[column].dropna().iloc[0], np.ndarray)]
        for column in lists:
            width = len(wanted[column].dropna().iloc[0])
            numbered = found[[f"{column}_{index}" for index in range(width)]].to_numpy()
            rows = [np.full(width, np.nan) if row is None else row for row in wanted[column]]
            np.testing.assert_allclose(numbered, np.stack(rows).astype(np.float64), rtol=1e-6)
        for column in wanted.columns.difference(lists):
            if wanted[column].dtype.kind in "fi":
                np.testing.assert_allclose(found[column], wanted[column], rtol=1e-6)
            else:
                missing = wanted[column].isna()
                assert found[column].isna().equals(missing) or column == "subject"
                said = found[column].where(~found[column].isna(), "").astype(str).tolist()
                assert said == wanted[column].where(~missing, "").astype(str).tolist()


def names(store, capsys, *options):
    capsys.readouterr()
    assert call(["export", "/nowhere", "--store", store.url, "--dry-run", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)["artifacts"]


def test_only_some_videos_and_networks_are_exported(store, capsys):
    of_one = names(store, capsys, "--video", "eins")
    assert of_one == ["face/mtcnn/one/main", "source/one", "visual/faces/one/main", "visual/timm%2Fhalf/one/main"]
    assert names(store, capsys, "--video", "one", "--video", "two") == [r.address.path for r in store.records()]
    of_network = names(store, capsys, "--extractor", "timm/half", "--video", "one")
    assert of_network == ["face/mtcnn/one/main", "source/one", "visual/timm%2Fhalf/one/main"]
    assert names(store, capsys, "-e", "voices", "--family", "audio", "--family", "visual") == ["audio/voices/two"]


@pytest.mark.parametrize("name", ["csv", "parquet", "zarr", "elan", "praat", "openface", "pyfeat"])
def test_every_exporter_heeds_which_videos_are_meant(store, tmp_path, name):
    folder = tmp_path / "out"
    assert call(["export", str(folder), "--store", store.url, "--to", name, "--video", "two"]) == 0
    held = "".join(path.read_text("latin-1") for path in folder.rglob("*") if path.is_file())
    assert "/videos/one.mp4" not in held
    assert not [path for path in folder.rglob("*") if path.stem == "one"]
    assert name in EXPORTERS.names()


@pytest.mark.parametrize(
    ("option", "given", "meant"), [("--video", "tow", "two"), ("--extractor", "timm/hafl", "timm/half")]
)
def test_what_is_not_there_is_refused_with_the_nearest_name(store, tmp_path, capsys, option, given, meant):
    assert call(["export", str(tmp_path / "out"), "--store", store.url, option, given]) == 4
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_columns_of_the_user_stand_beside_each_row(tmp_path, capsys, to):
    store = commit(
        FeatureStore.create(str(tmp_path / "store")), *(make(one) for one in "ab" for make in (source, visual))
    )
    table = tmp_path / "people.csv"
    table.write_text("Video,Participant,session\na,P07,2\n", encoding="utf-8")
    command = ["export", str(tmp_path / "out"), "--to", to, "--family", "visual", "--store", store.url, "--columns"]
    assert call([*command, f"{table}:participant"]) == 0
    (path,) = (tmp_path / "out" / "visual").iterdir()
    found = (pl.read_csv if to == "csv" else pl.read_parquet)(path)
    assert set(found.select("video", "participant").unique().rows()) == {("a", "P07"), ("b", None)}
    assert "session" not in found.columns
    for text, said in (("video,frame\na,1\n", "'frame'"), ("video,present\na,1\n", "a column 'present' already")):
        table.write_text(text, encoding="utf-8")
        assert call(["export", str(tmp_path / text[6:9]), *command[2:], str(table)]) == 2
        assert said in capsys.readouterr().err
    table.write_text("video,embedding_0\na,1\n", encoding="utf-8")
    assert call(["export", str(tmp_path / "again"), *command[2:], str(table)]) == (2 if to == "csv" else 0)


def test_an_export_that_is_refused_leaves_no_folder_so_that_the_corrected_one_is_made(store, tmp_path, capsys):
    table = tmp_path / "people.csv"
    table.write_text("video,participant,present\none,P07,1\n", encoding="utf-8")
    command = ["export", str(tmp_path / "out"), "--to", "csv", "--store", store.url, "--columns"]
    assert call([*command, str(table)]) == 2
    error = capsys.readouterr().err
    assert "'present'" in error
    assert "width" not in error
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert call([*command, str(table)]) == 2
    assert list((tmp_path / "out").iterdir()) == [], "a folder that was there stays"
    assert call([*command, f"{table}:participant"]) == 0


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_labels_that_are_called_as_the_first_columns_have_columns_of_their_own(tmp_path, to):
    units = LabelSpace("roles", SpaceKind.UNITS, ("subject", "frame", "label_frame", "interviewer"))
    classes = LabelSpace("subject", SpaceKind.CLASSES, ("calm", "tense"))
    labels = [
        labels_of(units, "a", np.tile([1, 0, 1, 0], (FRAMES, 1)), subject="left"),
        labels_of(classes, "a", np.ones(FRAMES), subject="left"),
    ]
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a", FRAMES), *labels)
    tables = exported(store, tmp_path / "out", to, "--family", "label")
    read = pl.read_csv if to == "csv" else pl.read_parquet
    found = read(tables["label/roles"])
    opening = ["video", "subject", "frame", "time_s"]
    assert found.columns == [*opening, "label_subject", "label_label_frame", "label_frame", "interviewer"]
    assert found.row(2) == ("a", "left", 2, 0.08, 1, 0, 1, 0)
    assert read(tables["label/subject"]).select("subject", "label_subject").row(0) == ("left", "tense")


def test_a_format_without_rows_has_no_place_for_columns(store, tmp_path, capsys):
    table = tmp_path / "people.csv"
    table.write_text("video,participant\none,P07\n", encoding="utf-8")
    command = ["export", str(tmp_path / "out"), "--to", "elan", "--store", store.url, "--columns", str(table)]
    assert call(command) == 2
    assert "'elan' has no place for the columns participant" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
