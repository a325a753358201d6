"""Every format of label files that comes with affstore keeps the contract that plugins must keep."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from affstore.models.labels.base import FORMATS, LabelFile
from affstore.models.labels.tier_choice import Annotation, Tier
from affstore.models.labels.tiers import labels_of
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import EXPR, space_of
from affstore.testing.label_formats import LabelExample, LabelFormatContract

DIMENSIONS = space_of("affect", {"kind": "values", "names": ["valence", "power"], "range": [0, 10]})
EAF = b"""<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER TIME_UNITS="milliseconds"/>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="80"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="120"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="1000"/></TIME_ORDER>
<TIER TIER_ID="utterances" LINGUISTIC_TYPE_REF="a">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>hello</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>no</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="expr" PARENT_REF="utterances" LINGUISTIC_TYPE_REF="b">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>Happiness</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a2">
<ANNOTATION_VALUE>anger</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>
"""
"""Its labels lie on a nested tier, which has the times of the one above."""

TEXT_GRID = b"""File type = "ooTextFile"
Object class = "TextGrid"

0
1
<exists>
2
"IntervalTier"
"words ""said"" 1"
0
1
1
0
1
""
"IntervalTier"
"expr"
0
1
3
0
0.08
"Happiness"
0.08
0.12
""
0.12
1
"anger"
"""
"""In Praat's short form."""

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
    "elan": LabelExample(
        "talk.eaf",
        EAF,
        EXPR,
        np.array([[4], [4], [0], [1]], np.int8),
        np.array([[True], [True], [False], [True]]),
    ),
    "praat": LabelExample(
        "talk.TextGrid",
        TEXT_GRID,
        EXPR,
        np.array([[4], [4], [0], [1]], np.int8),
        np.array([[True], [True], [False], [True]]),
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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("elan", b" \n", "is an empty file"),
        ("praat", b"", "is an empty file"),
        ("elan", EAF.replace(b"hello", "où".encode("cp1252")), "save it as UTF-8"),
        ("praat", TEXT_GRID.replace(b"words", "où".encode("cp1252")), "Save it as UTF-8"),
        ("elan", EAF.replace(b"UTF-8", b"shift_jis"), "is no whole XML file: multi-byte encodings"),
        ("elan", EAF.replace(b"UTF-8", b"none"), "is no whole XML file: unknown encoding"),
    ],
)
def test_an_empty_file_and_text_in_another_encoding_are_called_so(tmp_path, name, content, said):
    path = tmp_path / EXAMPLES[name].name
    path.write_bytes(content)
    form = FORMATS.get(name)
    with pytest.raises(AnnotationError, match=said):
        form.read(form.at(path), EXPR, FrameClock.uniform(25, 4))


TWICE = b'<TIER TIER_ID="expr"/></ANNOTATION_DOCUMENT>'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("praat", TEXT_GRID.replace(b"\n1\n", b"\n4e9999999\n"), "is no whole TextGrid"),
        ("praat", TEXT_GRID.replace(b"\n1\n", b"\n%s\n" % (b"1" * 5000)), "is no whole TextGrid"),
        (
            "praat",
            TEXT_GRID.replace(b"words", b"expr").replace(b' ""said"" 1', b""),
            "several tiers for 'expr': expr, expr",
        ),
        ("praat", TEXT_GRID.replace(b"0.12\n1\n", b"0.12\n0.04\n"), "begins at 0.12 s and ends at 0.04 s"),
        ("elan", EAF.replace(b"1000", b"1" * 5000), "found the time '111.*expected milliseconds such as 12500"),
        ("elan", EAF.replace(b"1000", b"-5"), "found the time '-5', expected milliseconds"),
        ("elan", EAF.replace(b"1000", b"40"), "begins at 0.12 s and ends at 0.04 s"),
        ("elan", EAF.replace(b"</ANNOTATION_DOCUMENT>", TWICE), "several tiers for 'expr': expr, expr"),
    ],
)
def test_what_would_hang_or_lose_labels_is_refused(tmp_path, name, content, said):
    path = tmp_path / EXAMPLES[name].name
    path.write_bytes(content)
    form = FORMATS.get(name)
    with pytest.raises(AnnotationError, match=said):
        form.read(form.at(path), EXPR, FrameClock.uniform(25, 4))


def test_tiers_that_are_called_alike_are_no_fault_where_none_of_them_is_read(tmp_path):
    example = EXAMPLES["elan"]
    other = example.content.replace(b"</ANNOTATION_DOCUMENT>", TWICE.replace(b"expr", b"utterances"))
    (tmp_path / example.name).write_bytes(other)
    form = FORMATS.get("elan")
    assert form.read(form.at(tmp_path / example.name), EXPR, FrameClock.uniform(25, 4)).known.sum() == 3


@pytest.mark.parametrize("name", ["elan", "praat"])
def test_annotations_that_no_frame_can_have_are_counted(tmp_path, name):
    path = tmp_path / EXAMPLES[name].name
    path.write_bytes(EXAMPLES[name].content)
    form = FORMATS.get(name)
    found = form.read(form.at(path), EXPR, FrameClock.uniform(25, 3))
    assert found.complaint == "1 annotation begins after the video's last frame, the first at 0.12 s."
    assert found.known.all(axis=1).tolist() == [True, True, False]
    assert form.read(form.at(path), EXPR, FrameClock.uniform(25, 4)).complaint is None


def test_an_annotation_from_before_the_video_is_counted(tmp_path):
    path = tmp_path / "talk.TextGrid"
    path.write_bytes(TEXT_GRID.replace(b'3\n0\n0.08\n"Happiness"', b'3\n-0.5\n0.08\n"Happiness"'))
    found = FORMATS.get("praat").read(FORMATS.get("praat").at(path), EXPR, FrameClock.uniform(25, 4))
    assert found.complaint == "1 annotation begins before the video does, the first at -0.5 s."


def test_an_annotation_that_is_over_before_a_late_clock_begins_is_counted(tmp_path):
    path = tmp_path / "talk.eaf"
    path.write_bytes(EAF)
    found = FORMATS.get("elan").read(FORMATS.get("elan").at(path), EXPR, FrameClock.uniform(25, 4, Fraction(3, 25)))
    assert found.complaint == "1 annotation begins before the video does at 0.12 s, the first at 0 s."
    assert "which begins at 0.12 s" in found.note


MEDIA = b"""<HEADER TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/talk.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="40"/>
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/talk.wav" MIME_TYPE="audio/x-wav"/>
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/other.mp4" MIME_TYPE="video/mp4"/></HEADER>"""


def test_times_of_elan_are_moved_by_where_it_begins_the_video(tmp_path):
    content = EAF.replace(b'<HEADER TIME_UNITS="milliseconds"/>', MEDIA)
    begins = {}
    for name in ("talk", "other", "third"):
        path = tmp_path / f"{name}.eaf"
        path.write_bytes(content)
        form = FORMATS.get("elan")
        if name == "third":
            with pytest.raises(AnnotationError, match="begins its media at different times"):
                form.read(form.at(path), EXPR, FrameClock.uniform(25, 30))
            break
        begins[name] = int(np.flatnonzero(form.read(form.at(path), EXPR, FrameClock.uniform(25, 30)).known)[0])
    assert begins == {"talk": 1, "other": 0}


def test_a_tier_without_times_costs_no_other_tier_its_labels(tmp_path):
    path = tmp_path / "talk.eaf"
    words = b"""<TIER TIER_ID="words"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="w1" TIME_SLOT_REF1="ts1"
TIME_SLOT_REF2="none"><ANNOTATION_VALUE>hel</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"""
    path.write_bytes(EAF.replace(b"</ANNOTATION_DOCUMENT>", words + b"</ANNOTATION_DOCUMENT>"))
    form = FORMATS.get("elan")
    assert form.read(form.at(path), EXPR, FrameClock.uniform(25, 30)).known.any()
    told = space_of("words", {"kind": "classes", "names": ["hel", "lo"]})
    with pytest.raises(AnnotationError, match="'w1' has no times"):
        form.read(form.at(path), told, FrameClock.uniform(25, 30))


def test_lines_of_classes_that_are_called_by_numbers_are_refused_as_they_could_be_names_or_places(tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("1,2,3\n1\n2\n3\n")
    likert = space_of("likert", {"kind": "classes", "names": ["1", "2", "3"]})
    with pytest.raises(AnnotationError, match="called by numbers"):
        FORMATS.get("abaw").read(FORMATS.get("abaw").at(path), likert, FrameClock.uniform(25, 3))


def test_every_number_that_a_space_has_for_unknown_is_unknown_line_by_line_too(tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("calm,joy\n0\n9\n-1\n1\n")
    space = space_of("emotions", {"kind": "classes", "names": ["calm", "joy"], "unknown": [9, -1]})
    found = FORMATS.get("abaw").read(FORMATS.get("abaw").at(path), space, FrameClock.uniform(25, 4))
    assert found.known.ravel().tolist() == [True, False, False, True]
    assert found.value[found.known].tolist() == [0, 1]


def test_an_unknown_with_a_fraction_is_the_number_that_a_file_has(tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("valence,power\n-9.9,-9.9\n3.5,4\n")
    space = space_of("affect", {"kind": "values", "names": ["valence", "power"], "range": [0, 10], "unknown": ["-9.9"]})
    found = FORMATS.get("abaw").read(FORMATS.get("abaw").at(path), space, FrameClock.uniform(25, 2))
    assert found.known.all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize("empty_first", [True, False])
def test_of_two_tiers_that_are_called_alike_the_one_with_texts_is_read(empty_first):
    full = Tier("mood", [Annotation(Fraction(0), Fraction(1), "Happiness")])
    tiers = [Tier("mood", []), full] if empty_first else [full, Tier("mood", [])]
    found = labels_of(
        LabelFile("expr", "train", "talk", "main", Path("talk.eaf")), tiers, EXPR, FrameClock.uniform(25, 30)
    )
    assert int(found.known.sum()) == 25
