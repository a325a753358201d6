"""Features that another program computed become artifacts on a video's frames, or are refused in a sentence."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import pytest

from affstore import FeatureStore, read_video
from affstore.flows.cli import call
from affstore.models.feature_files import read_features
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import MediaError, SpecError
from affstore.store.contract.records import Address
from affstore.tasks.lineage.graph import leaves_of
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.verify import verify
from tests.factories import commit, source

FRAMES = 40


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return commit(FeatureStore.create(str(tmp_path / "store")), source("talk", FRAMES))


@pytest.fixture
def give(store, tmp_path, capsys):
    def give(path, *more):
        code = call(["import", str(path), "--video", "talk", "--name", "gaze", "--store", store.url, *more])
        said = capsys.readouterr()
        return code, said.out + said.err

    return give


def test_an_array_is_read_like_any_embedding_and_rows_of_nan_are_not_present(store, give, tmp_path):
    values = np.arange(FRAMES * 3, dtype=np.float64).reshape(FRAMES, 3)
    values[5:8, 1] = np.nan
    np.save(tmp_path / "gaze.npy", values)
    assert give(tmp_path / "gaze.npy")[0] == 0
    found = read_video(FeatureStore(store.url), "talk", "imported/gaze")
    assert found.present.tolist() == [not 5 <= frame < 8 for frame in range(FRAMES)]
    np.testing.assert_array_equal(found.embedding[found.present], values[found.present])
    assert np.isnan(found.embedding[5:8]).all()
    code, said = give(tmp_path / "gaze.npy")
    assert (code, "in the store already" in said) == (0, True)


def test_the_record_says_where_they_come_from_and_that_nobody_here_computed_them(store, give, tmp_path):
    np.savez(tmp_path / "both.npz", left=np.ones((FRAMES, 2)), right=np.ones((FRAMES, 4)))
    code, said = give(tmp_path / "both.npz")
    assert (code, "holds the arrays left, right. Name one with --take" in said) == (3, True)
    assert give(tmp_path / "both.npz", "--take", "right", "--sound")[0] == 0
    opened = FeatureStore(store.url)
    record = opened.get(Address("audio", "imported/gaze", "talk"))
    assert (record.made["imported"]["file"], record.provenance) == ("both.npz", "unofficial")
    (leaf,) = leaves_of(record)
    assert leaf.kind == "features"
    assert not verify(opened).findings
    (again,) = reproduce(opened, [record.address], default_folder())
    assert (again.verdict, "taken in as it is" in again.reason) == ("not computed", True)
    assert call(["trace", record.address.path, "--store", store.url]) == 0


def test_the_columns_of_a_table_that_are_named_are_taken_in_that_order(store, give, tmp_path):
    rows = ["frame,who,yaw,pitch", *(f"{n},me,{n / 10},{'' if n == 3 else -n}" for n in range(FRAMES))]
    (tmp_path / "pose.csv").write_text("\n".join(rows))
    code, said = give(tmp_path / "pose.csv")
    assert (code, "line 2: found 'me', expected a number" in said) == (3, True)
    assert give(tmp_path / "pose.csv", "--take", "pitch", "--take", "yaw")[0] == 0
    found = read_video(FeatureStore(store.url), "talk", "imported/gaze")
    assert found.embedding[2].tolist() == pytest.approx([-2, 0.2])
    assert not found.present[3]
    assert "it has frame, who, yaw, pitch" in give(tmp_path / "pose.csv", "--take", "roll")[1]


def test_another_length_than_the_video_s_is_refused_with_both(give, tmp_path):
    np.save(tmp_path / "gaze.npy", np.ones((FRAMES - 1, 3)))
    code, said = give(tmp_path / "gaze.npy")
    assert code == 3
    assert f"has {FRAMES - 1} rows, and 'talk' has {FRAMES} frames" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gaze.pkl", pickle.dumps([1]), "Pickled objects are never read"),
        ("gaze.npy", pickle.dumps([1]), "cannot be read as npy"),
        ("gaze.npz", b"PK", "cannot be read as npz"),
        ("gaze.csv", b"\xff\xfe", "is not UTF-8 text .byte 0.. Save it as UTF-8"),
        ("gaze.npy", b"", "gaze.npy' is an empty file"),
        ("gaze.csv", b"a,b\n", "of the shape .frames, features.; found .0, 2."),
        ("none.csv", None, "none.csv' cannot be read: No such file or directory. Check the path"),
    ],
)
def test_what_holds_no_features_is_refused_in_a_sentence(give, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, printed = give(tmp_path / name)
    assert code == 3
    assert re.search(said, printed)
    assert "Traceback" not in printed


def damaged_archive(values):
    """An .npz whose compressed bytes were changed."""
    file = io.BytesIO()
    np.savez_compressed(file, a=values)
    content = bytearray(file.getvalue())
    content[60:90] = bytes(30)
    return bytes(content)


RAMP = np.arange(FRAMES * 2.0).reshape(FRAMES, 2)


@pytest.mark.parametrize(
    ("name", "content", "take", "said"),
    [
        ("x.csv", b"a,b\n1,2\n3\n", (), "line 3: found 1 cells, expected 2"),
        ("x.csv", b"a,b\n1,2\n3,4,5\n", ("a",), "line 3: found 3 cells, expected 2"),
        ("x.csv", b"a,b\n1,2\n\n3,4\n", (), "line 3: found 0 cells, expected 2"),
        ("x.csv", b"a,b\n1," + b"2" * 140_000, (), "cannot be read as csv: field larger"),
        ("x.csv", b"", (), "is an empty file"),
        ("x.csv", b"a,a\n1,2\n", (), "has two columns 'a'. Rename one"),
        ("x.csv", b"a;b\n1;0,5\n", (), "found '0,5', expected a number. Write numbers with a decimal point"),
        ("x.csv", b"a;b\n1;2\n3;-inf\n", (), "1 number that is infinite .* the first in row 1, column 'b'"),
        ("x.npy", np.where(RAMP == 7, 1e300, RAMP), (), "too large for float32, the first in row 3, column 1"),
        ("x.npy", RAMP[:, 0], (), "of the shape .frames, features.; found .40,."),
        ("x.npy", np.zeros((FRAMES, 2), [("a", "f4")]), (), "expected real numbers"),
        ("x.npy", RAMP + 1j, (), "holds values of the type complex128, expected real numbers"),
        ("x.npy", RAMP.astype("datetime64[s]"), (), "of the type datetime64.s., expected real numbers"),
        ("x.npy", RAMP, ("a",), "holds one array, so that there is nothing to --take"),
        ("x.npz", {"a": RAMP, "b": RAMP}, ("a", "b"), "One array is taken .* found --take a and b"),
        ("x.npz", {"a": RAMP.astype(complex)}, (), "expected real numbers"),
        ("x.npz", damaged_archive(RAMP), (), "cannot be read as npz"),
    ],
)
def test_what_could_be_meant_in_two_ways_or_is_damaged_is_refused_in_a_sentence(tmp_path, name, content, take, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises((SpecError, MediaError), match=said):
        read_features(path, take)


def test_a_subject_that_no_video_has_is_refused(give, tmp_path):
    np.save(tmp_path / "gaze.npy", RAMP)
    code, printed = give(tmp_path / "gaze.npy", "--subject", "middle")
    assert (code, "middle" in printed) == (2, True)


def test_two_files_of_one_video_are_not_taken_for_one_another(store, tmp_path, capsys):
    for number, folder in enumerate((tmp_path / "first", tmp_path / "second")):
        folder.mkdir()
        np.save(folder / "talk.npy", np.full((FRAMES, 2), number))
    files = [str(tmp_path / folder / "talk.npy") for folder in ("first", "second")]
    assert call(["import", *files, "--name", "gaze", "--store", store.url]) == 3
    assert "are both of 'visual/imported%2Fgaze/talk/main'" in capsys.readouterr().out
    assert (read_video(FeatureStore(store.url), "talk", "imported/gaze").embedding == 0).all()


def test_an_array_of_objects_is_not_read(give, tmp_path):
    np.save(tmp_path / "gaze.npy", np.array([[object()]], object), allow_pickle=True)
    code, printed = give(tmp_path / "gaze.npy")
    assert (code, "cannot be read as npy" in printed) == (3, True)


def test_a_dry_run_says_what_would_be_new_and_writes_nothing(store, give, tmp_path):
    np.save(tmp_path / "gaze.npy", RAMP + 7)
    before = store.newest().snapshot
    assert "would be taken in" in give(tmp_path / "gaze.npy", "--dry-run")[1]
    assert store.newest().snapshot == before
    assert give(tmp_path / "gaze.npy")[0] == 0
    assert "in the store already" in give(tmp_path / "gaze.npy", "--dry-run")[1]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_columns_may_be_apart_by_other_signs_than_commas(tmp_path, sign):
    for text in ("yaw,pitch\n0.5,1\nNA,2\n", "yaw,pitch,\n0.5,1,\nNA,2,\n"):
        (tmp_path / "pose.csv").write_text(text.replace(",", sign))
        found = read_features(tmp_path / "pose.csv")
        assert found.columns == ("yaw", "pitch")
        np.testing.assert_array_equal(found.values, np.array([[0.5, 1], [np.nan, 2]], np.float32))


def test_a_file_of_no_video_is_refused_like_any_other_and_a_wrong_request_is_not_begun(give, store, tmp_path, capsys):
    np.save(tmp_path / "gaze.npy", RAMP)
    assert call(["import", str(tmp_path / "gaze.npy"), "--name", "gaze", "--store", store.url]) == 3
    assert "has no video 'gaze'" in capsys.readouterr().err
    assert give(tmp_path / "gaze.npy", "--name", "silero_vad")[0] == 2
    code, said = give(tmp_path / "gaze.npy", "--sound", "--subject", "left")
    assert (code, "--subject left names a person, and --sound is of nobody" in said) == (2, True)


def test_people_of_one_video_whose_features_differ_are_told_apart(give, tmp_path):
    np.save(tmp_path / "gaze.npy", RAMP)
    np.save(tmp_path / "more.npy", np.ones((FRAMES, 3)))
    assert give(tmp_path / "gaze.npy")[0] == 0
    code, said = give(tmp_path / "more.npy", "--subject", "left")
    assert (code, "'talk_left' has 3 numbers a frame, and 'talk' 2 numbers a frame" in said) == (0, True)
