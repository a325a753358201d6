"""Participant, session and condition of a user's table, beside what the store has of a video."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from affstore import FeatureStore, catalogue
from affstore.store.contract.errors import SpecError
from affstore.store.contract.video_columns import read_video_columns
from tests.factories import commit, source, visual


def of_subject(video, subject):
    found = visual(video)
    return replace(found, address=replace(found.address, subject=subject))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    empty = FeatureStore.create(str(tmp_path_factory.mktemp("columns") / "store"))
    artifacts = source("talk", aliases=["raw/P07 day 1"]), visual("talk"), source("walk_left"), visual("walk_left")
    pair = source("pair"), of_subject("pair", "left"), of_subject("pair", "right")
    return commit(empty, *artifacts, *pair)


TABLE = pl.DataFrame(
    {
        "Video": ["raw/P07 day 1", "walk_left", "pair_left", "pair_right", "elsewhere"],
        "Participant": ["P07", "P08", "P01", "P02", "P99"],
        "age": [31, None, 40, 41, 50],
    }
)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_columns_stand_beside_the_artifacts_of_their_video_by_name_alias_or_subject(store, tmp_path, suffix):
    path = tmp_path / f"people.{suffix}"
    if suffix == "parquet":
        TABLE.write_parquet(path)
    else:
        TABLE.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    found = catalogue(store, columns=str(path))
    assert found.columns == [*catalogue(store).columns, "participant", "age"]
    assert found.select("path", "participant", "age").rows() == [
        ("source/pair", None, None),
        ("source/talk", "P07", "31"),
        ("source/walk_left", "P08", None),
        ("visual/toy/pair/left", "P01", "40"),
        ("visual/toy/pair/right", "P02", "41"),
        ("visual/toy/talk/main", "P07", "31"),
        ("visual/toy/walk_left/main", "P08", None),
    ]
    assert found.drop("participant", "age").equals(catalogue(store))
    assert catalogue(store, columns=f"{path}:AGE").columns[-1] == "age"


def test_a_column_of_a_label_table_is_taken_by_its_name(store, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("video;start;end;label;participant\ntalk;0;1;calm;P07\ntalk;1;2;tense;P07\n")
    assert catalogue(store, f"{table}:participant").filter(video="talk")["participant"].unique().to_list() == ["P07"]
    with pytest.raises(SpecError, match=r"line 3: 'talk' has the start '1', and '0' in line 2. .*labels.csv:COLUMN"):
        catalogue(store, table)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("name,participant\ntalk,P1\n", "", "found no column 'video' in 'name,participant'"),
        ("video,participant\ntalk,P1\n", ":session", "found no column 'session'"),
        ("video,participant\n,P1\n", "", "line 2: found no video"),
        ("video,participant\ntalk\n", "", "cannot be read as a table: .*line 2: found 1 columns, expected 2"),
        ("video,Subject,age\ntalk,P1,3\n", "", "has the column 'subject', and what it is joined to has one, too"),
    ],
)
def test_a_table_that_cannot_be_joined_says_why(store, tmp_path, text, columns, said):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(SpecError, match=said):
        catalogue(store, f"{tmp_path / 'people.csv'}{columns}")


def test_a_table_that_is_not_there_is_no_empty_one(store, tmp_path):
    with pytest.raises(SpecError, match=r"columns cannot be read as a table: The table '.*none.csv' cannot be read"):
        catalogue(store, tmp_path / "none.csv")


def test_a_row_of_a_subject_goes_before_one_of_the_whole_video(tmp_path):
    (tmp_path / "people.csv").write_text("video,participant\npair,both\npair_left,P01\n")
    found = read_video_columns(tmp_path / "people.csv")
    assert [found.of(("pair",), subject) for subject in ("left", "right")] == [("P01",), ("both",)]
    assert found.of(("other",)) == (None,)
