"""Embeddings on the frames of a video, by either rule."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.extractors.audio.align import heard_by_time, heard_in_notebook, to_frames, vectors_clock
from affstore.models.extractors.audio.wav2vec2 import WAV2VEC2_BASE_960H as SPEC
from affstore.store.contract.clock import SILENT, FrameClock
from tests.test_clock import SHIFTS, clocks, instants


def vectors(count, width=3):
    return 1 + np.arange(count * width, dtype=np.float32).reshape(count, width)


@given(clocks(), st.integers(0, 120), SHIFTS, st.sampled_from([Fraction(0), Fraction(-1, 20), Fraction(1, 2)]))
def test_by_time_a_frame_is_given_the_vector_that_plays_when_it_begins(frames, count, start, first):
    heard = heard_by_time(replace(SPEC, first_s=first), start, count, frames)
    begin = start + first
    plays = [begin <= instant < begin + Fraction(count, 50) for instant in instants(frames)]
    assert (heard != SILENT).tolist() == plays
    wanted = [int((instant - begin) * 50) for instant, on in zip(instants(frames), plays, strict=True) if on]
    assert heard[heard != SILENT].tolist() == wanted


def test_sound_that_starts_late_leaves_the_first_frames_without():
    heard = heard_by_time(SPEC, Fraction(107_164, 44_100), 50, FrameClock.uniform(25, 100))
    assert np.flatnonzero(heard != SILENT).tolist() == list(range(61, 86))
    assert heard[61] == 0


def test_a_network_whose_vector_stands_around_an_instant_begins_half_a_hop_earlier():
    """Ten vectors a second around 0, 0.1, 0.2 s: at 0.04 s the first plays, at 0.08 s the second is nearer."""
    around = replace(SPEC, vectors_hz=Fraction(10), first_s=Fraction(-1, 20))
    assert vectors_clock(around, Fraction(2), 10).starts_s[0] == 1.95
    assert heard_by_time(around, Fraction(0), 10, FrameClock.uniform(25, 5)).tolist() == [0, 0, 1, 1, 2]


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
    for heard in (heard_by_time(SPEC, Fraction(0), 0, FrameClock.uniform(25, 10)), heard_in_notebook(0, 10, 10)):
        assert heard.tolist() == [SILENT] * 10
        rows = to_frames(np.empty((0, 768), np.float32), heard)
        assert rows.shape == (10, 768)
        assert not rows.any()
