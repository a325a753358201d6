"""The demonstration corpus: deterministic, in Aff-Wild2's layout, and really as odd as its takes say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.demo.annotate import SPLIT_FOLDERS, TASK_FOLDERS, TEST_LISTS, header
from affstore.models.demo.corpus import MANIFEST, CorpusSpec, write_corpus
from affstore.models.demo.face import Face
from affstore.models.demo.script import LETTERS, episode_lengths, presence, random_of, states, va_labels, write_script
from affstore.models.demo.takes import LATE_S, TAKES, Take
from affstore.models.demo.units import COLUMN, UNITS
from affstore.models.demo.voice import control_times, speak
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.labels import EXPR, TASKS
from affstore.store.contract.names import check_name, split_subject

SPEC = CorpusSpec(episode_s=0.7)
FEW = CorpusSpec(only=("video17", "video58", "45-20-320x240"), episode_s=0.6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, SPEC)
    return folder


def decoded(path: Path) -> tuple[list[int], list[np.ndarray]]:
    """Instants of every frame, and every tenth picture; what decodes before a damaged file breaks."""
    instants, pictures = [], []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        try:
            for frame in container.decode(video=0):
                if len(instants) % 10 == 0:
                    pictures.append(frame.to_ndarray(format="rgb24"))
                instants.append(frame.pts)
        except av.FFmpegError:
            pass
    return instants, pictures


@pytest.fixture(scope="module")
def films(corpus: Path) -> dict[str, tuple[list[int], list[np.ndarray]]]:
    return {take.name: decoded(corpus / "videos" / take.file_name) for take in TAKES}


def annotations(corpus: Path, task: str, split: str) -> dict[str, list[str]]:
    folder = corpus / "annotations" / TASK_FOLDERS[task] / SPLIT_FOLDERS[split]
    return {path.stem: path.read_text().splitlines() for path in sorted(folder.iterdir())}


def declared(corpus: Path, take: Take) -> int:
    with av.open(str(corpus / "videos" / take.file_name)) as container:
        return container.streams.video[0].frames


def take_called(name: str) -> Take:
    return next(take for take in TAKES if take.name == name)


@pytest.mark.slow
def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "a", FEW), write_corpus(tmp_path / "b", FEW)
    assert [digest_file(path) for path in first] == [digest_file(path) for path in second]
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()


def test_another_seed_gives_other_bytes_and_leaves_nothing_of_the_old_corpus(tmp_path: Path) -> None:
    one, other = replace(FEW, only=("video91",)), replace(FEW, only=("video2",), seed=8)
    (old,) = write_corpus(tmp_path, one)
    (tmp_path / "mine.txt").write_text("kept")
    write_corpus(tmp_path, other)
    assert not old.exists()
    assert (tmp_path / "mine.txt").exists()
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["video2.avi"]


def test_a_folder_that_holds_the_corpus_is_left_alone_and_a_changed_file_is_written_again(tmp_path: Path) -> None:
    spec = replace(FEW, only=("video91",))
    (video,) = write_corpus(tmp_path, spec)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_corpus(tmp_path, spec)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    good = digest_file(video)
    video.write_bytes(b"spoilt")
    write_corpus(tmp_path, spec)
    assert digest_file(video) == good


@pytest.mark.parametrize("text", ["{", "[]", '{"spec": "x", "files": {"../mine.txt": ""}}', '{"spec": "x"}'])
def test_a_manifest_of_somebody_else_stops_the_writing(tmp_path: Path, text: str) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "mine.txt").write_text("kept")
    (tmp_path / "corpus" / MANIFEST).write_text(text)
    with pytest.raises(SpecError, match="choose another folder"):
        write_corpus(tmp_path / "corpus", FEW)
    assert (tmp_path / "mine.txt").exists()


def test_a_spec_refuses_what_it_cannot_make() -> None:
    with pytest.raises(UnknownNameError, match="video91"):
        CorpusSpec(only=("video71",))
    with pytest.raises(SpecError, match="episode_s"):
        CorpusSpec(episode_s=0.0)


@pytest.mark.slow
def test_the_layout_is_that_of_aff_wild2(corpus: Path) -> None:
    assert {path.name for path in (corpus / "videos").iterdir()} == {take.file_name for take in TAKES}
    for task in TASKS:
        for split in SPLIT_FOLDERS:
            found = annotations(corpus, task, split)
            assert set(found) == {
                name for take in TAKES if take.split == split and task in take.tasks for name in take.annotation_names
            }
            assert {lines[0] for lines in found.values()} == {header(task)}
    for take in TAKES:
        assert check_name(take.name) == take.name
        assert {split_subject(name)[0] for name in take.annotation_names} == {take.name}
    assert header("au") == "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"


@pytest.mark.slow
def test_there_is_a_line_for_every_frame(corpus: Path, films: dict[str, tuple[list[int], list[np.ndarray]]]) -> None:
    for task in TASKS:
        for split in SPLIT_FOLDERS:
            for name, lines in annotations(corpus, task, split).items():
                take = take_called(split_subject(name)[0])
                assert len(lines) - 1 - take.surplus == declared(corpus, take)
                if not take.damaged:
                    assert len(films[take.name][0]) == declared(corpus, take)


@pytest.mark.slow
def test_labels_are_valid_or_marked_invalid(corpus: Path) -> None:
    marked = dict.fromkeys(TASKS, 0)
    for task, allowed in (("expr", range(-1, 8)), ("au", range(-1, 2))):
        for split in SPLIT_FOLDERS:
            values = np.array([row.split(",") for ls in annotations(corpus, task, split).values() for row in ls[1:]])
            assert set(values.astype(int).ravel()) == set(allowed)
            marked[task] += int((values.astype(int) == -1).any(1).sum())
    for split in SPLIT_FOLDERS:
        values = np.array([row.split(",") for ls in annotations(corpus, "va", split).values() for row in ls[1:]], float)
        lost = (values == -5).all(1)
        assert (np.abs(values[~lost]) <= 1).all()
        assert values[~lost].std(0).min() > 0.3
        marked["va"] += int(lost.sum())
    assert min(marked.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("split", list(SPLIT_FOLDERS))
def test_every_expression_occurs_and_neutral_is_the_most_frequent(corpus: Path, split: str) -> None:
    labels = np.concatenate([np.array(lines[1:], int) for lines in annotations(corpus, "expr", split).values()])
    shares = np.bincount(labels[labels >= 0], minlength=len(EXPR)) / (labels >= 0).sum()
    assert shares.min() > 0.04
    assert shares.argmax() == EXPR.names.index("Neutral")
    assert shares.max() <= 0.35


@pytest.mark.slow
@pytest.mark.parametrize("split", list(SPLIT_FOLDERS))
def test_every_action_unit_is_seen_on_and_off(corpus: Path, split: str) -> None:
    rows = np.array([row.split(",") for ls in annotations(corpus, "au", split).values() for row in ls[1:]], int)
    rates = (rows[(rows >= 0).all(1)]).mean(0)
    assert rates.min() > 0.03
    assert rates.max() < 0.7


@pytest.mark.slow
def test_the_test_lists_name_every_frame_of_the_test_videos(corpus: Path) -> None:
    for task, name in TEST_LISTS.items():
        first, *rows = (corpus / "test_set" / name).read_text().splitlines()
        assert first == f"image_location,{header(task)}"
        for take in (take for take in TAKES if take.split == "test"):
            last = declared(corpus, take) + take.surplus
            own = [row for row in rows if row.startswith(f"{take.name}/")]
            assert own == [f"{take.name}/{frame:05d}.jpg," for frame in range(1, last + 1)]


@pytest.mark.slow
def test_only_the_variable_video_has_frames_of_unequal_length(
    films: dict[str, tuple[list[int], list[np.ndarray]]],
) -> None:
    lengths = {take.name: len(set(np.diff(films[take.name][0]))) for take in TAKES}
    assert {name for name, different in lengths.items() if different > 1} == {"video17"}
    assert lengths["video17"] >= 4


@pytest.mark.slow
def test_sound_is_there_is_late_or_is_missing_as_its_take_says(corpus: Path) -> None:
    for take in TAKES:
        with av.open(str(corpus / "videos" / take.file_name)) as container:
            streams = container.streams.audio
            assert len(streams) == (take.sound != "none")
            if streams:
                begins_s = next(container.decode(audio=0)).time
                assert begins_s == pytest.approx(LATE_S if take.sound == "late" else 0.0, abs=0.05)
                assert streams[0].rate == (48_000 if take.suffix == "mp4" else 44_100)


@pytest.mark.slow
def test_the_damaged_video_gives_fewer_frames_than_it_declares(
    corpus: Path, films: dict[str, tuple[list[int], list[np.ndarray]]]
) -> None:
    (take,) = (take for take in TAKES if take.damaged)
    assert 0 < len(films[take.name][0]) < declared(corpus, take)


@pytest.mark.slow
def test_a_face_is_found_where_one_is_shown(films: dict[str, tuple[list[int], list[np.ndarray]]]) -> None:
    import cv2

    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    found = {
        take.name: [
            len(cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1.1, 3, minSize=(60, 60)))
            for picture in films[take.name][1]
        ]
        for take in TAKES
    }
    whole = [min(faces, 1) for take in TAKES if not take.absence for faces in found[take.name]]
    assert np.mean(whole) >= 0.9
    assert np.mean(np.array(found["6-20-480x240"]) >= 2) >= 0.9
    assert all(0 in found[take.name] for take in TAKES if take.absence)


@pytest.mark.slow
def test_labels_go_with_a_face_that_leaves_and_stay_when_the_picture_cuts_away(corpus: Path) -> None:
    lost = {}
    for split, name in (("train", "86-24-320x240"), ("validation", "207")):
        for task in TASKS:
            rows = np.array([row.split(",") for row in annotations(corpus, task, split)[name][1:]], float)
            middle = rows[len(rows) // 2 - 12 : len(rows) // 2 + 12]
            lost[name, task] = (middle == (-5 if task == "va" else -1)).all()
    assert all(lost["86-24-320x240", task] for task in TASKS)
    assert not any(lost["207", task] for task in TASKS)


@settings(max_examples=30, deadline=None)
@given(st.text(LETTERS, min_size=1, max_size=8), st.integers(0, 2**16))
def test_a_script_shares_every_instant_among_its_episodes_and_keeps_its_ranges(act: str, seed: int) -> None:
    random = random_of(seed, act)
    script = write_script(act, episode_lengths(act, 1.0, random), random)
    times_s = np.linspace(0.0, script.end_s, 50)
    share, state = presence(script, times_s), states(script, times_s)
    np.testing.assert_allclose(share.sum(1), 1.0, atol=1e-5)
    assert share.min() >= 0
    assert 0.0 <= state.min() <= state.max() <= 1.0
    assert np.abs(va_labels(state)).max() <= 1.0


def test_each_action_unit_changes_the_face_and_only_where_the_face_is() -> None:
    face = Face()
    rest = face.draw(np.zeros(len(UNITS), np.float32)).astype(int)
    for unit, column in COLUMN.items():
        state = np.zeros(len(UNITS), np.float32)
        state[column] = 1.0
        changed = np.abs(face.draw(state).astype(int) - rest).max(2) > 12
        assert changed.sum() > 150, unit
        rows, columns = np.nonzero(changed)
        assert rows.min() > 60 * 1.5, unit
        assert rows.max() < 210 * 1.5, unit
        assert columns.min() > 130 * 1.5, unit
        assert columns.max() < 270 * 1.5, unit


def test_arousal_raises_the_voice() -> None:
    hops = len(control_times(2.0))
    calm, tense = (
        speak(np.tile([0.0, arousal], (hops, 1)), np.ones(hops), 16_000, random_of(1, "voice"))
        for arousal in (-0.8, 0.8)
    )

    def centre_hz(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave[:32_000])) ** 2
        return float((power * np.fft.rfftfreq(32_000, 1 / 16_000)).sum() / power.sum())

    assert np.isfinite(tense).all()
    assert np.abs(tense).max() <= 1.0
    assert centre_hz(tense) > 1.15 * centre_hz(calm)
