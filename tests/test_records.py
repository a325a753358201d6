"""A record is read back as it was written, whatever JSON can hold, and no other is taken for it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.store.contract.errors import SchemaError
from affstore.store.contract.records import Record, record_of
from affstore.store.engine.listing import read_record
from tests.factories import CODE, source

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = (
    st.integers() | st.integers(2**62, 2**70) | st.floats(allow_nan=False) | st.sampled_from([1e-05, 1e16, 5e-324])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
LETTERS = '0123456789abcdef-.eE,:{}[]"\\ é'


def record(made) -> Record:
    """A record that says `made` of how its artifact came to be."""
    return record_of(replace(source("a"), made=made), "0" * 64, CODE, "run", "2026-11-28T12:00:00+00:00")


def document(of: Record) -> bytes:
    """The JSON of its group, as the store holds it."""
    return json.dumps({"zarr_format": 3, "attributes": of.to_attributes(1)}).encode()


@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_whatever_json_can_hold_is_read_back_as_it_was_written(made):
    written = record(made)
    read = read_record(document(written), written.address)
    assert read == written
    assert repr(read.made) == repr(written.made)  # an integer is no float, and -0.0 is not 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, -(2**63) - 1, "\ud800"])
def test_what_only_python_reads_as_json_is_read_by_python(value):
    written = record({"value": value})
    assert repr(read_record(document(written), written.address)) == repr(written)


@given(st.data())
def test_a_record_of_which_a_letter_was_changed_is_refused_or_says_the_same(data):
    written = record({"seed": 2**64 + 5, "rate": 1e-05, "who": "Zoë"})
    text = document(written).decode()
    place = data.draw(st.integers(text.index('"attributes"') + 20, len(text) - 3))
    changed = text[:place] + data.draw(st.sampled_from(LETTERS)) + text[place + 1 :]
    with suppress(SchemaError, json.JSONDecodeError):
        assert read_record(changed.encode(), written.address) == written
