"""Sound meets pictures by time: exactly, and never by stretching."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.extractors.audio.align import heard_by_time
from affstore.models.extractors.audio.wav2vec2 import WAV2VEC2_BASE_960H
from affstore.models.media.sound import Sound
from affstore.store.contract.clock import SILENT, FrameClock, on_one_base
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


@given(clocks(least=1), clocks(least=1), st.integers(0, 60).map(lambda years: 31_557_600 * years))
def test_clocks_on_one_base_keep_their_distances_wherever_both_begin(a, b, start_s):
    """Held to exact fractions: all distances are counted in one unit."""
    late = [moved(one, Fraction(start_s)) for one in (a, b)]
    counted = [int(one) for starts in on_one_base(*late) for one in starts]
    exact = [one for clock in late for one in instants(clock)]
    far = max(range(len(exact)), key=lambda one: abs(exact[one] - exact[0]))
    for count, instant in zip(counted, exact, strict=True):
        ours, theirs = count - counted[0], counted[far] - counted[0]
        assert ours * (exact[far] - exact[0]) == theirs * (instant - exact[0])


def test_clocks_of_which_one_counts_since_1970_and_the_other_from_its_file_s_begin_never_meet():
    camera = FrameClock(1_700_000_000 * 10**9 + np.arange(3), Fraction(1, 10**9), 1_700_000_000 * 10**9 + 3)
    sound = FrameClock.uniform(44_100, 3)
    for starts, others in (on_one_base(camera, sound), on_one_base(sound, camera)[::-1]):
        assert starts.min() > others.max()


def test_a_camera_that_counts_nanoseconds_since_1970_keeps_its_sound():
    """0.1 s of pictures before the sound, 1 s of sound, of which 0.6 s are a hole at an edge of 44.1 kHz."""
    begins_ns = 1_700_000_000 * 10**9
    frames = FrameClock(begins_ns + np.arange(30) * 40_000_000, Fraction(1, 10**9), begins_ns + 30 * 40_000_000)
    start = Fraction(begins_ns, 10**9) + Fraction(1, 10)
    hole = (start + Fraction(8_820, 44_100), start + Fraction(35_281, 44_100))
    sound = Sound(np.zeros(44_100, np.float32), 44_100, start, holes=(hole,))
    heard = sound.plays_at(frames)
    by_time = heard_by_time(WAV2VEC2_BASE_960H, sound, 50, frames)
    assert ((by_time != SILENT) == heard).all()
    times = [Fraction(int(one), 10**9) for one in frames.pts]
    assert heard.tolist() == [start <= one < start + 1 and not hole[0] <= one < hole[1] for one in times]


@given(RATES, st.integers(1, 200), SHIFTS)
def test_a_uniform_clock_is_exact(rate, samples, start):
    clock = FrameClock.uniform(rate, samples, start)
    assert instants(clock) == [start + i / Fraction(rate) for i in range(samples)]
    assert clock.end_pts * clock.time_base == start + samples / Fraction(rate)
    assert clock == moved(clock, Fraction(0, 7))


def test_clocks_that_cannot_be_are_refused():
    for pts, base, end in (([0, 0], 1, 5), ([0, 3], 1, 3), ([2, 1], 1, 5), ([0], 0, 5)):
        with pytest.raises(SpecError):
            FrameClock(np.array(pts, np.int64), Fraction(base), end)
