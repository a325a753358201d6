"""What tracking promises: properties over any video, and the rules of who is a subject."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.faces.crops import cut, resized
from affstore.models.faces.detections import Detections
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.tracking import FaceTracker
from affstore.store.contract.errors import SpecError

WIDTH, HEIGHT = 640, 360
SPEC = TrackingSpec()


def found(*boxes) -> Detections:
    box = np.array(boxes, np.float32).reshape(-1, 4)
    centre = (box[:, :2] + box[:, 2:]) / 2
    score = np.full(len(box), 0.99, np.float32)
    return Detections(box, np.repeat(centre[:, None], 5, axis=1), score)


def square(x: float, y: float, side: float) -> tuple[float, float, float, float]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def tracked(video: list[Detections], spec: TrackingSpec = SPEC) -> FaceTracker:
    tracker = FaceTracker(spec)
    for frame, detections in enumerate(video):
        tracker.update(frame, detections)
    return tracker


NOBODY = found()
LEFT, RIGHT = square(160, 180, 100), square(480, 180, 110)

boxes = st.builds(
    lambda x, y, side: tuple(np.clip(square(x, y, side), 0, [WIDTH, HEIGHT] * 2)),
    st.floats(0, WIDTH),
    st.floats(0, HEIGHT),
    st.floats(0.1, 300),
)
videos = st.lists(st.lists(boxes, max_size=5), min_size=1, max_size=12)


@settings(deadline=None)
@given(videos, st.randoms(use_true_random=False))
def test_the_order_of_a_frames_faces_changes_nothing(video, random):
    one, other = FaceTracker(SPEC), FaceTracker(SPEC)
    for frame, faces in enumerate(video):
        mixed = random.sample(range(len(faces)), len(faces))
        kept, mixed_kept = one.update(frame, found(*faces)), other.update(frame, found(*faces).take(mixed))
        assert [(f.track, f.box.tolist()) for f in kept] == [(f.track, f.box.tolist()) for f in mixed_kept]
    assert one.subjects() == other.subjects()


@settings(deadline=None)
@given(videos)
def test_each_face_and_each_track_is_used_at_most_once_and_can_be_cropped(video):
    tracker, picture = FaceTracker(SPEC), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for frame, faces in enumerate(video):
        kept = tracker.update(frame, found(*faces))
        assert len(kept) <= SPEC.most_candidates
        assert len({face.track for face in kept}) == len(kept)
        given_boxes = found(*faces).box.tolist()
        for face in kept:
            given_boxes.remove(face.box.tolist())
            assert resized(cut(picture, face.box), 8).shape == (8, 8, 3)


@settings(deadline=None)
@given(videos)
def test_subjects_share_no_track_and_are_present_where_their_tracks_are(video):
    tracker, seen = FaceTracker(SPEC), {}
    for frame, faces in enumerate(video):
        for face in tracker.update(frame, found(*faces)):
            seen[face.track, frame] = face.box
    subjects = tracker.subjects()
    assert set(subjects.tracks) in ({"main"}, {"left", "right"})
    assert subjects.foremost in subjects.tracks
    everyone = [track for tracks in subjects.tracks.values() for track in tracks]
    assert len(everyone) == len(set(everyone))
    for tracks in subjects.tracks.values():
        whole = tracker.face_track(tracks, len(video))
        rows = {frame: box for (track, frame), box in seen.items() if track in tracks}
        assert np.flatnonzero(whole.present).tolist() == sorted(rows)
        assert all(np.array_equal(whole.box[frame], box) for frame, box in rows.items())
        assert not whole.box[~whole.present].any()
        assert not whole.landmark[~whole.present].any()
        assert not whole.score[~whole.present].any()


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(-4, 4), st.lists(st.booleans(), min_size=60, max_size=60))
def test_two_people_whose_faces_never_overlap_stay_two(seed, drift, hidden):
    jitter = np.random.default_rng(seed).uniform(-6, 6, (60, 2, 4))
    video = []
    for frame in range(60):
        faces = np.array([LEFT, RIGHT]) + jitter[frame] + [drift * np.sin(frame / 9) * 8, 0] * 2
        video.append(found(*faces[: 1 if hidden[frame] and frame > 15 else 2]))
    tracker = tracked(video)
    subjects = tracker.subjects()
    assert set(subjects.tracks) == {"left", "right"}
    left, right = (tracker.face_track(subjects.tracks[side], 60) for side in ("left", "right"))
    assert left.present.all()
    assert (left.box[right.present, 2] < right.box[right.present, 0]).all()


@settings(deadline=None)
@given(st.integers(0, SPEC.longest_gap_frames))
def test_a_gap_that_is_allowed_is_bridged_by_one_track(gap):
    tracker = tracked([found(LEFT)] * 15 + [NOBODY] * gap + [found(LEFT)] * 15)
    assert tracker.subjects().tracks == {"main": (0,)}


def test_after_a_longer_gap_the_same_place_is_the_same_subject():
    gap = SPEC.longest_gap_frames + 1
    tracker = tracked([found(LEFT)] * 15 + [NOBODY] * gap + [found(square(190, 190, 120))] * 15)
    assert tracker.subjects().tracks == {"main": (0, 1)}
    present = tracker.face_track((0, 1), 30 + gap).present
    assert present.tolist() == [True] * 15 + [False] * gap + [True] * 15


def test_someone_found_again_among_two_goes_back_to_the_right_one():
    both, alone = found(LEFT, RIGHT), found(RIGHT)
    tracker = tracked([both] * 20 + [alone] * 40 + [both] * 20)
    subjects = tracker.subjects()
    assert {side: len(tracks) for side, tracks in subjects.tracks.items()} == {"left": 2, "right": 1}
    assert subjects.foremost == "right"


def test_one_face_at_a_time_is_one_subject_even_after_a_cut():
    tracker = tracked([found(LEFT)] * 30 + [found(RIGHT)] * 30)
    assert tracker.subjects().tracks == {"main": (0, 1)}


def test_a_passer_by_and_a_false_box_are_no_subjects():
    passer_by = [found(LEFT, square(400 + 8 * step, 200, 60)) for step in range(10)]
    false_box = [found(square(600, 40, 90)), NOBODY]
    tracker = tracked([found(LEFT)] * 40 + passer_by + [found(LEFT)] * 40 + [NOBODY] * 30 + false_box)
    subjects = tracker.subjects()
    assert subjects.tracks == {"main": (0,)}
    assert tracker.face_track(subjects.tracks["main"], 122).present.sum() == 90


def test_a_false_box_does_not_stand_for_someone_who_has_left():
    gone = [NOBODY] * (SPEC.longest_gap_frames + 1)
    at_the_same_place = [found(LEFT)] * (SPEC.shortest_track_frames - 1)
    elsewhere = [found(RIGHT)] * (SPEC.shortest_subject_frames - 1)
    tracker = tracked([found(LEFT)] * 40 + gone + at_the_same_place + gone + elsewhere + gone)
    assert tracker.subjects().tracks == {"main": (0,)}


def test_a_crowd_gives_two_subjects_and_few_candidates():
    crowd = [square(60 + 100 * place, 100, 40 + 8 * place) for place in range(6)]
    tracker = FaceTracker(SPEC)
    kept = [tracker.update(frame, found(*crowd)) for frame in range(20)]
    assert all(len(faces) == SPEC.most_candidates for faces in kept)
    subjects = tracker.subjects()
    assert subjects.foremost == "right"
    right = tracker.face_track(subjects.tracks["right"], 20)
    np.testing.assert_array_equal(right.box, np.tile(np.float32(crowd[-1]), (20, 1)))


def test_only_one_subject_when_only_one_is_asked_for():
    tracker = tracked([found(LEFT, RIGHT)] * 20, replace(SPEC, most_subjects=1))
    assert set(tracker.subjects().tracks) == {"main"}


def test_a_very_short_clip_has_its_subject():
    for length in (1, 2, 5):
        tracker = tracked([found(LEFT)] * length)
        assert tracker.face_track(tracker.subjects().tracks["main"], length).present.all()


def test_a_video_without_frames_has_nobody():
    tracker = FaceTracker(SPEC)
    assert tracker.subjects().tracks == {"main": ()}
    assert tracker.face_track((), 0).box.shape == (0, 4)


def test_frames_out_of_order_are_refused():
    tracker = tracked([found(LEFT)] * 3)
    with pytest.raises(SpecError, match="frame 2 where 3 was next"):
        tracker.update(2, found(LEFT))


@pytest.mark.parametrize(
    "wrong", [{"link_iou": 0.0}, {"longest_gap_frames": -1}, {"most_subjects": 3}, {"most_candidates": 1}]
)
def test_tracking_that_means_nothing_is_refused(wrong):
    with pytest.raises(SpecError):
        TrackingSpec(**wrong)
