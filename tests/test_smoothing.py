"""Gaps and smoothing against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.postprocess import box_smooth, fill_gaps
from affstore.store.contract.errors import SpecError

seeds = st.integers(0, 2**32 - 1)


def smooth_by_loop(values, delta):
    return np.array(
        [values[max(i - delta, 0) : i + delta + 1].astype(np.float64).mean(axis=0) for i in range(len(values))]
    )


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(0, 120), st.floats(-6, 6), seeds)
def test_smoothing_is_the_mean_of_the_frames_that_exist(frames, delta, magnitude, seed):
    random = np.random.default_rng(seed)
    values = (random.normal(size=(frames, 3)) * 10.0**magnitude).astype(np.float32)
    expected = smooth_by_loop(values, delta)
    np.testing.assert_allclose(box_smooth(values, delta), expected, rtol=1e-6, atol=1e-6 * 10.0**magnitude)


def test_one_huge_frame_does_not_drown_the_others():
    values = np.full((60, 1), 1e-6, np.float32)
    values[20] = 1e30
    smoothed = box_smooth(values, 3)
    outside = np.r_[0:17, 24:60]
    np.testing.assert_allclose(smoothed[outside], 1e-6, rtol=1e-6)


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(0, 12), st.data(), seeds)
def test_a_frame_depends_on_its_own_window_alone(frames, delta, data, seed):
    values = np.random.default_rng(seed).normal(size=(frames, 2)).astype(np.float32)
    changed = data.draw(st.integers(0, frames - 1))
    other = values.copy()
    other[changed] = 1e6
    far = np.abs(np.arange(frames) - changed) > delta
    np.testing.assert_array_equal(box_smooth(values, delta)[far], box_smooth(other, delta)[far])


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 40), st.floats(-1e6, 1e6, width=32))
def test_a_constant_stays_what_it_is(frames, delta, level):
    values = np.full((frames, 2), level, np.float32)
    np.testing.assert_array_equal(box_smooth(values, delta), values)


def test_delta_zero_is_identity_and_a_copy():
    values = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    same = box_smooth(values, 0)
    np.testing.assert_array_equal(same, values)
    assert not np.shares_memory(same, values)


def test_a_window_of_fifty_on_either_side_is_a_hundred_and_one_frames():
    pulse = np.zeros((400, 1), np.float32)
    pulse[200] = 101
    assert np.flatnonzero(box_smooth(pulse, 50)).tolist() == list(range(150, 251))


def test_what_cannot_be_smoothed_is_refused():
    values = np.zeros((4, 2), np.float32)
    with pytest.raises(SpecError, match="must be 0 or more"):
        box_smooth(values, -1)
    values[2] = np.nan
    with pytest.raises(SpecError, match="Frame 2 holds NaN"):
        box_smooth(values, 1)


def fill_by_loop(values, present):
    at = np.flatnonzero(present)
    filled = []
    for i in range(len(values)):
        before, after = at[at <= i], at[at >= i]
        if not len(before) or not len(after):
            filled.append(values[at[0] if not len(before) else at[-1]].astype(np.float64))
            continue
        left, right = before[-1], after[0]
        share = 0 if left == right else (i - left) / (right - left)
        filled.append((1 - share) * values[left].astype(np.float64) + share * values[right].astype(np.float64))
    return np.array(filled)


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), seeds)
def test_gaps_are_straight_lines(frames, share, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(frames, 3)).astype(np.float32)
    present = random.random(frames) < share
    present[random.integers(frames)] = True
    expected = fill_by_loop(values, present)
    values[~present] = np.nan  # what stands in a gap must not matter
    filled = fill_gaps(values, present)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[present], values[present])
    np.testing.assert_allclose(filled, expected, rtol=1e-6, atol=1e-6)


def test_the_nearer_neighbour_weighs_more():
    values = np.array([[0.0], [np.nan], [np.nan], [np.nan], [8.0]], np.float32)
    present = np.array([True, False, False, False, True])
    assert fill_gaps(values, present).ravel().tolist() == [0, 2, 4, 6, 8]


def test_before_the_first_and_after_the_last_face_their_rows_are_repeated():
    values = np.array([[9.0], [1.0], [3.0], [9.0], [9.0]], np.float32)
    present = np.array([False, True, True, False, False])
    assert fill_gaps(values, present).ravel().tolist() == [1, 1, 3, 3, 3]


def test_a_video_without_any_face_takes_the_fallback():
    values, nobody = np.full((3, 2), np.nan, np.float32), np.zeros(3, bool)
    row = np.array([0.25, 0.75], np.float32)
    assert fill_gaps(values, nobody, row).tolist() == [[0.25, 0.75]] * 3
    with pytest.raises(SpecError, match="a fallback row of 2 numbers"):
        fill_gaps(values, nobody)
    with pytest.raises(SpecError, match="a fallback row of 2 numbers"):
        fill_gaps(values, nobody, row[:1])
    assert fill_gaps(values[:0], nobody[:0]).shape == (0, 2)


def test_a_present_row_must_be_finite_and_flags_must_fit():
    values = np.array([[0.0], [np.inf]], np.float32)
    with pytest.raises(SpecError, match="Frame 1 holds"):
        fill_gaps(values, np.array([True, True]))
    with pytest.raises(SpecError, match="a flag a frame"):
        fill_gaps(values, np.array([True]))
