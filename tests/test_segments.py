"""Where a sound is cut, on any length."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.extractor_specs import Segmenting, blocks, whole
from affstore.models.extractors.audio.segments import Segment, cut
from affstore.store.contract.errors import SpecError

HZ = Fraction(50)
WINDOWS = st.tuples(st.integers(2, 40), st.integers(1, 39)).filter(lambda pair: pair[1] < pair[0])
CUTS = st.one_of(st.integers(1, 360).map(blocks), WINDOWS.map(lambda pair: Segmenting("windows", *pair)))


def taken(segments):
    return [vector for segment in segments for vector in range(segment.first, segment.last)]


@given(st.integers(0, 5_000), CUTS)
def test_every_vector_is_taken_exactly_once_and_from_a_segment_that_holds_it(vectors, segmenting):
    segments = cut(vectors, segmenting, HZ)
    assert taken(segments) == list(range(vectors))
    assert all(0 <= s.begin <= s.first < s.last <= s.end <= vectors for s in segments)


@given(st.integers(1, 30_000), st.integers(1, 360))
def test_blocks_are_of_one_length_and_a_remainder_shorter_than_a_second_joins_the_last(vectors, length_s):
    segments = cut(vectors, blocks(length_s), HZ)
    assert all(s.vectors == 50 * length_s for s in segments[:-1])
    assert all((s.begin, s.end) == (s.first, s.last) for s in segments)
    if len(segments) > 1:
        assert 50 <= segments[-1].vectors < 50 * length_s + 50


@given(st.integers(1, 5_000), WINDOWS)
def test_windows_lie_on_a_grid_and_all_but_the_last_are_whole(vectors, window):
    length_s, step_s = window
    segments = cut(vectors, Segmenting("windows", length_s, step_s), HZ)
    assert [s.begin for s in segments] == [50 * step_s * k for k in range(len(segments))]
    assert all(s.vectors == 50 * length_s for s in segments[:-1])
    assert segments[-1].end == vectors
    if len(segments) > 1:
        assert segments[-1].vectors > 50 * (length_s - step_s)


@given(st.integers(1, 5_000), WINDOWS)
def test_a_vector_is_taken_from_the_window_whose_middle_is_nearest(vectors, window):
    """No other window that holds it has a middle nearer by more than half a vector."""
    length = 50 * window[0]
    segments = cut(vectors, Segmenting("windows", *window), HZ)
    for mine in segments:
        for vector in {mine.first, mine.last - 1}:
            distances = [abs(2 * s.begin + length - 2 * vector - 1) for s in segments if s.begin <= vector < s.end]
            assert abs(2 * mine.begin + length - 2 * vector - 1) <= min(distances) + 1


@given(st.integers(1, 3_000), st.integers(0, 3_000), WINDOWS)
def test_a_whole_window_that_is_not_the_last_does_not_know_what_follows(vectors, more, window):
    segmenting = Segmenting("windows", *window)
    shorter, longer = cut(vectors, segmenting, HZ), cut(vectors + more, segmenting, HZ)
    assert longer[: len(shorter) - 1] == shorter[:-1]


def test_the_whole_is_one_segment():
    assert cut(77, whole(), HZ) == [Segment(0, 77, 0, 77)]
    assert cut(0, whole(), HZ) == []


def test_segments_begin_on_vectors():
    with pytest.raises(SpecError, match="does not begin on a vector"):
        cut(10, blocks(1), Fraction(5, 2))
