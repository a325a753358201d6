"""Annotation files of every edition, good and bad."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows.commands.status import status
from affstore.models.labels.abaw import AnnotationFile, blank, fit_to_frames, read_annotation
from affstore.models.labels.base import FORMATS, LabelFile, check_labelled_once
from affstore.store.contract.errors import AnnotationError, SpecError, UnknownNameError
from affstore.store.contract.labels import AU, AU_8, EXPR, EXPR_7, TASKS, VA
from affstore.tasks.ingest.annotations import store_labels, stored_labels
from affstore.tasks.specs import WorkerContext
from tests.factories import commit, source

EXPR_HEADER, EXPR_7_HEADER = ",".join(EXPR.names), ",".join(EXPR_7.names)
AU_HEADER, AU_8_HEADER = ",".join(AU.names), ",".join(AU_8.names)
VA_HEADER = ",".join(VA.names)


def find_annotations(folder) -> list[LabelFile]:
    """The annotations of the three tasks that a folder holds."""
    found = [one for one in FORMATS.get("abaw").find(folder) if one.task]
    check_labelled_once(found)
    return found


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, task):
        path = tmp_path / "12_left.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_annotation(path, task)

    return write_and_read


def test_a_class_a_line_and_minus_one_is_unknown(read):
    found = read(f"{EXPR_HEADER}\n4\n-1\n7\n0\n", "expr")
    assert found.value.dtype == np.int8
    assert found.value.tolist() == [[4], [-1], [7], [0]]
    assert found.known.tolist() == [[True], [False], [True], [True]]
    assert (found.space, found.edition) == (EXPR, EXPR)


def test_seven_expressions_of_the_first_editions_keep_their_names(read):
    found = read(f"{EXPR_7_HEADER}\n6\n0\n-1\n", "expr")
    assert found.value.ravel().tolist() == [EXPR.names.index("Surprise"), EXPR.names.index("Neutral"), -1]
    assert (found.space, found.edition) == (EXPR, EXPR_7)


def test_the_header_decides_what_a_class_means(read):
    found = read("Other,Sadness,Neutral,Anger,Disgust,Fear,Happiness,Surprise\n0\n1\n7\n-1\n", "expr")
    assert found.value.ravel().tolist() == [*(EXPR.names.index(n) for n in ("Other", "Sadness", "Surprise")), -1]


def test_action_units_are_matched_by_name_in_any_order(read):
    found = read(f"{','.join(reversed(AU.names))}\n{'1,' * 3}{'0,' * 8}-1\n", "au")
    assert found.value.tolist() == [[-1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]]
    assert found.known.tolist() == [[False] + [True] * 11]


def test_eight_action_units_leave_the_other_five_unknown_and_au20_out(read):
    found = read(f"{AU_8_HEADER}\n1,0,1,0,1,0,1,1\n", "au")
    said = dict(zip(AU.names, found.value[0].tolist(), strict=True))
    assert said["AU1"] == said["AU4"] == said["AU12"] == said["AU25"] == 1
    assert said["AU2"] == said["AU6"] == said["AU15"] == 0
    assert {name for name, known in zip(AU.names, found.known[0], strict=True) if not known} == set(AU.names) - set(
        AU_8.names
    )
    assert found.edition == AU_8


def test_valence_and_arousal_are_known_one_by_one(read):
    found = read(f"{VA_HEADER}\n0.5,-1\n-5,1\n-5,-5\n", "va")
    assert found.value.dtype == np.float32
    assert found.value.tolist() == [[0.5, -1], [-5, 1], [-5, -5]]
    assert found.known.tolist() == [[True, True], [False, True], [False, False]]


def test_arousal_may_come_first(read):
    assert read("arousal,valence\n0.25,-0.5\n", "va").value.tolist() == [[-0.5, 0.25]]


@pytest.mark.parametrize(
    "text",
    [
        f"{VA_HEADER}\r\n0.5,-1\r\n-5,1\r\n",
        f"\ufeff{VA_HEADER}\n0.5,-1\n-5,1",
        " valence , arousal \n0.5 , -1  \n -5,\t1 \n\n  \n",
        f"{VA_HEADER.upper()}\n.5,-1.0\n-5.0,1e0\n",
    ],
)
def test_line_ends_byte_order_marks_and_blanks_do_not_matter(read, text):
    assert read(text, "va").value.tolist() == [[0.5, -1], [-5, 1]]


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        ("expr", "", "an empty file"),
        ("expr", "\n\n", "an empty file"),
        ("expr", f"{EXPR_HEADER}\n", "only the line"),
        ("expr", "4\n4\n", "line 1: found '4', expected the header of the task 'expr'"),
        ("expr", f"{EXPR_HEADER}\n4\n8\n", "line 3: found '8', expected whole numbers from 0 to 7"),
        ("expr", f"{EXPR_HEADER}\n9\n", "line 2: found '9'"),
        ("expr", f"{EXPR_7_HEADER}\n7\n", "from 0 to 6"),
        ("expr", f"{EXPR_HEADER}\n-5\n", "line 2: found '-5'"),
        ("expr", f"{EXPR_HEADER}\n2.5\n", "line 2: found '2.5'"),
        ("expr", f"{EXPR_HEADER}\n4\n\n4\n", "line 3: found an empty line"),
        ("expr", f"{EXPR_HEADER}\n4\nfour\n", "line 3: found 'four', expected a number"),
        ("expr", f"{EXPR_HEADER}\n4\n4,4\n", "line 3: found 2 columns"),
        ("expr", f"{EXPR_HEADER}\n4,4\n4,4\n", "line 2: found 2 columns"),
        ("expr", f"{VA_HEADER}\n0,0\n", "the header of the task 'va', expected the header of the task 'expr'"),
        ("au", f"{EXPR_HEADER}\n0\n", "the header of the task 'expr'"),
        ("au", f"{AU_HEADER}\n{'0,' * 11}0\n{'0,' * 10}0\n", "line 3: found 11 columns"),
        (
            "au",
            f"{AU_HEADER}\n{'0,' * 11}2\n",
            "line 2: found '0,0,0,0,0,0,0,0,0,0,0,2', expected whole numbers from 0",
        ),
        ("au", f"{AU_HEADER},AU45\n{'0,' * 12}0\n", "line 1: found"),
        ("va", f"{VA_HEADER}\n0,0\n0,3\n", r"line 3: found '0,3', expected values in \[-1, 1\], or -5"),
        ("va", f"{VA_HEADER}\n0,nan\n", "line 2: found '0,nan'"),
        ("va", f"{VA_HEADER}\n0,inf\n", "line 2: found '0,inf'"),
        ("va", f"{VA_HEADER}\n0 0.5\n", "line 2: found 1 columns"),
        ("va", f"{VA_HEADER}\n0,\n", "line 2: found '', expected a number"),
        ("va", f"{VA_HEADER}\n0x1,0\n", "line 2: found '0x1'"),
        ("va", f"{VA_HEADER}\n0,0\n0,1_0\n", "line 3: found '1_0'"),
        ("va", b"valence,arousal\n0,0\xff\n", "is not UTF-8 text"),
        ("va", "valence,arousal\n0,0\n".encode("utf-16"), "is not UTF-8 text"),
        ("va", b"valence,arousal\n0,\x000\n", "line 2: found"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_how(read, task, text, said):
    with pytest.raises(AnnotationError, match=said) as caught:
        read(text, task)
    assert "12_left.txt" in str(caught.value)


def test_a_file_that_is_not_there_and_a_task_that_is_not_there(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_annotation(tmp_path / "none.txt", "expr")
    with pytest.raises(UnknownNameError, match="Did you mean 'expr'"):
        read_annotation(tmp_path / "none.txt", "exp")


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(TASKS)), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_what_is_written_is_what_is_read(tmp_path_factory, task, lines, seed):
    random = np.random.default_rng(seed)
    space, unknown = TASKS[task], int(blank(TASKS[task]))
    columns = 1 if task == "expr" else len(space)
    value = random.uniform(-1, 1, (lines, columns)).astype(np.float32)
    if task != "va":
        value = random.integers(0, len(space) if task == "expr" else 2, (lines, columns)).astype(np.int8)
    known = random.random((lines, columns)) < 0.7
    order = random.permutation(columns if task != "expr" else 1)
    names = space.names if task == "expr" else [space.names[k] for k in order]
    rows = np.where(known, value, unknown)[:, order].tolist()
    path = tmp_path_factory.mktemp("written") / "1.txt"
    path.write_text("\n".join([",".join(names), *(",".join(map(repr, row)) for row in rows)]))
    found = read_annotation(path, task)
    np.testing.assert_array_equal(found.known, known)
    np.testing.assert_array_equal(found.value, np.where(known, value, unknown))


def annotation(lines: int, task: str = "va") -> AnnotationFile:
    value = np.linspace(-1, 1, 2 * lines, dtype=np.float32).reshape(lines, 2)
    return AnnotationFile(value, np.ones((lines, 2), bool), TASKS[task], TASKS[task])


@pytest.mark.parametrize("lines", [10, 11])
def test_one_line_more_than_frames_is_usual(lines):
    whole = annotation(lines)
    value, known, complaint, _ = fit_to_frames(whole, 10)
    assert complaint is None
    assert known.all()
    np.testing.assert_array_equal(value, whole.value[:10])


@pytest.mark.parametrize(("lines", "frames"), [(12, 10), (102, 99), (1012, 1000), (20, 0)])
def test_an_annotation_that_is_longer_by_more_than_a_hundredth_is_another_video_s(lines, frames):
    with pytest.raises(AnnotationError, match=f"{lines} lines and its video {frames} frames"):
        fit_to_frames(annotation(lines), frames)


@given(st.integers(1, 3000), st.integers(2, 60))
def test_a_small_surplus_of_lines_is_left_out_and_said_so(frames, more):
    whole = annotation(frames + more)
    whole.known[frames + 1] = False
    if more - 1 > frames / 100:
        with pytest.raises(AnnotationError, match="another cut"):
            fit_to_frames(whole, frames)
        return
    value, known, complaint, _ = fit_to_frames(whole, frames)
    np.testing.assert_array_equal(value, whole.value[:frames])
    np.testing.assert_array_equal(known, whole.known[:frames])
    assert complaint == (
        f"The annotation has {frames + more} lines for {frames} frames; the last {more}, {more - 1} of them with a "
        "label, are left out."
    )


def test_frames_without_a_line_are_unknown_and_said_so():
    whole = annotation(7)
    value, known, complaint, _ = fit_to_frames(whole, 10)
    assert (value.shape, known.shape) == ((10, 2), (10, 2))
    assert complaint is not None
    assert "7 lines for 10 frames; the last 3" in complaint
    assert known[:7].all()
    assert not known[7:].any()
    np.testing.assert_array_equal(value[:7], whole.value)
    assert (value[7:] == blank(VA)).all()


def place(root, *parts, text=f"{VA_HEADER}\n0,0\n"):
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_annotations_are_found_in_the_folders_of_every_edition(tmp_path):
    old = place(tmp_path, "annotations", "EXPR_Set", "Validation_Set", "video3.txt")
    third = place(tmp_path, "deep", "down", "VA_Estimation_Challenge", "Train_Set", "9-15-1920x1080_right.txt")
    fifth = place(tmp_path, "EXPR_Classification_Challenge", "Train_Set", "7.txt")
    sixth = place(tmp_path, "6th_ABAW_Annotations", "EXPR_Recognition_Challenge", "Train_Set", "12_left.txt")
    units = place(tmp_path, "AU_Detection_Challenge", "Train_Set", "12_left.txt")
    place(tmp_path, "readme.txt")
    place(tmp_path, "AU_Detection_Challenge", "readme.txt")
    place(tmp_path, "AU_Detection_Challenge", "Train_Set", "._12_left.txt")
    found = {(a.task, a.split, a.video, a.subject, a.path) for a in find_annotations(tmp_path)}
    assert found == {
        ("expr", "validation", "video3", "main", old),
        ("va", "train", "9-15-1920x1080", "right", third),
        ("expr", "train", "7", "main", fifth),
        ("expr", "train", "12", "left", sixth),
        ("au", "train", "12", "left", units),
    }
    paths = [one.path for one in find_annotations(tmp_path)]
    assert paths == sorted(paths)


@pytest.mark.parametrize("root", [".", "AU_Set", "AU_Set/Train_Set"])
def test_any_of_the_folders_may_be_named(tmp_path, root):
    place(tmp_path, "AU_Set", "Train_Set", "12_left.txt")
    (found,) = find_annotations(tmp_path / root)
    assert (found.task, found.split, found.video, found.subject) == ("au", "train", "12", "left")


def test_a_subject_annotated_twice_for_a_task_is_refused(tmp_path):
    place(tmp_path, "ABAW5", "EXPR_Classification_Challenge", "Train_Set", "12_left.txt")
    place(tmp_path, "ABAW6", "EXPR_Recognition_Challenge", "Validation_Set", "12_left.txt")
    with pytest.raises(SpecError, match="'12_left' is annotated twice for the task 'expr'"):
        find_annotations(tmp_path)


def test_a_folder_without_annotations_holds_none_and_one_that_is_not_there_is_said(tmp_path):
    place(tmp_path, "Train_Set", "notes.txt")
    assert find_annotations(tmp_path) == []
    with pytest.raises(SpecError, match="nowhere', which does not exist"):
        find_annotations(tmp_path / "nowhere")


def test_the_longest_annotation_of_the_corpus_is_read_whole(read):
    lines = 47_435
    table = np.random.default_rng(0).integers(-1, 2, (lines, 12))
    found = read("\n".join([AU_HEADER, *(",".join(map(str, row)) for row in table.tolist())]), "au")
    np.testing.assert_array_equal(found.value, table)
    np.testing.assert_array_equal(found.known, table >= 0)


def test_status_says_what_was_left_out_of_an_annotation_and_a_longer_file_is_quarantined(tmp_path, capsys):
    store = FeatureStore.create(f"memory:{tmp_path}")
    commit(store, source("film", 200), source("clip", 200))
    folder = tmp_path / "VA_Set" / "Train_Set"
    folder.mkdir(parents=True)
    for video, lines in (("film", 203), ("clip", 204)):
        folder.joinpath(f"{video}.txt").write_text("\n".join([VA_HEADER, *["0.5,0.25"] * lines]))
    for one in find_annotations(tmp_path):
        outcome = store_labels(WorkerContext(store.url, "run", tmp_path), one.video, [one])
        FeatureStore(store.url).commit([outcome.draft], "labels")
    assert status(store=store.url, json=True) == 0
    document = json.loads(capsys.readouterr().out)
    complaints = {video["video"]: (video["labels"], video["complaint"]) for video in document["videos"]}
    said = "va: The annotation has 203 lines for 200 frames; the last 3, 3 of them with a label, are left out."
    assert complaints == {"film": (["va"], said), "clip": ([], None)}
    assert ["204 lines and its video 200 frames" in held["reason"] for held in document["quarantined"]] == [True]


def test_labels_that_the_store_has_are_known_until_their_file_or_their_video_changes(tmp_path):
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}"), source("film", frames=200))
    folder = tmp_path / "VA_Estimation_Challenge" / "Train_Set"
    folder.mkdir(parents=True)
    folder.joinpath("film.txt").write_text("\n".join([VA_HEADER, *["0.5,0.25"] * 200]))
    (found,) = find_annotations(tmp_path)
    assert stored_labels(store, "film", [found]) is None
    outcome = store_labels(WorkerContext(store.url, "run", tmp_path), "film", [found])
    store.commit([outcome.draft], "labels")
    known = stored_labels(store.newest(), "film", [found])
    assert known is not None
    assert known == store_labels(WorkerContext(store.url, "run", tmp_path), "film", [found])
    assert known.status == "cached"
    assert stored_labels(store.newest(), "another", [found]) is None
    folder.joinpath("film.txt").write_text("\n".join([VA_HEADER, *["0.5,0.5"] * 200]))
    assert stored_labels(store.newest(), "film", [found]) is None
    folder.joinpath("film.txt").unlink()
    assert stored_labels(store.newest(), "film", [found]) is None, "its task says that it cannot be read"
