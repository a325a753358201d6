"""LightAutoML's head: the real thing on planted rules, and bytes that must not be believed."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.evaluation.metrics import accuracy
from affstore.models.heads.automl import head as automl
from affstore.models.heads.automl.head import FittedAutoMl, fit_automl, predict_automl
from affstore.models.heads.automl.plans import plans_of
from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.examples import Examples
from affstore.store.contract.errors import (
    AnnotationError,
    ArchitectureError,
    HeadNotFittedError,
    SpecError,
    UnsafePickleError,
)
from affstore.store.contract.labels import space_of
from tests.factories import mean_ccc

WIDTH = 10
CLASSES = np.array([7, 0, 2, 5])
RULE = np.random.default_rng(99).normal(size=(WIDTH, 12))
EXPR = AutoMlSpec("e", "expr", algorithms=("linear_l2", "lgb"), timeout_s=300, cpus=1, folds=2)
AU = replace(EXPR, name="a", task="au", algorithms=("linear_l2", "lgb"))
VA = replace(EXPR, name="v", task="va", algorithms=("linear_l2",), uses_validation=True)
SPECS = {
    "expr": EXPR,
    "expr_again": EXPR,
    "au_joint": AU,
    "au_each": replace(AU, columns="one_each", algorithms=("linear_l2", "lgb", "cb"), timeout_s=1, patience=200),
    "va_joint": VA,
    "va_each": replace(VA, columns="one_each", uses_validation=False),
}


def test_a_space_of_one_unit_is_searched_as_one_output_with_every_algorithm():
    pain = space_of("pain", {"kind": "units", "names": ["pain"]})
    assert AutoMlSpec("p", pain).tried == AutoMlSpec("p", pain).algorithms
    assert "lgb" not in AutoMlSpec("a", "au").tried


def planted(task: str, rows: int = 300, seed: int = 0) -> Examples:
    """Features whose label is a known rule; of the eight classes four, and frequent ones are not the first ones."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, WIDTH)).astype(np.float32)
    if task == "expr":
        codes = random.choice(4, rows, p=[0.15, 0.2, 0.25, 0.4])
        x += 2 * RULE.T[codes].astype(np.float32)
        return Examples(x, CLASSES[codes][:, None].astype(np.int8))
    if task == "va":
        return Examples(x, np.tanh(x @ RULE[:, :2] / 8).astype(np.float32))
    y = (x @ RULE > 0).astype(np.int8)
    y[:, 3:] = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    y[0, 3] = 1  # one frame is too few for two folds
    return Examples(x, y)


class Searches(dict[str, FittedAutoMl]):
    """The heads of SPECS, each fitted when it is first asked for: every search takes many seconds."""

    def __missing__(self, name: str) -> FittedAutoMl:
        task = SPECS[name].task
        self[name] = fit_automl(SPECS[name], planted(task), planted(task, seed=1))
        return self[name]


@pytest.fixture(scope="module")
def fitted() -> Searches:
    return Searches()


@pytest.mark.slow
def test_each_task_reaches_what_the_rule_allows(fitted):
    truth = {task: planted(task, seed=2) for task in ("expr", "au", "va")}
    said = {name: predict_automl(fitted[name], truth[spec.task].x) for name, spec in SPECS.items()}
    assert all(values.dtype == np.float32 and values.shape[1] == SPECS[name].outputs for name, values in said.items())
    assert accuracy(said["expr"].argmax(axis=1), truth["expr"].y[:, 0]) > 0.97
    for name in ("au_joint", "au_each"):
        assert ((said[name][:, :3] > 0.5) == truth["au"].y[:, :3]).mean() > 0.93, name
    for name in ("va_joint", "va_each"):
        assert mean_ccc(said[name], truth["va"].y) > 0.9, name


def test_classes_that_training_lacks_get_no_probability_and_the_others_keep_their_columns(fitted):
    values = predict_automl(fitted["expr"], planted("expr", seed=2).x)
    assert set(np.flatnonzero(values.any(axis=0))) == set(CLASSES)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_an_action_unit_with_too_few_frames_on_one_side_is_given_the_other(fitted):
    for name in ("au_joint", "au_each"):
        assert list(fitted[name].report["constant"].values()) == [0, 1, 0, 1, 0, 1, 0, 1, 0]
        assert (predict_automl(fitted[name], planted("au", 5).x)[:, 3:] == [0, 1, 0, 1, 0, 1, 0, 1, 0]).all()


@pytest.mark.slow
def test_the_same_spec_and_examples_give_the_same_predictions(fitted):
    x = planted("expr", seed=2).x
    assert not fitted["expr"].report["depends_on_speed"]
    np.testing.assert_array_equal(predict_automl(fitted["expr"], x), predict_automl(fitted["expr_again"], x))


def test_the_report_says_what_was_tried_and_what_survived(fitted):
    report = json.loads(json.dumps(fitted["expr"].report))
    (search,) = report["searches"]
    assert [one["model"].rpartition("_")[2] for one in search["tried"]] == ["LinearL2", "LightGBM"]
    assert sum(one["weight"] for one in search["tried"]) == pytest.approx(1)
    assert all(one["covered"] == 1 for one in search["tried"])
    assert "averaged models" in search["pipeline"]
    assert report["packages"]["lightautoml"] == "0.4.2"
    assert not report["cut_by_time"]
    assert report["bytes"] == fitted["expr"].model.size


@pytest.mark.slow
def test_the_report_counts_searches_and_names_what_they_could_not_use(fitted):
    assert len(fitted["va_each"].report["searches"]) == 2
    assert fitted["va_joint"].report["searches"][0]["validation_frames"] == 300
    assert fitted["au_joint"].report["not_for_this_search"] == ["lgb"]


@pytest.mark.slow
def test_what_time_cut_short_is_used_and_said(fitted):
    report = fitted["au_each"].report
    assert report["cut_by_time"]
    assert report["depends_on_speed"]
    assert any(one["not_finished"] or min(m["covered"] for m in one["tried"]) < 1 for one in report["searches"])


@pytest.mark.slow
def test_no_model_when_time_is_over_is_a_clear_error():
    with pytest.raises(
        HeadNotFittedError, match=r"no model of the task 'va' after 1 s.*more time \(timeout_s, patience"
    ):
        fit_automl(replace(VA, timeout_s=1, patience=1, algorithms=("cb",), uses_validation=False), planted("va", 5000))


def test_nothing_of_this_process_changes_and_nothing_is_printed(fitted, capfd):
    import torch

    threads = torch.get_num_threads()
    head = fitted["expr"]
    capfd.readouterr()
    automl._READ.clear()
    predict_automl(head, planted("expr", 5).x)
    assert capfd.readouterr() == ("", "")
    assert torch.get_num_threads() == threads


def test_rows_that_are_not_finite_are_not_guessed(fitted):
    x = planted("expr", 4).x
    x[1, 3] = np.nan
    values = predict_automl(fitted["expr"], x)
    assert np.isnan(values[1]).all()
    np.testing.assert_array_equal(values[[0, 2, 3]], predict_automl(fitted["expr"], x[[0, 2, 3]]))
    assert predict_automl(fitted["expr"], x[:0]).shape == (0, 8)
    with pytest.raises(SpecError, match=r"takes features \(rows, 10\)"):
        predict_automl(fitted["expr"], x[:, :3])


class Hostile:
    """Unpickled, calls whatever it was told to."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def named(module: str, name: str) -> bytes:
    """A pickle that asks for a name and calls it with nothing."""
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(one)]) + one.encode() for one in (module, name)) + b"\x93)R."


def with_model(fitted: FittedAutoMl, held: bytes) -> FittedAutoMl:
    return replace(fitted, model=np.frombuffer(held, np.uint8))


def test_a_hostile_model_is_refused_without_executing_it(fitted, tmp_path):
    mark = tmp_path / "executed"
    for function, *arguments in ((exec, f"open({str(mark)!r}, 'w')"), (open, str(mark), "w"), (getattr, "", "join")):
        with pytest.raises(UnsafePickleError, match=f"asks for '.*{function.__name__}'"):
            predict_automl(with_model(fitted["expr"], pickle.dumps([Hostile(function, *arguments)])), planted("expr").x)
    assert not mark.exists()


def test_a_module_that_no_model_holds_is_not_even_imported(fitted, tmp_path, monkeypatch):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsafePickleError, match=r"hostile_module\.thing"):
        predict_automl(with_model(fitted["expr"], named("hostile_module", "thing")), planted("expr").x)
    assert "hostile_module" not in sys.modules


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.storage", "_load_from_bytes"),  # a pickle within the pickle
        ("lightautoml.reader.base", "DataFrame"),  # imported there, not defined
        ("lightautoml.reader.base", "Reader.from_reader"),
        ("lightautoml.reader.base", "set_sklearn_folds"),
        ("lightautoml.automl.presets.tabular_presets", "TabularAutoML"),
        ("numpy", "memmap"),
        ("numpy", "ndarray.tofile"),
        ("functools", "partial"),
        ("joblib", "load"),
        ("pandas", "read_pickle"),
    ],
)
def test_a_name_that_no_model_holds_is_refused(fitted, module, name):
    with pytest.raises(UnsafePickleError, match="Nothing was executed"):
        predict_automl(with_model(fitted["expr"], named(module, name)), planted("expr", 2).x)


def test_damaged_bytes_are_said_to_be_damaged(fitted):
    held = fitted["expr"].model.tobytes()
    for damaged in (held[: len(held) // 2], b"", b"model", pickle.dumps([1])):
        with pytest.raises(ArchitectureError, match="damaged, or was fitted with other versions"):
            predict_automl(with_model(fitted["expr"], damaged), planted("expr", 2).x)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install -c requirements\.lock -e '\.\[automl\]'"):
        fit_automl(EXPR, planted("expr"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timeout_s": 0}, "1 or more"),
        ({"algorithms": ()}, "at least one"),
        ({"folds": 1}, "folds 2"),
        ({"patience": 0.5}, "patience must be 1 or more"),
        ({"task": "au", "algorithms": ("lgb",)}, "joint search over the task 'au' can try linear_l2"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(SpecError, match=said):
        replace(EXPR, **changes)


def test_examples_that_nothing_can_be_learnt_from_are_refused():
    good = planted("expr")
    with pytest.raises(AnnotationError, match="same label"):
        fit_automl(EXPR, replace(good, y=np.full_like(good.y, 3)))
    lone = np.full_like(good.y, 3)
    lone[0] = 1
    with pytest.raises(AnnotationError, match="less than two classes"):
        fit_automl(EXPR, replace(good, y=lone))
    with pytest.raises(SpecError, match="NaN or infinity"):
        fit_automl(EXPR, replace(good, x=np.full_like(good.x, np.nan)))
    with pytest.raises(AnnotationError, match="no output of the task 'au' has 2"):
        fit_automl(AU, Examples(good.x, np.eye(len(good), 12, dtype=np.int8)))
    with pytest.raises(SpecError, match="validates on validation frames, and there are none"):
        fit_automl(VA, planted("va"))
    with pytest.raises(AnnotationError, match="no validation frame has a class"):
        fit_automl(replace(EXPR, uses_validation=True), good, replace(good, y=np.full_like(good.y, 3)))


@given(st.lists(st.integers(0, 7), min_size=2, max_size=60).filter(lambda y: sum(y.count(i) > 1 for i in set(y)) > 1))
def test_classes_are_numbered_on_end_and_lone_ones_left_out(classes):
    y = np.array(classes, np.int8)
    (plan,), constants, lone = plans_of(EXPR, Examples(np.zeros((len(y), 1), np.float32), y[:, None]), None)
    kept = np.array([one for one in classes if classes.count(one) > 1])
    np.testing.assert_array_equal(np.array(plan.columns)[plan.train.y[:, 0]], kept)
    assert list(np.unique(plan.train.y)) == list(range(len(plan.columns)))
    assert constants == {}
    assert set(lone) == set(classes) - set(plan.columns)
