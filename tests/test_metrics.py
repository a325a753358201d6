"""Metrics against scikit-learn and against their definitions in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from affstore.models.evaluation.metrics import accuracy, au_f1, ccc, chance, per_class_f1, score
from affstore.models.evaluation.thresholds import DEFAULT, GRID, best_thresholds, decide
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import AU

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 8), seeds)
def test_macro_f1_is_scikit_learns_over_all_eight_classes(frames, used, seed):
    random = np.random.default_rng(seed)
    truth, guess = random.integers(0, used, (2, frames, 1))
    known = random.random((frames, 1)) < 0.8
    if not known.any():
        known[0] = True
    every = {"labels": range(8), "zero_division": 0.0}
    assert score("expr", guess, truth, known).value == pytest.approx(
        f1_score(truth[known], guess[known], average="macro", **every), abs=1e-12
    )
    np.testing.assert_allclose(
        per_class_f1(guess, truth, known), f1_score(truth[known], guess[known], average=None, **every), atol=1e-12
    )
    assert accuracy(guess, truth, known) == pytest.approx(accuracy_score(truth[known], guess[known]), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.floats(0, 1), seeds)
def test_au_f1_is_the_binary_f1_of_each_column_over_its_known_frames(frames, share, seed):
    random = np.random.default_rng(seed)
    truth, guess = (random.random((2, frames, 12)) < share).astype(np.int8)
    known = random.random((frames, 12)) < 0.7
    truth[~known] = -1
    expected = [
        f1_score(truth[known[:, k], k], guess[known[:, k], k], zero_division=0.0) if known[:, k].any() else 0.0
        for k in range(12)
    ]
    np.testing.assert_allclose(au_f1(guess, truth, known), expected, atol=1e-12)


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(-1e3, 1e3), st.floats(1e-2, 1e2), seeds)
def test_ccc_is_its_definition_with_population_variance(frames, offset, scale, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=frames)
    y = 0.5 * x + random.normal(size=frames) * scale + offset
    means, spread = x.mean() - y.mean(), x.std(ddof=0) ** 2 + y.std(ddof=0) ** 2
    rho = np.corrcoef(x, y)[0, 1]
    assert ccc(x, y) == pytest.approx(2 * rho * x.std() * y.std() / (spread + means**2), rel=1e-9, abs=1e-12)
    assert ccc(x, y) == pytest.approx(ccc(y, x), rel=1e-12, abs=1e-15)
    assert ccc(x, x) == pytest.approx(1, rel=1e-12)
    assert abs(ccc(x, y)) <= 1 + 1e-12


def test_ccc_is_exact_far_from_zero():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = np.array([0.0, 1.0, 3.0, 2.0])
    assert ccc(x + 1e9, y + 1e9) == pytest.approx(ccc(x, y), rel=1e-12)
    assert ccc(x, y) == pytest.approx(0.8)


def test_ccc_of_a_constant_is_exactly_zero():
    truth = np.random.default_rng(0).normal(size=1001)
    assert ccc(np.full(1001, 0.1), truth) == 0.0
    assert ccc(np.full(1001, 0.1), np.full(1001, 0.1)) == 0.0
    assert ccc(truth, truth, np.zeros(1001, bool)) == 0.0


def test_the_mean_ccc_reads_all_frames_together_and_only_known_cells():
    random = np.random.default_rng(1)
    truth, guess = random.uniform(-1, 1, (2, 300, 2)).astype(np.float32)
    known = random.random((300, 2)) < 0.5
    alone = [ccc(guess[known[:, k], k], truth[known[:, k], k]) for k in (0, 1)]
    spoiled = np.where(known, guess, np.float32(77))
    found = score("va", spoiled, np.where(known, truth, np.float32(-5)), known)
    assert found.value == pytest.approx(np.mean(alone), rel=1e-12)


def test_a_perfect_prediction_scores_one_and_details_explain_the_headline():
    random = np.random.default_rng(2)
    classes = random.permutation(np.arange(64) % 8)[:, None].astype(np.int8)
    units = (random.random((64, 12)) < 0.5).astype(np.int8)
    affect = random.uniform(-1, 1, (64, 2)).astype(np.float32)
    for task, value, headline in (("expr", classes, "macro F1"), ("au", units, "mean F1"), ("va", affect, "mean CCC")):
        scores = score(task, value, value)
        assert (scores.headline, scores.frames) == (headline, 64)
        assert scores.value == pytest.approx(1.0)
        parts = [part for name, part in scores.details.items() if name != "accuracy"]
        assert np.mean(parts) == pytest.approx(scores.value)
    assert score("expr", classes, classes).details["accuracy"] == 1.0
    assert list(score("au", units, units).details)[3] == "F1 AU6"


def test_classes_that_are_nowhere_count_zero():
    truth = np.array([[0], [0], [1], [1]])
    assert score("expr", truth, truth).value == pytest.approx(2 / 8)


def test_frames_are_those_with_anything_known():
    known = np.zeros((5, 12), bool)
    known[1, 3] = known[4] = True
    ones = np.ones((5, 12), np.int8)
    assert score("au", ones, ones, known).frames == 2


def test_what_cannot_be_scored_is_refused():
    classes = np.zeros((3, 1), np.int64)
    with pytest.raises(AnnotationError, match="no frame to score"):
        score("expr", classes, classes, np.zeros((3, 1), bool))
    with pytest.raises(SpecError, match="one shape"):
        score("expr", np.zeros((3, 8)), classes)
    with pytest.raises(SpecError, match="classes from 0 to 7"):
        score("expr", classes + 8, classes)
    with pytest.raises(SpecError, match="classes from 0 to 7"):
        score("expr", np.full((3, 1), np.nan), classes)
    with pytest.raises(SpecError, match="0 and 1"):
        score("au", np.full((3, 12), 0.4), np.ones((3, 12)))
    with pytest.raises(SpecError, match="finite"):
        score("va", np.array([[np.nan, 0.0]]), np.zeros((1, 2)))


def test_chance_in_classes_is_the_training_majority():
    train = np.array([[3], [3], [5], [-1]], np.int8)
    value = np.array([[3], [3], [3], [1], [-1]], np.int8)
    scores = chance("expr", value, value >= 0, train, train >= 0)
    assert scores.details["accuracy"] == 0.75
    assert scores.value == pytest.approx((2 * 3 / 7) / 8)


def test_chance_in_action_units_is_always_present():
    random = np.random.default_rng(3)
    value = (random.random((200, 12)) < 0.3).astype(np.int8)
    known = np.ones_like(value, bool)
    prevalence = value.mean(axis=0)
    scores = chance("au", value, known, value, known)
    np.testing.assert_allclose(list(scores.details.values()), 2 * prevalence / (1 + prevalence))


def test_chance_in_valence_and_arousal_is_zero():
    random = np.random.default_rng(4)
    train, value = random.uniform(-1, 1, (2, 101, 2)).astype(np.float32)
    known = random.random((101, 2)) < 0.8
    scores = chance("va", value, known, train, known)
    assert (scores.value, set(scores.details.values())) == (0.0, {0.0})
    with pytest.raises(AnnotationError, match="no training label"):
        chance("va", value, known, train, np.zeros_like(known))


def brute_force(probability, value, known):
    """The first threshold of the grid with the best F1 by scikit-learn, column by column."""
    best = []
    for k in range(value.shape[1]):
        rows = known[:, k]
        scores = [
            f1_score(value[rows, k], probability[rows, k] >= probability.dtype.type(t), zero_division=0.0)
            if rows.any()
            else 0.0
            for t in GRID
        ]
        best.append(GRID[int(np.argmax(np.round(scores, 12)))])
    return np.array(best)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.booleans(), seeds)
def test_thresholds_equal_a_search_by_brute_force(frames, on_the_grid, seed):
    random = np.random.default_rng(seed)
    value = (random.random((frames, 3)) < 0.4).astype(np.int8)
    probability = random.random((frames, 3)).astype(np.float32)
    if on_the_grid:  # scores that lie exactly on thresholds
        probability = random.choice(GRID, (frames, 3)).astype(np.float32)
    known = random.random((frames, 3)) < 0.8
    value[~known] = -1
    np.testing.assert_array_equal(best_thresholds(probability, value, known), brute_force(probability, value, known))


def test_of_equal_thresholds_the_first_is_taken():
    value = np.array([[1], [0]], np.int8)
    known = np.ones_like(value, bool)
    assert best_thresholds(np.array([[0.75], [0.25]], np.float32), value, known) == pytest.approx([0.3])
    assert best_thresholds(np.array([[0.5], [0.5]], np.float32), value * 0, known) == pytest.approx([0.1])


def test_planted_thresholds_are_found_and_decide_with_them_is_right():
    random = np.random.default_rng(5)
    planted = random.choice(GRID, 12)
    probability = random.random((5000, 12)).astype(np.float32)
    value = (probability >= planted.astype(np.float32)).astype(np.int8)
    found = best_thresholds(probability, value, np.ones_like(value, bool))
    np.testing.assert_array_equal(found, planted)
    decided = decide("au", probability, found)
    assert decided.dtype == np.int8
    np.testing.assert_array_equal(decided, value)
    np.testing.assert_array_equal(decide("au", probability), probability >= DEFAULT)


def test_decisions_have_the_shape_of_labels():
    scores = np.eye(8, dtype=np.float32)[[3, 0, 7]]
    assert decide("expr", scores).tolist() == [[3], [0], [7]]
    affect = np.array([[0.1, -0.2]], np.float32)
    assert decide("va", affect) is affect
    with pytest.raises(SpecError, match=r"\(frames, 12\)"):
        decide("au", scores)
    with pytest.raises(SpecError, match="NaN"):
        decide("va", affect * np.nan)
    with pytest.raises(SpecError, match="only units that are present"):
        decide("expr", scores, np.full(8, 0.5))


def test_thresholds_need_labels_of_their_scores():
    scores = np.zeros((4, len(AU)), np.float32)
    with pytest.raises(SpecError, match="one shape"):
        best_thresholds(scores, np.zeros((4, 1)), np.ones((4, 1), bool))
    with pytest.raises(SpecError, match="labels 0 and 1"):
        best_thresholds(scores, np.full((4, 12), -1), np.ones((4, 12), bool))
