"""Time-stamped tables of labels, good and bad."""

from __future__ import annotations

import cProfile
import hashlib
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.flows.inputs import LabelFolder, gather
from affstore.models.labels.base import FORMATS, TEST_ROWS, check_labelled_once
from affstore.models.labels.timed_table import _decimal_marks, read_rows
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.keys import _digest_of, digest_of_unchanged
from affstore.store.contract.labels import space_of
from affstore.store.contract.table_files import _read_table, read_table

EMOTIONS = space_of("emotions", {"kind": "classes", "names": ["calm", "joy", "anger"], "unknown": ["?", "n/a"]})
AFFECT = space_of("affect", {"kind": "values", "names": ["Valence", "Power"], "range": [0, 100]})
LIKERT = space_of("likert", {"kind": "classes", "names": ["1", "2", "3", "4", "5"], "unknown": [9]})
UNITS = space_of("units", {"kind": "units", "names": ["AU1", "AU2"], "range": [0, 5]})
TEN = FrameClock.uniform(10, 10)
TABLE = FORMATS.get("timed_table")


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, space=EMOTIONS, clock=TEN, name="talk.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return TABLE.read(TABLE.at(path), space, clock)

    return write_and_read


def of_frames(labels) -> list[int]:
    """The class of each frame, −1 where it is unknown."""
    return np.where(labels.known, labels.value, -1).ravel().tolist()


def test_intervals_hold_their_first_instant_and_not_their_last_and_gaps_are_unknown(read):
    found = read("start,end,label\n0,0.3,joy\n0.3,0.5,calm\n.7,0.9,ANGER\n")
    assert of_frames(found) == [1, 1, 1, 0, 0, -1, -1, 2, 2, -1]
    assert found.value.dtype == np.int8
    assert found.complaint is None


def test_times_may_have_as_many_decimals_as_programs_write(read):
    found = read(
        f"start,end,label\n{0.1 / 30!r},0.30000000000000004,joy\n3.0000000000000004e-1,{'0.' + '4' * 30},calm\n"
    )
    assert of_frames(found)[1:6] == [1, 1, 0, 0, -1]


def test_a_row_with_a_time_holds_until_the_next_and_the_last_as_long_as_the_one_before(read):
    found = read("time,label,by\n0.1,joy,me\n0.3,,me\n0.5,2,you\n")
    assert of_frames(found) == [-1, 1, 1, -1, -1, 2, 2, -1, -1, -1]
    assert of_frames(read("time,label\n0.4,joy\n")) == [-1] * 4 + [1] * 6


def test_rows_of_a_steady_rate_do_not_hold_through_a_pause_of_the_rater(read):
    clock = FrameClock.uniform(Fraction(10), 200)
    times = [Fraction(n, 10) for n in (*range(20), *range(60, 80), 81, 83)]  # a pause of 4 s, and lost rows
    rows = [f"{float(time)},{'joy' if time < 3 else 'calm'}" for time in times]
    found = read("\n".join(["time,label", *rows]), clock=clock)
    assert of_frames(found) == [1] * 22 + [-1] * 38 + [0] * 25 + [-1] * 115
    assert found.note == (
        "1 pause between rows of a steady rate, in line 21: a row holds for 0.3 s at most, and nothing is known after"
    )
    events = [0, 0.4, 3, 3.5, 9, 9.2, 12, 15, 15.1, 18]
    found = read(
        "\n".join(["time,label", *(f"{time},{'joy' if n % 2 else 'calm'}" for n, time in enumerate(events))]),
        clock=clock,
    )
    assert found.known[:200].all(), "who logs changes means each until the next"


def test_a_frame_s_own_time_rounded_to_the_millisecond_is_of_that_frame(read):
    clock = FrameClock.uniform(Fraction(30000, 1001), 90)
    rows = [f"{start:.3f},{frame % 3}" for frame, start in enumerate(clock.starts_s)]
    assert of_frames(read("\n".join(["time,label", *rows]), clock=clock)) == [0, 1, 2] * 30


def test_numbers_have_a_column_for_each_name_in_any_order(read):
    found = read("start\tend\tpower\tvalence\n0\t1\t100\t0.5\n", AFFECT, name="talk.tsv")
    assert found.value.tolist() == [[0.5, 100]] * 10
    assert found.value.dtype == np.float32
    found = read("start;end;AU2;AU1\n0;1;5;\n", UNITS)
    assert found.known.tolist() == [[False, True]] * 10
    assert found.value[:, 1].tolist() == [5] * 10


def test_what_is_no_label_is_unknown_and_the_complaint_has_its_line(read):
    found = read("start,end,label\n0,0.2,joy\n0.2,0.4,joyy\n0.4,0.6,n/a\n0.6,1,3\n")
    assert of_frames(found) == [1, 1, *[-1] * 8]
    assert found.complaint == (
        "2 labels are not valid, the first in line 3: found 'joyy', expected one of calm, joy, anger; taken as unknown."
    )
    found = read("start,end,valence,power\n0,1,101,50\n", AFFECT)
    assert found.known[0].tolist() == [False, True]
    assert "found '101', expected values from 0 to 100" in found.complaint


def test_rows_after_the_video_s_end_are_complained_of(read):
    found = read("start,end,label\n0,0.2,joy\n2,3,joy\n")
    assert found.complaint == "1 row begins after the video's last frame, in line 3."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start,end,label\n-2,-1,joy\n-1,0.5,calm\n", "2 rows begin before the video does, the first in line 2."),
        ("time,label\n-0.5,joy\n0.5,calm\n", "1 row begins before the video does, in line 2."),
        ("start,end,label\n0,0.5,calm\n0.5,1,sad\n", "1 label is not valid, in line 3: found 'sad', expected one of"),
    ],
)
def test_rows_before_the_video_s_begin_and_a_single_label_are_complained_of(read, text, said):
    assert read(text).complaint.startswith(said)


@pytest.mark.parametrize("cells", ["1,2,5,,9", "1.0,2.0,5.0,,9.0"])
def test_classes_that_are_called_by_numbers_are_meant_by_their_names_as_pandas_writes_them_too(read, cells):
    rows = "".join(f"{frame},{cell}\n" for frame, cell in enumerate(cells.split(",")))
    labels = read(f"frame,label\n{rows}", LIKERT, FrameClock.uniform(10, 5))
    assert of_frames(labels) == [0, 1, 4, -1, -1]
    assert labels.complaint is None
    assert read("frame,label\n0,1\n1,0\n", LIKERT).complaint.startswith("1 label is not valid, in line 3: found '0'")


def test_an_unknown_number_is_unknown_however_it_is_written(read):
    pain = space_of("pain", {"kind": "values", "names": ["pain"], "range": [0, 100], "unknown": [0]})
    labels = read("frame,pain\n0,0.0\n1,7\n2,0e0\n", pain, FrameClock.uniform(10, 3))
    assert labels.known.ravel().tolist() == [False, True, False]
    assert labels.complaint is None


def test_what_is_over_before_a_clock_that_begins_late_is_complained_of_and_the_clock_is_named(read):
    labels = read("start,end,label\n0,1,joy\n1,3,calm\n", clock=FrameClock.uniform(10, 10, Fraction(3, 2)))
    assert of_frames(labels) == [0] * 10
    assert labels.complaint == "1 row begins before the video does at 1.5 s, in line 2."
    assert labels.note == "times on the video's own clock, which begins at 1.5 s"
    assert read("frame,label\n0,joy\n", clock=FrameClock.uniform(10, 10, Fraction(3, 2))).note is None


def test_times_of_a_video_that_begins_before_zero_are_no_fault(read):
    assert read("start,end,label\n-0.5,0.5,joy\n", clock=FrameClock.uniform(10, 10, Fraction(-1, 2))).complaint is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start,end,label\n0,2,joy\n5,6,calm\n1,3,calm\n", "line 4: its interval overlaps that of line 2"),
        ("start,end,label\n0,1,joy\n0,1,joy\n", "line 3: its interval overlaps that of line 2"),
        ("start,end,label\n1,1,joy\n", "line 2: the interval ends at 1 s, and begins at 1 s"),
        ("start,end,label\n0,one,joy\n", "line 2: found the time 'one', expected seconds"),
        ("start,end,label\n0,1e400,joy\n", "found the time '1e400'"),
        ("start,end,label\n0,nan,joy\n", "found the time 'nan'"),
        ("start,end,label\n0,,joy\n", "found the time ''"),
        ("time,label\n1,joy\n1,joy\n", "line 3: its time is not after that of line 2"),
        ("start,end\n0,1\n", "line 1: found no column 'label' in 'start,end', expected a header such as"),
        ("begin,end,label\n0,1,joy\n", "found no column 'start'"),
        ("start,end,label,label\n0,1,joy,joy\n", "found two columns 'label'"),
        ("start,end,label\n0,1\n", "line 2: found 2 columns, expected 3"),
        ("start,end,label\n", "found no row below the header"),
        ("", "is an empty file, expected a header"),
        ("\n \n", "is an empty file"),
        ("start,end,label\n0,1,joy\n".encode("utf-16"), "is not UTF-8 text .byte 0.. Save it as UTF-8"),
        ("start,end,label,who\n0,1,joy,José\n".encode("cp1252"), "Save it as UTF-8"),
        ("start,end,label\n0,1,happy\n1,2,sad\n", "line 2: found 'happy', and no other row has a label of 'emotions'"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_its_line(read, text, said):
    with pytest.raises(AnnotationError, match="talk.csv'.*" + said):
        read(text)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_rows(tmp_path / "none.csv", EMOTIONS)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True).map(sorted),
    st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(7)]),
    st.randoms(use_true_random=False),
)
def test_each_frame_has_the_label_of_the_interval_that_it_begins_in(tmp_path_factory, cuts, rate, random):
    clock = FrameClock.uniform(rate, 60, Fraction(random.randint(0, 50), 100))
    rows = [(a, b, random.randrange(3)) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    lines = [f"{a / 1000},{b / 1000},{EMOTIONS.names[label]}" for a, b, label in rows]
    path = tmp_path_factory.mktemp("table") / "v.csv"
    path.write_text("\n".join(["start,end,label", *random.sample(lines, len(lines))]))
    found = TABLE.read(TABLE.at(path), EMOTIONS, clock)
    starts = [int(pts) * clock.time_base * 1000 for pts in clock.pts]
    expected = [next((label for a, b, label in rows if a - 0.5 <= at < b - 0.5), -1) for at in starts]
    assert of_frames(found) == expected


def test_a_table_s_split_is_what_its_innermost_folder_says(tmp_path):
    for folder in ("", "train", "validation", "train/val"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "talk.csv").touch()
    (tmp_path / "talk.mp4").touch()
    (tmp_path / ".hidden.csv").touch()
    found = {str(one.path.parent.relative_to(tmp_path)): one.split for one in TABLE.find(tmp_path)}
    assert found == {".": "train", "train": "train", "validation": "validation", "train/val": "validation"}
    assert {one.task for one in TABLE.find(tmp_path)} == {""}


@pytest.mark.parametrize(
    "text",
    [
        "start;end;valence;power\n0;0,3;1,5;NA\n0,3;1;-;20\n",
        'start,end,valence,power\n0,"0,3","1,5",nan\n"0,3",1,,20\n',
    ],
)
def test_decimal_commas_and_the_usual_words_for_nothing_are_understood(read, text):
    found = read(text, AFFECT)
    assert found.complaint is None
    assert np.where(found.known, found.value, -1).tolist() == [[1.5, -1]] * 3 + [[-1, 20]] * 7


def test_thousands_and_decimals_mixed_are_no_number(read):
    found = read("start;end;valence;power\n0;0,5;1.000,5;7\n", AFFECT)
    assert "1.000,5" in found.complaint
    assert not found.known[:, 0].any()


def test_a_row_may_name_its_frame_and_a_frame_has_one_label(read):
    assert of_frames(read("frame,label\n2,joy\n0,calm\n7,\n")) == [0, -1, 1, *[-1] * 7]
    assert read("frame,label\n2,joy\n10,joy\n").complaint == ("1 row begins after the video's last frame, in line 3.")
    with pytest.raises(AnnotationError, match="line 4: frame 2 has a label in line 2 already"):
        read("frame,label\n2,joy\n3,joy\n2,calm\n")
    with pytest.raises(AnnotationError, match=r"line 2: found the frame '0\.5', expected a whole number"):
        read("frame,label\n0.5,joy\n")


MANY = """video;split;start;end;label
talk;train;0;0,5;joy
walk_left;val;0;1;NA
talk;train;0,5;1;calm
walk_left;val;1;2;joy
"""


def test_one_table_may_be_of_many_videos_and_says_what_each_is_for(tmp_path):
    (tmp_path / "all.csv").write_text(MANY)
    for place in (tmp_path, tmp_path / "all.csv"):
        talk, walk = TABLE.find(place)
        assert (talk.name, talk.video, talk.subject, talk.split) == ("talk", "talk", "main", "train")
        assert (walk.name, walk.video, walk.subject, walk.split) == ("walk_left", "walk", "left", "validation")
    assert of_frames(TABLE.read(talk, EMOTIONS, TEN)) == [1] * 5 + [0] * 5
    found = TABLE.read(walk, EMOTIONS, TEN)
    assert of_frames(found) == [-1] * 10
    assert found.note == "columns apart by semicolons; 1 missing value ('NA')"
    check_labelled_once(TABLE.find(tmp_path))


def test_how_a_table_was_understood_is_said_where_it_could_have_been_otherwise(read):
    assert read("start,end,label\n0,1,joy\n").note is None
    assert read("start|end|label\n0|0.5|joy\n").note == "columns apart by vertical bars"
    assert read("start,end,label,a|b\n0,1,joy,1\n").note is None
    found = read("time\tvalence\tpower\n0\t1,5\t\n0,2\t2\tn/a\n0,4\t3\t4\n", AFFECT, name="talk.tsv")
    assert found.note == (
        "columns apart by tabs; numbers with a decimal comma; 2 missing values ('n/a', empty); rows every 0.2 s for "
        "frames every 0.1 s: each row holds until the next"
    )


def test_a_parquet_file_is_a_table_like_any_other(tmp_path):
    columns = {
        "video": ["talk", "talk", "walk"],
        "time": [0.0, 0.5, 0.0],
        "valence": [1.0, None, 3.0],
        "power": [5, 6, 7],
    }
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    talk, _ = TABLE.find(tmp_path)
    found = TABLE.read(talk, AFFECT, TEN)
    assert np.where(found.known, found.value, -1).tolist() == [[1, 5]] * 5 + [[-1, 6]] * 5
    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    (broken,) = TABLE.find(tmp_path)
    with pytest.raises(AnnotationError, match="cannot be read as a Parquet file"):
        TABLE.read(broken, AFFECT, TEN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "start;end;valence;power\n0;0,5;1;2\n0.5;1;3;4\n",
            r"line 3: numbers .* comma \('0,5', line 2\) and .* point \('0.5'",
        ),
        ('start,end,valence,power\n0,1,"1,5",2.5\n', "line 2: numbers are written with a decimal comma"),
    ],
)
def test_a_table_that_writes_numbers_in_two_ways_is_refused(read, text, said):
    with pytest.raises(AnnotationError, match=said):
        read(text, AFFECT)


def test_a_table_of_one_video_says_its_split_too(tmp_path):
    for name, split in (("talk", "val"), ("quiz", "test"), ("walk", "maybe")):
        (tmp_path / f"{name}.csv").write_text(f"time,label,split\n0,joy,{split}\n1,calm,{split}\n")
    found = {one.name: one for one in TABLE.find(tmp_path)}
    assert {name: (one.split, bool(one.fault)) for name, one in found.items()} == {
        "quiz": ("test", False),
        "talk": ("validation", False),
        "walk": ("train", True),
    }


@pytest.mark.parametrize(("below", "split", "taken"), [("test/a", None, 0), ("test/a", "train", 1), ("a/b", None, 1)])
def test_labels_in_a_folder_of_test_videos_are_left_out_unless_their_split_is_given(tmp_path, below, split, taken):
    (tmp_path / "test" / "mine" / below).mkdir(parents=True)
    (tmp_path / "test" / "mine" / below / "talk.csv").write_text("time,label\n0,joy\n")
    folder = LabelFolder(str(tmp_path / "test" / "mine"), "timed_table", EMOTIONS, split)
    given = gather([], labels=[folder])
    assert (len(given.annotations), len(given.test_labels)) == (taken, 1 - taken)
    assert [kind.why for kind in given.left_alone] == [TEST_ROWS] * (1 - taken)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "talk,train\ntalk,val\n",
            "line 3: 'talk' is for validation, and for train in line 2. A video is in one split.",
        ),
        ("talk,dev\n", "line 2: found the split 'dev', expected train or validation, or test for rows that are left"),
        ("talk,test\ntalk,val\n", "line 3: 'talk' is for validation, and for test in line 2."),
    ],
)
def test_a_split_that_cannot_be_meant_is_the_fault_of_its_table_alone(tmp_path, rows, said):
    (tmp_path / "all.csv").write_text("video,split,time,label\n" + rows.replace("\n", ",0,joy\n"))
    (tmp_path / "talk.csv").write_text("time,label\n0,joy\n")
    bad, good = TABLE.find(tmp_path)
    assert said in bad.fault
    assert (good.name, good.fault) == ("talk", "")


def test_rows_of_test_videos_are_left_out_and_listed_and_the_others_are_read(tmp_path):
    (tmp_path / "all.csv").write_text("video,split,time,label\ntalk,train,0,joy\nwalk,Test,0,joy\nwalk,test,1,joy\n")
    (tmp_path / "talk.mp4").touch()  # beside the table, whose folder is searched for videos too
    for sources in ([], [str(tmp_path)]):
        given = gather(sources, labels=[LabelFolder(str(tmp_path), TABLE.name, EMOTIONS)])
        assert [(one.name, one.split, one.fault) for one in given.annotations] == [("talk", "train", "")]
        (left,) = given.left_alone
        assert (left.suffix, left.count, left.why) == (".csv", 1, TEST_ROWS)
        assert left.files == (f"{tmp_path / 'all.csv'}:walk",)


def test_values_that_are_unknown_by_the_space_are_counted_above_all_where_they_could_be_labels(read):
    pain = space_of("pain", {"kind": "values", "names": ["pain"], "range": [0, 10], "unknown": [0, -9]})
    found = read("start,end,pain\n0,0.2,0\n0.2,0.4,0.0\n0.4,0.6,-9\n0.6,0.8,3\n", pain)
    assert found.known.ravel().tolist() == [False] * 6 + [True] * 2 + [False] * 2
    assert found.note == (
        "3 values that `unknown` of 'pain' names ('-9', '0', '0.0'; '0', '0.0' would be a label, if `unknown` did not "
        "say so)"
    )


def long_table(path, rows):
    """A table of as many rows, 50 a video; each with a frame, a class and a value with a decimal point."""
    lines = [f"v{row // 50},{row % 50},{EMOTIONS.names[row % 3]},{row % 100}.5,7" for row in range(rows)]
    path.write_text("\n".join(["video,frame,label,Valence,Power", *lines]))
    return path


@pytest.mark.parametrize("rows", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_table_of_thousands_of_rows_is_read_and_sorted_once_for_all_its_videos(tmp_path, rows):
    path = long_table(tmp_path / "all.csv", rows)
    _read_table.cache_clear()
    _decimal_marks.cache_clear()
    found, clock = TABLE.find(tmp_path), FrameClock.uniform(25, 50)
    assert [one.within for one in found] == [f"v{number}" for number in range(rows // 50)]
    for number, one in enumerate(found):
        labels, affect = TABLE.read(one, EMOTIONS, clock), TABLE.read(one, AFFECT, clock)
        np.testing.assert_array_equal(labels.value[:, 0], (50 * number + np.arange(50)) % 3)
        np.testing.assert_array_equal(affect.value[:, 0], (50 * number + np.arange(50)) % 100 + 0.5)
        assert labels.known.all()
    assert (_read_table.cache_info().misses, _decimal_marks.cache_info().misses) == (1, 2)
    assert [len(read_table(path).rows(one.within)) for one in found] == [50] * len(found)


def calls_of(path):
    """How many calls of functions it takes to find and read the labels of all videos of a table."""
    profile, clock = cProfile.Profile(), FrameClock.uniform(25, 50)
    with profile:
        for one in TABLE.find(path):
            TABLE.read(one, EMOTIONS, clock)
    return sum(entry.callcount for entry in profile.getstats())


def test_a_table_twice_as_long_takes_twice_the_work(tmp_path):
    short, long = (calls_of(long_table(tmp_path / f"{rows}.csv", rows)) for rows in (4000, 8000))
    assert short > 4000
    assert long < 2.05 * short


@pytest.mark.parametrize("video", ["a", "b"])
def test_decimal_marks_that_differ_between_videos_of_a_table_are_refused_for_each(tmp_path, video):
    text = "video;start;end;valence;power\na;0;1;0,5;2\nc;0;1;7;2\nb;0;1;0.5;2\n"
    (tmp_path / "all.csv").write_text(text)
    found = {one.within: one for one in TABLE.find(tmp_path)}
    with pytest.raises(AnnotationError, match=r"line 4: numbers .* comma \('0,5', line 2\) .* point \('0.5', line 4\)"):
        TABLE.read(found[video], AFFECT, TEN)


def test_commas_in_columns_that_are_not_read_are_no_decimal_marks(tmp_path):
    (tmp_path / "all.csv").write_text('video,start,end,valence,power,note\na,0,1,0.5,2,"1,5"\n')
    (one,) = TABLE.find(tmp_path)
    assert TABLE.read(one, AFFECT, TEN).value[0, 0] == 0.5


def test_the_digest_of_a_table_is_that_of_its_bytes_and_is_computed_once_until_it_changes(tmp_path):
    path = tmp_path / "all.csv"
    _digest_of.cache_clear()
    for text in ("one", "other text"):
        path.write_text(text)
        digests = {digest_of_unchanged(path) for _ in range(10)}
        assert digests == {hashlib.sha256(text.encode()).hexdigest()}
    assert _digest_of.cache_info().misses == 2


@pytest.mark.parametrize("also", ["start,end", "time"])
def test_a_number_of_a_frame_beside_times_is_not_looked_at(read, also):
    first, second = ("0,0.5", "0.5,1") if also == "start,end" else ("0", "0.5")
    assert of_frames(read(f"frame,{also},label\n0,{first},joy\n1,{second},calm\n")) == [1] * 5 + [0] * 5
    assert of_frames(read("start,end,time,label\n0,1,0.5,joy\n")) == [-1] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,time,label\ntalk,0,joy\n,0,calm\n", "all.csv', line 3: found no video"),
        ("video,video,time,label\ntalk,talk,0,joy\n", "line 1: found two columns 'video' in 'video,video,time,label'"),
    ],
)
def test_rows_that_are_of_no_one_video_are_the_fault_of_their_table(tmp_path, text, said):
    (tmp_path / "all.csv").write_text(text)
    (found,) = TABLE.find(tmp_path)
    assert said in found.fault
