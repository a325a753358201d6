"""Columns of OpenFace and py-feat from label spaces of one's own: what a space is decides, not what it is called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.report.analysis_charts import subject_charts
from affstore.store.contract.keys import plain
from affstore.store.contract.labels import AU, SpaceKind, space_of
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.label_spaces import space_of_record
from affstore.store.engine.reading import read_clock
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table
from affstore.tasks.analysis.summary import measures
from tests.factories import commit, decisions_of, labels_of, source
from tests.test_analyze import FRAMES, person

AUDIENCE = space_of("audience", {"kind": "classes", "names": ["asleep", "bored", "awake"]})
FACS = space_of("facs", {"kind": "units", "names": ["AU12", "au_4", "AU06", "nod"], "range": [0, 5]})
COARSE = space_of("coarse", {"kind": "units", "names": ["AU12", "AU4"], "range": [0, 2]})
GESTURES = space_of("gestures", {"kind": "units", "names": ["nod", "shrug"]})
LEVELS = np.stack([np.arange(FRAMES) % 6, np.arange(FRAMES) % 3, np.zeros(FRAMES), np.ones(FRAMES)], 1)


def table_of(tmp_path, exporter, *artifacts):
    """The table of one person, as the command line writes it from a store with these artifacts."""
    url = str(tmp_path / "store")
    there = np.arange(FRAMES) < FRAMES - 5
    commit(FeatureStore.create(url), source("one", FRAMES), *person("one", "main", there), *artifacts)
    assert call(["export", str(tmp_path / "out"), "--store", url, "--to", exporter]) == 0
    return pd.read_csv(tmp_path / "out" / "one.csv")


def units_in(table):
    return [name for name in table.columns if name.startswith(("AU", "nod", "asleep"))]


@pytest.mark.parametrize("exporter", ["openface", "pyfeat"])
def test_a_class_space_called_like_units_is_no_unit(tmp_path, exporter):
    table = table_of(tmp_path, exporter, decisions_of(AUDIENCE, "audience-mlp", "one", np.arange(FRAMES) % 3))
    assert units_in(table) == []
    assert len(table) == FRAMES


def test_units_that_are_no_action_units_are_no_columns(tmp_path):
    assert units_in(table_of(tmp_path, "openface", decisions_of(GESTURES, "g", "one", LEVELS[:, :2] > 1))) == []


def test_intensities_from_0_to_5_are_openface_s_r_columns(tmp_path):
    known = np.ones((FRAMES, 4), bool)
    known[7, 0] = False
    present = np.eye(12)[np.arange(FRAMES) % 12]
    table = table_of(
        tmp_path, "openface", labels_of(FACS, "one", LEVELS, known), decisions_of(AU, "au-mlp", "one", present)
    )
    assert units_in(table) == ["AU04_r", "AU06_r", "AU12_r", *(f"AU{int(name[2:]):02d}_c" for name in AU.names)]
    wanted = LEVELS[:, 0].copy()
    wanted[7] = np.nan
    np.testing.assert_array_equal(table.AU12_r, wanted)
    np.testing.assert_array_equal(table.AU04_r, LEVELS[:, 1])
    np.testing.assert_array_equal(table.AU12_c, present[:, AU.names.index("AU12")])


def test_what_is_predicted_goes_before_what_is_annotated(tmp_path):
    predicted = decisions_of(FACS, "facs-mlp", "one", LEVELS[::-1])
    table = table_of(tmp_path, "openface", labels_of(FACS, "one", LEVELS), predicted)
    np.testing.assert_array_equal(table.AU12_r, LEVELS[::-1, 0])


def test_intensities_of_another_range_are_no_column_of_openface(tmp_path):
    levels = np.arange(2 * FRAMES).reshape(FRAMES, 2) % 3
    assert units_in(table_of(tmp_path, "openface", labels_of(COARSE, "one", levels))) == []


def test_py_feat_has_one_column_an_action_unit_from_0_to_1(tmp_path):
    shown = np.zeros((FRAMES, 12))
    shown[:9, AU.names.index("AU12")] = 1
    table = table_of(tmp_path, "pyfeat", labels_of(FACS, "one", LEVELS), decisions_of(AU, "au-mlp", "one", shown))
    np.testing.assert_array_equal(table.AU12, shown[:, AU.names.index("AU12")])
    assert "AU05" not in table
    alone = table_of(tmp_path / "alone", "pyfeat", labels_of(FACS, "one", LEVELS))
    np.testing.assert_allclose(alone.AU12, LEVELS[:, 0] / 5, rtol=1e-6)
    np.testing.assert_allclose(alone.AU04, LEVELS[:, 1] / 5, rtol=1e-6)


def test_the_space_of_a_prediction_is_found_in_its_head_or_told_from_its_arrays(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("one", FRAMES))
    made = {"head": {"head": {"name": "facs-mlp", "task": plain(FACS)}, "inputs": []}, "scores": None}
    facts = {"task": "facs", "labels": list(FACS.names), **made}
    head = Artifact(Address("head", "facs-mlp"), {"h": 1}, {"parameter_w": np.ones(2, np.float32)}, facts)
    store = commit(store, head)
    parents = (store.get(head.address).as_parent(),)
    of_head = decisions_of(FACS, "facs-mlp", "one", LEVELS)
    for one, of in ((of_head, parents), (decisions_of(FACS, "orphan", "one", LEVELS), ())):
        store = commit(store, Artifact(one.address, one.recipe, one.arrays, one.attributes, of))
    parents = (store.get(of_head.address).as_parent(),)
    one = decisions_of(FACS, "blend", "one", LEVELS)
    store = commit(store, Artifact(one.address, one.recipe, one.arrays, one.attributes, parents))
    found = {r.address.producer: space_of_record(store, r) for r in store.records("prediction")}
    assert found["facs-mlp"] == found["blend"] == FACS
    assert (found["orphan"].kind, found["orphan"].high) == (SpaceKind.INTENSITIES, 5)


@pytest.mark.parametrize("name", ["p", "voice", "box", "AUs"])
def test_columns_of_an_own_space_are_no_other_s_whatever_it_is_called(tmp_path, name):
    space = space_of(name, {"kind": "classes", "names": ["calm", "my_prob"]})
    url = str(tmp_path / "store")
    predicted = decisions_of(space, "mine", "one", np.arange(FRAMES) % 2)
    store = commit(FeatureStore.create(url), source("one", FRAMES), predicted)
    table = frame_table(store, "one", AnalysisNetworks(heads=("mine",)))
    assert {f"{name}_p_calm", f"{name}_p_my_prob"} <= {one.measure for one in measures(table)}
    drawn = subject_charts(table, read_clock(store, "one"), [])
    charts = {chart.title: [curve.name for curve in chart.curves] for chart in drawn}
    assert charts == {"Face": ["present"], f"{name}: probability": ["calm", "my_prob"]}
