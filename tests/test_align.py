"""Embeddings on the frames of a video, by either rule."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.extractors.audio.align import heard_by_time, heard_in_notebook, to_frames, vectors_clock
from affstore.models.extractors.audio.openl3 import plan_windows
from affstore.models.extractors.audio.openl3_spec import OPENL3
from affstore.models.extractors.audio.wav2vec2 import WAV2VEC2_BASE_960H as SPEC
from affstore.models.media.sound import Sound
from affstore.store.contract.clock import SILENT, FrameClock
from tests.test_clock import SHIFTS, clocks, instants


def vectors(count, width=3):
    return 1 + np.arange(count * width, dtype=np.float32).reshape(count, width)


def sound(start_s, seconds, rate_hz=16_000):
    return Sound(np.zeros(round(seconds * rate_hz), np.float32), rate_hz, start_s)


@given(
    clocks(),
    st.integers(1, 120),
    SHIFTS,
    st.sampled_from([0, Fraction(-1, 20), Fraction(1, 2)]),
    st.integers(1, 90_000),
)
def test_by_time_a_frame_is_given_the_vector_that_plays_when_it_begins_or_the_nearest(
    frames, count, start, first, samples
):
    heard = heard_by_time(
        replace(SPEC, first_s=Fraction(first)), Sound(np.zeros(samples, np.float32), 16_000, start), count, frames
    )
    plays = [start <= instant < start + Fraction(samples, 16_000) for instant in instants(frames)]
    assert (heard != SILENT).tolist() == plays
    wanted = [floor((instant - start - first) * 50) for instant, on in zip(instants(frames), plays, strict=True) if on]
    assert heard[heard != SILENT].tolist() == [min(max(vector, 0), count - 1) for vector in wanted]


@pytest.mark.parametrize("word", ["hop0.1", "hop0.5", "blocks1", "blocks60", "uncentred", "uncentred+hop0.2"])
@given(st.integers(1, 3 * 48_000), SHIFTS, st.sampled_from([24, 25, 30, 60]))
def test_openl3_has_a_vector_for_every_frame_of_a_sound_and_for_no_other(word, samples, start, rate_hz):
    spec = OPENL3[0].varied(word)
    frames = FrameClock.uniform(rate_hz, 4 * rate_hz, start - Fraction(1, 2))
    heard = heard_by_time(
        spec, Sound(np.zeros(samples, np.float32), 48_000, start), len(plan_windows(samples, spec)[1]), frames
    )
    plays = [0 <= instant - start < Fraction(samples, 48_000) for instant in instants(frames)]
    assert (heard != SILENT).tolist() == plays


def test_sound_that_starts_late_leaves_the_first_frames_without():
    heard = heard_by_time(SPEC, sound(Fraction(107_164, 44_100), 1), 50, FrameClock.uniform(25, 100))
    assert np.flatnonzero(heard != SILENT).tolist() == list(range(61, 86))
    assert heard[61] == 0


def test_a_network_whose_vector_stands_around_an_instant_begins_half_a_hop_earlier():
    """Ten vectors a second around 0, 0.1, 0.2 s: at 0.04 s the first plays, at 0.08 s the second is nearer."""
    around = replace(SPEC, vectors_hz=Fraction(10), first_s=Fraction(-1, 20))
    assert vectors_clock(around, Fraction(2), 10).starts_s[0] == 1.95
    assert heard_by_time(around, sound(Fraction(0), 1), 10, FrameClock.uniform(25, 5)).tolist() == [0, 0, 1, 1, 2]


@given(st.integers(0, 100_000), st.integers(0, 2_000), st.one_of(st.none(), st.integers(0, 2_500)))
def test_in_the_notebook_frames_are_given_the_vectors_stretched_over_them(count, frames, declared):
    heard = heard_in_notebook(count, frames, declared)
    all_frames = (frames if declared is None else declared) + 1
    wanted = [int(frame * count / all_frames) if count and frame < all_frames else SILENT for frame in range(frames)]
    assert heard.tolist() == wanted
    assert heard.dtype == np.int64


def test_in_the_notebook_the_last_of_ten_frames_is_not_given_the_last_vector():
    """OpenCV says 10, the notebook counts 11."""
    assert heard_in_notebook(22, 10, 10).tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


@given(st.lists(st.integers(-1, 8), max_size=30))
def test_rows_are_those_of_the_vectors_and_zero_where_there_is_none(heard):
    rows = to_frames(vectors(9), np.array(heard, np.int64))
    assert rows.dtype == np.float32
    assert rows.shape == (len(heard), 3)
    for row, vector in zip(rows, heard, strict=True):
        np.testing.assert_array_equal(row, np.zeros(3) if vector == SILENT else vectors(9)[vector])


def test_a_video_without_sound_is_silent_throughout():
    for heard in (
        heard_by_time(SPEC, sound(Fraction(0), 0), 0, FrameClock.uniform(25, 10)),
        heard_in_notebook(0, 10, 10),
    ):
        assert heard.tolist() == [SILENT] * 10
        rows = to_frames(np.empty((0, 768), np.float32), heard)
        assert rows.shape == (10, 768)
        assert not rows.any()
