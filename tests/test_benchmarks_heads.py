"""The benchmarks of heads run, on sizes that measure nothing."""

from __future__ import annotations

import pytest

from tests.test_benchmarks import printed  # noqa: F401 - a fixture


@pytest.mark.slow
def test_training_from_the_store_is_compared_with_training_from_memory(printed):  # noqa: F811
    said = printed("heads", "--rows", "700", "--rounds", "1", "--steps", "1", "--layers", "1")
    assert "700 rows of 1 videos" in said
    assert "memmap / store" in said
    assert "Keras' fit on an array" in said
    assert "store / bare" in said


@pytest.mark.slow
def test_float16_is_compared_with_float32(printed):  # noqa: F811
    said = printed("float16", "--table", "store", "--rows", "700", "--rounds", "1")
    assert "700 rows of 1280" in said
    assert "of float32: disk" in said
