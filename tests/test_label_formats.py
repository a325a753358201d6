"""Every format of label files that comes with affstore keeps the contract that plugins must keep."""

from __future__ import annotations

import numpy as np
import pytest

from affstore.models.labels.base import FORMATS
from affstore.store.contract.labels import EXPR, space_of
from affstore.testing.label_formats import LabelExample, LabelFormatContract

DIMENSIONS = space_of("affect", {"kind": "values", "names": ["valence", "power"], "range": [0, 10]})
EXAMPLES = {
    "abaw": LabelExample(
        "talk.txt",
        b"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n4\n-1\n0\n",
        EXPR,
        np.array([[4], [0], [0]], np.int8),
        np.array([[True], [False], [True]]),
    ),
    "timed_table": LabelExample(
        "talk.csv",
        b"start,end,valence,power\n0,0.08,1.5,10\n0.12,1,,3\n",
        DIMENSIONS,
        np.array([[1.5, 10], [1.5, 10], [0, 0], [0, 3]], np.float32),
        np.array([[True, True], [True, True], [False, False], [False, True]]),
    ),
}
"""A file of each format; a new format is not tested until it has one here."""


@pytest.mark.parametrize("name", FORMATS.names())
class TestOfEachFormat(LabelFormatContract):
    @pytest.fixture
    def label_format(self, name):
        return FORMATS.get(name)

    @pytest.fixture
    def example(self, name):
        return EXAMPLES[name]


def test_one_s_own_space_may_be_written_line_by_line_too(tmp_path):
    space = space_of("mood", {"kind": "units", "names": ["tense", "tired"], "range": [0, 3], "unknown": "99"})
    example = LabelExample("talk.txt", b"tired,tense\n3,0\n99,1\n", space, np.zeros((3, 2)), np.zeros((3, 2), bool))
    found = example.read(FORMATS.get("abaw"), tmp_path)
    assert np.where(found.known, found.value, -1).tolist() == [[0, 3], [1, -1], [-1, -1]]
    assert "2 lines for 3 frames" in found.complaint
