"""Timestamps that leap, repeat or are missing become instants that increase."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.media.instants import UNKNOWN, repair_stamps

STEP, JUMP = 40, 1000
REGULAR = np.arange(50, dtype=np.int64) * STEP


def changed(at, stamps):
    """Regular timestamps of 50 frames, some of them replaced."""
    pts = REGULAR.copy()
    pts[at : at + len(stamps)] = stamps
    return pts


def test_what_increases_is_kept():
    found = repair_stamps(REGULAR, STEP, JUMP)
    np.testing.assert_array_equal(found.pts, REGULAR)
    assert (found.repaired, found.cut) == (0, False)


@pytest.mark.parametrize(
    ("at", "stamps"),
    [
        (20, [37_600_000]),
        (20, [316_000, 316_040]),
        (40, [0]),
        (0, [5000]),
        (0, [5000, 5040]),
        (49, [0]),
        (10, [UNKNOWN]),
        (0, [UNKNOWN] * 3),
        (47, [UNKNOWN] * 3),
        (10, [UNKNOWN, 90_000, UNKNOWN]),
    ],
)
def test_a_few_timestamps_that_leap_away_or_are_missing_get_their_place_in_the_order(at, stamps):
    found = repair_stamps(changed(at, stamps), STEP, JUMP)
    np.testing.assert_array_equal(found.pts, REGULAR)
    assert (found.repaired, found.cut) == (len(stamps), False)


@given(st.lists(st.integers(1, 5 * JUMP), min_size=1, max_size=60), st.integers(-JUMP, JUMP), st.integers(1, JUMP))
def test_what_increases_is_kept_whatever_its_pauses_and_its_average_step(steps, first, step):
    stamps = first + np.cumsum([0, *steps])
    found = repair_stamps(stamps, step, JUMP)
    np.testing.assert_array_equal(found.pts, stamps)
    assert (found.repaired, found.cut) == (0, False)


def test_a_pause_is_kept():
    paused = np.concatenate([REGULAR[:20], REGULAR[20:] + 600_000])
    found = repair_stamps(paused, STEP, JUMP)
    np.testing.assert_array_equal(found.pts, paused)
    assert found.repaired == 0


def test_a_first_frame_long_before_the_second_is_kept():
    held = np.concatenate([[0], REGULAR[1:] + 600_000])
    np.testing.assert_array_equal(repair_stamps(held, STEP, JUMP).pts, held)


def test_films_glued_together_end_with_the_first():
    found = repair_stamps(np.concatenate([REGULAR, REGULAR]), STEP, JUMP)
    np.testing.assert_array_equal(found.pts, REGULAR)
    assert (found.repaired, found.cut) == (0, True)


def test_a_repeated_timestamp_moves_no_other():
    found = repair_stamps(changed(10, [REGULAR[9]]), STEP, JUMP)
    np.testing.assert_array_equal(found.pts, changed(10, [REGULAR[9] + 1]))
    assert found.repaired == 1


def test_without_any_timestamp_frames_are_a_step_apart():
    found = repair_stamps(np.full(50, UNKNOWN), STEP, JUMP)
    np.testing.assert_array_equal(found.pts, REGULAR)
    assert found.repaired == 50


@given(st.lists(st.one_of(st.integers(-10_000, 10_000), st.just(UNKNOWN)), min_size=1, max_size=40))
def test_instants_always_increase_and_no_frame_is_lost_without_a_word(stamps):
    found = repair_stamps(np.array(stamps, np.int64), STEP, JUMP)
    assert np.all(np.diff(found.pts) > 0)
    assert len(found.pts) == len(stamps) or (found.cut and 0 < len(found.pts) < len(stamps))


@given(st.integers(1, 48), st.integers(JUMP + 2 * STEP, 10**9))
def test_one_leap_anywhere_costs_no_frame(at, leap):
    found = repair_stamps(changed(at, [REGULAR[at] + leap]), STEP, JUMP)
    np.testing.assert_array_equal(found.pts, REGULAR)
