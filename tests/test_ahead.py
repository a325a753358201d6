"""Items produced ahead of their consumer."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.media.prefetch import prefetch


@given(st.lists(st.integers()), st.integers(1, 5))
def test_the_same_items_come_in_the_same_order(items, most):
    assert list(prefetch(iter(items), most)) == items


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    found = prefetch(items(), 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_no_more_than_asked_is_produced_ahead():
    produced = []

    def items():
        for number in range(100):
            produced.append(number)
            yield number

    found = prefetch(items(), 4)
    next(found)
    for _ in range(200):
        threading.Event().wait(0.001)
    assert len(produced) <= 6  # the one taken, four waiting, one in hand
    found.close()


def test_a_consumer_that_stops_ends_the_producer():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    source = items()
    found = prefetch(source, 2)
    next(found)
    before = {thread.name for thread in threading.enumerate()}
    found.close()
    assert "decode" in before
    assert all(thread.name != "decode" for thread in threading.enumerate())
    source.close()
    assert closed.is_set()
