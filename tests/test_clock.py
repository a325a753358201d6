"""Sound meets pictures by time: exactly, and never by stretching."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.store.contract.clock import SILENT, FrameClock, align
from affstore.store.contract.errors import SpecError

RATES = st.sampled_from([25, 30, 50, Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(15), Fraction(1, 2)])
BASES = st.sampled_from(
    [Fraction(1, d) for d in (1000, 11_988, 12_800, 30_000, 90_000, 14_112_000)] + [Fraction(1001, 30_000)]
)
SHIFTS = st.fractions(-1000, 1000, max_denominator=44_100)


@st.composite
def clocks(draw, least=0):
    steps = draw(st.lists(st.integers(1, 5000), min_size=least, max_size=60))
    starts = draw(st.integers(-5000, 5000)) + np.cumsum([0, *steps], dtype=np.int64)
    return FrameClock(starts[:-1], draw(BASES), int(starts[-1]))


def moved(clock, shift):
    base = Fraction(1, clock.time_base.denominator * shift.denominator)
    scale, offset = int(clock.time_base / base), int(shift / base)
    return FrameClock(clock.pts * scale + offset, base, clock.end_pts * scale + offset)


def instants(clock):
    return [int(p) * clock.time_base for p in clock.pts]


@given(clocks(), clocks())
def test_each_frame_gets_the_vector_that_plays_when_it_starts(source, target):
    """Held to the definition, in exact fractions."""
    starts, end = instants(source), source.end_pts * source.time_base
    for instant, playing in zip(instants(target), align(source, target).tolist(), strict=True):
        begun = [i for i, start in enumerate(starts) if start <= instant]
        assert playing == (begun[-1] if begun and instant < end else SILENT)


@given(clocks(least=1), clocks(least=1), SHIFTS)
def test_moving_both_clocks_changes_nothing(source, target, shift):
    np.testing.assert_array_equal(align(source, target), align(moved(source, shift), moved(target, shift)))


@given(clocks(least=1), clocks(least=1))
def test_time_never_runs_backwards(source, target):
    heard = align(source, target)
    assert np.all(np.diff(heard[heard != SILENT]) >= 0)


@given(clocks(least=1), clocks(least=1), st.integers(1, 30))
def test_more_sound_at_the_end_changes_no_earlier_frame(source, target, kept):
    """Nothing is stretched: cutting the end off silences the end and moves nothing."""
    kept = min(kept, len(source))
    end = int(source.pts[kept]) if kept < len(source) else source.end_pts
    cut = align(FrameClock(source.pts[:kept], source.time_base, end), target)
    whole = align(source, target)
    np.testing.assert_array_equal(cut, np.where(whole < kept, whole, SILENT))


@given(RATES, st.integers(1, 200), SHIFTS)
def test_a_clock_aligned_to_itself_is_itself(rate, samples, start):
    clock = FrameClock.uniform(rate, samples, start)
    np.testing.assert_array_equal(align(clock, clock), np.arange(samples))


@given(RATES, st.integers(1, 200), SHIFTS)
def test_a_uniform_clock_is_exact(rate, samples, start):
    clock = FrameClock.uniform(rate, samples, start)
    assert instants(clock) == [start + i / Fraction(rate) for i in range(samples)]
    assert clock.end_pts * clock.time_base == start + samples / Fraction(rate)
    assert clock == moved(clock, Fraction(0, 7))


def test_at_25_frames_a_second_every_second_vector_of_50_is_heard():
    heard = align(FrameClock.uniform(50, 100_000), FrameClock.uniform(25, 50_000))
    np.testing.assert_array_equal(heard, 2 * np.arange(50_000))


def test_clocks_that_cannot_be_are_refused():
    for pts, base, end in (([0, 0], 1, 5), ([0, 3], 1, 3), ([2, 1], 1, 5), ([0], 0, 5)):
        with pytest.raises(SpecError):
            FrameClock(np.array(pts, np.int64), Fraction(base), end)
