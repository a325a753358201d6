"""Challenge files, written and read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.challenge_file import every_frame, read_sample, write_submission
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import AU, EXPR
from tests.factories import read_submission

EXPR_HEADER = ",".join(("image_location", *EXPR.names))
AU_HEADER = ",".join(("image_location", *AU.names))
VA_HEADER = "image_location,valence,arousal"


@pytest.fixture
def submit(tmp_path):
    def written(text, task, predictions):
        sample = tmp_path / "sample.txt"
        sample.write_text(text)
        result = write_submission(tmp_path / "predictions.txt", read_sample(sample, task), predictions)
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["predictions.txt", "sample.txt"]
        return (tmp_path / "predictions.txt").read_text().splitlines(), result

    return written


def test_rows_are_the_samples_in_its_order_with_its_header(submit):
    rows = ["b_left/00002.jpg,", "a/00001.jpg,", "b_left/00001.jpg,", "b/00001.jpg,"]
    predictions = {"a": [[7]], "b": [[1]], "b_left": [[4], [5]], "unlisted": [[0]]}
    lines, result = submit(
        "\n".join([EXPR_HEADER, *rows]) + "\n", "expr", {name: np.array(p, np.int8) for name, p in predictions.items()}
    )
    assert lines == [EXPR_HEADER, "b_left/00002.jpg,5", "a/00001.jpg,7", "b_left/00001.jpg,4", "b/00001.jpg,1"]
    assert (result.rows, result.videos, result.repeated) == (4, 3, 0)


def test_dummy_values_and_foreign_line_ends_of_the_sample_do_not_matter(submit):
    text = f"{VA_HEADER}\r\nvideo/00001.jpg,0.1,0.2\r\nvideo/00002.jpg\r\nvideo/00003.jpg,\r\n"
    values = np.array([[0.12, -0.03], [-1, 1], [-1e-9, 0.00005001]], np.float32)
    lines, _ = submit(text, "va", {"video": values})
    assert lines[1:] == [
        "video/00001.jpg,0.1200,-0.0300",
        "video/00002.jpg,-1.0000,1.0000",
        "video/00003.jpg,0.0000,0.0001",
    ]


@pytest.mark.parametrize("blank", ["", " ", "\t", "  "])
def test_blanks_around_a_row_make_no_other_video(submit, blank):
    text = f"{EXPR_HEADER}\nvideo/00001.jpg,\n{blank}video/00002.jpg{blank},\n{blank}a video/00001.jpg\n"
    lines, result = submit(text, "expr", {"video": np.array([[3], [4]]), "a video": np.array([[5]])})
    assert lines[1:] == ["video/00001.jpg,3", "video/00002.jpg,4", "a video/00001.jpg,5"]
    assert result.videos == 2


def test_rows_past_the_last_frame_repeat_the_last_prediction(submit):
    text = "\n".join([AU_HEADER, *(f"video/{i:05d}.jpg," for i in range(1, 6))])
    values = np.eye(12, dtype=np.int8)[:3]
    lines, result = submit(text, "au", {"video": values})
    assert [line.partition(",")[2] for line in lines[1:]] == [",".join(map(str, values[k])) for k in (0, 1, 2, 2, 2)]
    assert result.repeated == 2


def test_frame_numbers_grow_beyond_five_digits(submit):
    numbers = [99_999, 100_000, 100_001]
    text = "\n".join([EXPR_HEADER, *(f"video/{i:05d}.jpg," for i in numbers)])
    classes = (np.arange(100_001) % 8).astype(np.int8)[:, None]
    lines, result = submit(text, "expr", {"video": classes})
    assert lines[1:] == [f"video/{i}.jpg,{(i - 1) % 8}" for i in numbers]
    assert result.repeated == 0


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["expr", "au", "va"]),
    st.dictionaries(
        st.sampled_from(["9", "10", "10_left", "video2", "4-30-1920x1080"]), st.integers(1, 30), min_size=1
    ),
    st.integers(0, 2**32 - 1),
)
def test_what_is_submitted_is_read_back(tmp_path_factory, task, frames, seed):
    random = np.random.default_rng(seed)
    make = {
        "expr": lambda k: random.integers(0, 8, (k, 1)).astype(np.int8),
        "au": lambda k: random.integers(0, 2, (k, 12)).astype(np.int8),
        "va": lambda k: random.uniform(-1, 1, (k, 2)).astype(np.float32),
    }[task]
    predictions = {name: make(count) for name, count in frames.items()}
    path = tmp_path_factory.mktemp("submission") / "predictions.txt"
    sample = every_frame(task, frames)
    write_submission(path, sample, predictions)
    again, values = read_submission(path, task)
    assert again.images == sample.images
    assert again.images == [f"{name}/{i:05d}.jpg" for name in sorted(frames) for i in range(1, frames[name] + 1)]
    assert again.header == sample.header
    for of in (again, sample):
        expected = np.concatenate([predictions[of.videos[v]][[f]] for v, f in zip(of.video, of.frame, strict=True)])
        np.testing.assert_allclose(values, expected, atol=5.1e-5 if task == "va" else 0)


def test_a_listed_video_without_prediction_is_named(submit):
    with pytest.raises(SpecError, match="asks for the video '12_left', which has no prediction"):
        submit(f"{EXPR_HEADER}\n12_left/00001.jpg,\n", "expr", {"12": np.zeros((1, 1), np.int8)})


@pytest.mark.parametrize(
    ("task", "header", "prediction", "said"),
    [
        ("expr", EXPR_HEADER, np.zeros((0, 1), np.int8), "at least one frame"),
        ("expr", EXPR_HEADER, np.zeros((3, 8), np.float32), r"\(frames, 1\)"),
        ("expr", EXPR_HEADER, np.full((3, 1), 8), "whole numbers from 0 to 7"),
        ("au", AU_HEADER, np.full((3, 12), 0.5), "whole numbers from 0 to 1"),
        ("va", VA_HEADER, np.full((3, 2), np.nan), "finite numbers"),
    ],
)
def test_predictions_the_task_does_not_allow_are_refused(submit, tmp_path, task, header, prediction, said):
    with pytest.raises(SpecError, match=said):
        submit(f"{header}\nvideo/00001.jpg,\n", task, {"video": prediction})
    assert not (tmp_path / "predictions.txt").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs the header"),
        (f"{VA_HEADER}\nvideo/00001.jpg,\n", "needs the header"),
        (f"{EXPR_HEADER}\n", "line 2: expected a row"),
        (f"{EXPR_HEADER}\nvideo/00001.jpg,\nvideo-00002.jpg,\n", "line 3: expected a row"),
        (f"{EXPR_HEADER}\nvideo/00001.jpg,\n\nvideo/00002.jpg,\n", "line 3: expected a row"),
        (f"{EXPR_HEADER}\nvideo/00001.jpg,\nvideo/00000.jpg,\n", "line 3: images count from 1"),
        (f"{EXPR_HEADER}\nvideo/{10**20}.jpg,\n", "line 2: expected a row such as"),
        (f"{EXPR_HEADER}\nvideo/00001.jpg,\nvideo /00002.jpg,\n", "line 3: expected a row"),
    ],
)
def test_a_sample_that_is_no_sample_says_where(tmp_path, text, said):
    path = tmp_path / "sample.txt"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        read_sample(path, "expr")


def test_a_sample_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        read_sample(tmp_path / "none.txt", "expr")
