"""Labels, predictions and tables of frames: aligned, with names, and empty where nothing is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from affstore import FeatureStore, read_clock, read_frames, read_labels, read_predictions, read_video
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.labels import AFFECTNET_8, AU, EXPR, VA
from affstore.store.engine.exporters.base import export
from tests.factories import commit, label, prediction, source, visual

FRAMES, GAPS = 12, [3, 4, 5]
RANDOM = np.random.default_rng(7)
CLASSES = np.where(np.arange(FRAMES) % 4 == 1, np.nan, RANDOM.integers(0, 8, FRAMES))[:, None]
UNITS = np.where(RANDOM.random((FRAMES, 12)) < 0.3, np.nan, RANDOM.integers(0, 2, (FRAMES, 12)))
VALUES = np.where(np.arange(FRAMES)[:, None] > 8, np.nan, RANDOM.uniform(-1, 1, (FRAMES, 2)).round(3))
RAW = RANDOM.random((FRAMES, 8)).astype(np.float32)


def face(subject: str = "main"):
    """A face network's output with logits."""
    found = visual("talk", FRAMES, gaps=GAPS)
    logits = RANDOM.normal(size=(FRAMES, 8)).astype(np.float32)
    logits[GAPS] = 0
    attributes = {**found.attributes, "classes": list(AFFECTNET_8.names)}
    address = replace(found.address, subject=subject)
    return replace(found, address=address, arrays={**found.arrays, "logits": logits}, attributes=attributes)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    empty = FeatureStore.create(str(tmp_path_factory.mktemp("frames") / "store"))
    labels = label("talk", EXPR, CLASSES), label("talk", AU, UNITS), label("talk", VA, VALUES)
    predictions = prediction("talk", EXPR, RAW, gaps=GAPS), prediction("talk", AU, RANDOM.random((FRAMES, 12)), "au")
    return commit(empty, source("talk", FRAMES, aliases=["other name"]), face(), *labels, *predictions)


@pytest.mark.parametrize(("space", "value"), [(EXPR, CLASSES), (AU, UNITS), (VA, VALUES)], ids=["expr", "au", "va"])
def test_labels_are_aligned_with_the_clock_and_nan_where_nothing_is_known(store, space, value):
    found = read_labels(store, "other name", space.name)
    np.testing.assert_array_equal(found.value, value.astype(np.float32))
    np.testing.assert_array_equal(found.known, np.isfinite(value))
    assert found.names == space.names
    assert found.clock == read_clock(store, "talk")
    assert found.record.attributes["split"] == "train"


def test_a_prediction_is_nan_where_nothing_was_seen_unless_what_was_filled_in_is_asked_for(store):
    found, filled = read_predictions(store, "talk", "mlp"), read_predictions(store, "talk", "mlp", filled=True)
    seen = np.delete(np.arange(FRAMES), GAPS)
    assert found.present.sum() == len(seen)
    for name, stored in (("raw", RAW), ("smoothed", RAW), ("prediction", RAW.argmax(1)[:, None])):
        assert np.isnan(getattr(found, name)[GAPS]).all()
        np.testing.assert_array_equal(getattr(found, name)[seen], stored[seen])
        np.testing.assert_array_equal(getattr(filled, name), stored)
        assert getattr(filled, name).dtype == np.float32
    assert found.names == EXPR.names
    assert found.clock == read_clock(store, "talk")


@pytest.mark.parametrize(
    ("read", "asked", "said"),
    [
        (read_labels, ("gone", "expr"), r"no video 'gone'"),
        (read_labels, ("talk", "exp"), r"'talk' has no labels of 'exp' for subject 'main'. It has: label/au/talk/main"),
        (read_labels, ("talk", "expr", "left"), r"for subject 'left'. It has: .*label/expr/talk/main"),
        (read_predictions, ("talk", "lstm"), r"no prediction by 'lstm' for .* It has: prediction/au/talk/main"),
        (read_predictions, ("talk", "expr"), r"It has: prediction/au/talk/main, prediction/mlp/talk/main"),
        (read_frames, ("talk", "lstm"), r"'talk' has nothing by 'lstm'. It has: .*prediction/mlp/talk/main"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(store, read, asked, said):
    with pytest.raises(NotFoundError, match=said):
        read(store, *asked)


def test_a_video_without_labels_says_that_it_has_none(store):
    with pytest.raises(NotFoundError, match=r"no labels of 'expr' for subject 'main'. It has: none"):
        read_labels(commit(store, source("mute", FRAMES)), "mute", "expr")


def test_a_table_of_frames_has_predictions_beside_labels_as_pandas_counts_them(store):
    pd = pytest.importorskip("pandas")
    frames = read_frames(store, "talk", "mlp", "label/expr", "label/va")
    assert frames.columns[:5] == ["video", "frame", "time_s", "subject", "present"]
    assert frames["present"].to_list() == [frame not in GAPS for frame in range(FRAMES)]
    table = frames.to_pandas()
    labels = pd.Series(CLASSES[:, 0]).map(dict(enumerate(EXPR.names)))
    predicted = pd.Series(RAW.argmax(1)).map(dict(enumerate(EXPR.names))).where(~pd.Series(range(FRAMES)).isin(GAPS))
    assert table["label.expr"].isna().tolist() == labels.isna().tolist()
    both = labels.notna() & predicted.notna()
    assert (table["mlp.prediction"] == table["label.expr"])[both].sum() == (labels == predicted)[both].sum()
    assert pd.crosstab(table["label.expr"], table["mlp.prediction"]).equals(
        pd.crosstab(labels.rename("label.expr"), predicted.rename("mlp.prediction"))
    )
    np.testing.assert_array_equal(table[["label.va.valence", "label.va.arousal"]], VALUES.astype(np.float32))
    np.testing.assert_array_equal(table["time_s"], np.arange(FRAMES) * 0.04)


def test_units_are_whole_numbers_and_cells_are_null_and_never_zero_where_nothing_is(store):
    frames = read_frames(store, "talk")
    units = frames.select(f"label.au.{name}" for name in AU.names)
    assert set(units.dtypes) == {pl.Int8}
    np.testing.assert_array_equal(units.to_numpy(), UNITS)
    logits = frames.select(pl.col("^toy\\.logit_.*$"))
    assert [name.removeprefix("toy.logit_") for name in logits.columns] == list(AFFECTNET_8.names)
    assert logits.filter(~frames["present"]).null_count().row(0) == (len(GAPS),) * 8
    assert not frames.select(pl.col(pl.Float32).is_nan().any()).to_series(0).any()
    assert "toy.embedding" not in frames.columns


def test_an_embedding_is_a_column_where_it_is_asked_for(store):
    found = read_frames(store, "talk", "toy", embeddings=True)["toy.embedding"]
    np.testing.assert_array_equal(found.to_numpy(), read_video(store, "talk", "toy").embedding)
    assert found.null_count() == len(GAPS)


def test_every_subject_has_its_rows_and_sound_and_labels_of_another_are_not_theirs(store):
    two = commit(store, face("left"), label("talk", EXPR, CLASSES, subject="left"))
    frames = read_frames(two, "talk", "toy", "mlp", "label/expr")
    assert frames.group_by("subject", maintain_order=True).len().rows() == [("left", FRAMES), ("main", FRAMES)]
    assert frames.filter(subject="left")["mlp.prediction"].null_count() == FRAMES
    assert read_frames(two, "talk", "mlp", subject="main").equals(read_frames(two, "talk", "mlp"))
    with pytest.raises(NotFoundError, match=r"'talk' has no subject 'right'. It has: left, main"):
        read_frames(two, "talk", subject="right")


def test_columns_of_two_families_with_one_name_are_told_apart(store):
    both = commit(store, prediction("talk", EXPR, RAW, "toy"))
    columns = read_frames(both, "talk", "toy").columns
    assert {"prediction/toy.prediction", "visual/toy.logit_Anger"} <= set(columns)
    assert not any(column.startswith("toy.") for column in columns)


def test_the_exported_table_and_the_table_in_memory_have_the_same_cells(store, tmp_path):
    files = export(store, store.records("visual", "label"), tmp_path / "out", "parquet")
    tables = {path.parent.name + "/" + path.stem: pl.read_parquet(path) for path in files}
    frames = read_frames(store, "talk", embeddings=True)
    exported = tables["visual/toy"].drop("video", "subject", "frame", "time_s")
    assert frames.select(f"toy.{name}" for name in exported.columns).rows() == exported.rows()
    assert frames["label.expr"].to_list() == tables["label/expr"]["expr"].to_list()


def test_everything_is_shown_in_one_short_line(store):
    shown = [store, store.records("visual")[0], read_video(store, "talk", "toy"), read_clock(store, "talk")]
    shown += [read_labels(store, "talk", "au"), read_predictions(store, "talk", "mlp")]
    for one in shown:
        assert type(one).__name__ in repr(one)
        assert len(repr(one).splitlines()) == 1
        assert len(repr(one)) < 200
    assert eval(repr(store), {"FeatureStore": FeatureStore}).snapshot == store.snapshot
    assert "12 frames × 12" in repr(read_labels(store, "talk", "au"))
    empty = commit(store, source("none", 0), label("none", EXPR, np.empty((0, 1))))
    assert "no time" in repr(read_labels(empty, "none", "expr"))


_WITHOUT_PANDAS = """
import sys
class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import affstore
print(affstore.read_frames(affstore.FeatureStore(sys.argv[1]), "talk", subject="main").height)
"""


def test_frames_are_read_where_there_is_no_pandas(store):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PANDAS, store.url], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(FRAMES)
