"""A subject does not run on through a cut unless the face fits; motion is no cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.face_pass import FaceRows, Picture
from affstore.models.faces.appearance import colours, likeness
from affstore.models.faces.cuts import CutDetector
from affstore.models.faces.detections import Detections
from affstore.models.faces.specs import TrackingSpec
from affstore.models.faces.tracking import FaceTracker

SPEC = TrackingSpec()
HEIGHT, WIDTH = 180, 320
ANNA, BEN = (200, 150, 120), (90, 40, 60)
"""Colours of two people's faces, hair and clothes."""

LEFT, RIGHT = (90.0, 90.0), (230.0, 90.0)
Shot = list[tuple[tuple[int, int, int], tuple[float, float]]]


def frame_of(shot: Shot, seed: int) -> tuple[Picture, Detections]:
    """A noisy picture in which each person fills twice the width and height of the face."""
    noise = np.random.default_rng(seed)
    picture = noise.integers(110, 140, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    boxes = []
    for colour, (x, y) in shot:
        spread = noise.integers(-8, 9, (HEIGHT, 120, 3))
        picture[:, int(x) - 60 : int(x) + 60] = np.clip(np.array(colour) + spread, 0, 255)
        boxes.append((x - 30, y - 30, x + 30, y + 30))
    box = np.array(boxes, np.float32).reshape(-1, 4)
    return picture, Detections(box, np.repeat(box[:, None, :2] + 30, 5, axis=1), np.full(len(box), 0.99, np.float32))


def film(*shots: tuple[int, Shot]) -> FaceTracker:
    """Track a film of shots, each of so many frames."""
    cuts, tracker, frame = CutDetector(SPEC), FaceTracker(SPEC), 0
    for length, shot in shots:
        for _ in range(length):
            picture, faces = frame_of(shot, frame)
            tracker.update(frame, faces, picture, cuts.update(picture))
            frame += 1
    return tracker


def present(tracker: FaceTracker, subject: str, frames: int) -> list[int]:
    """The frames at which a subject begins and ends."""
    track = tracker.face_track(tracker.subjects().tracks[subject], frames)
    return np.flatnonzero(np.diff(np.concatenate([[0], track.present.astype(int), [0]]))).tolist()


def test_a_man_who_takes_another_ones_place_at_a_cut_is_not_the_same_subject():
    tracker = film((40, [(ANNA, LEFT)]), (30, [(BEN, LEFT)]))
    assert tracker.cuts == [40]
    assert present(tracker, "main", 70) == [0, 40]


def test_whoever_comes_back_after_a_cut_is_the_same_subject_again():
    tracker = film((30, [(ANNA, LEFT)]), (20, [(BEN, LEFT)]), (30, [(ANNA, LEFT)]), (20, [(BEN, RIGHT)]))
    assert tracker.cuts == [30, 50, 80]
    assert present(tracker, "main", 100) == [0, 30, 50, 80]


def test_two_people_who_change_places_at_a_cut_stay_themselves():
    tracker = film((30, [(ANNA, LEFT), (BEN, RIGHT)]), (20, [(BEN, LEFT), (ANNA, RIGHT)]))
    subjects = tracker.subjects()
    assert set(subjects.tracks) == {"left", "right"}
    for side, (before, after) in {"left": (LEFT, RIGHT), "right": (RIGHT, LEFT)}.items():
        box = tracker.face_track(subjects.tracks[side], 50).box
        np.testing.assert_array_equal(box[:30, 0], before[0] - 30)
        np.testing.assert_array_equal(box[30:, 0], after[0] - 30)


def test_without_a_cut_colours_decide_nothing():
    """A light that goes out slowly, or a head that turns, ends no subject."""
    tracker = FaceTracker(SPEC)
    for frame in range(60):
        picture, faces = frame_of([(ANNA if frame < 30 else BEN, LEFT)], frame)
        tracker.update(frame, faces, picture, cut=False)
    assert tracker.subjects().tracks == {"main": (0,)}
    assert tracker.cuts == []


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(-12, 12), st.floats(-6, 6), st.sampled_from([(180, 320), (97, 61), (720, 405)]))
def test_motion_is_no_cut_and_a_cut_is_one_wherever_it_lies(seed, across, down, size):
    noise = np.random.default_rng(seed)
    coarse = noise.integers(20, 236, (2, 6, 8, 3)).astype(np.float32)
    rows, columns = np.arange(size[0])[:, None] / size[0] * 5, np.arange(size[1])[None] / size[1] * 7

    def picture(scene: int, frame: int) -> Picture:
        shifted = rows + down * frame / size[0], columns + across * frame / size[1]
        wave = np.stack([np.sin(shifted[0] * (1 + c) + coarse[scene, 0, 0, c]) for c in range(3)], axis=-1)
        wave = wave + np.stack([np.cos(shifted[1] + c) for c in range(3)], axis=-1)
        return np.clip(60 + 140 * scene + 25 * wave, 0, 255).astype(np.uint8)

    detector = CutDetector(SPEC)
    found = [detector.update(picture(int(frame >= 7), frame)) for frame in range(14)]
    assert [frame for frame, cut in enumerate(found) if cut] == [7]


def test_a_flash_ends_nobody():
    cuts, tracker = CutDetector(SPEC), FaceTracker(SPEC)
    for frame in range(40):
        picture, faces = frame_of([(ANNA, LEFT)], frame)
        if frame == 20:
            picture, faces = np.full_like(picture, 255), faces.take([])
        tracker.update(frame, faces, picture, cuts.update(picture))
    assert present(tracker, "main", 40) == [0, 20, 21, 40]


def test_likeness_is_one_for_equal_colours_and_zero_without_any():
    picture, faces = frame_of([(ANNA, LEFT), (BEN, RIGHT)], 0)
    anna, ben = colours(picture, faces.box)
    assert likeness(anna, 7 * anna) == pytest.approx(1)
    assert likeness(anna, ben) == likeness(ben, anna) < SPEC.least_likeness
    assert likeness(anna, np.zeros_like(anna)) == 0
    outside = colours(picture, np.array([[WIDTH + 500, 0, WIDTH + 600, 50]], np.float32))
    assert not outside.any()


@pytest.mark.parametrize(
    ("name", "cuts"),
    [("nasa_13013.mp4", [202]), ("face_noface.mov", [72]), ("carphone_pristine.mp4", []), ("yes.mkv", [])],
)
def test_the_cuts_of_real_clips_are_found_and_no_others(shared, name, cuts):
    import av

    detector = CutDetector(SPEC)
    with av.open(str(shared / "media" / "face_video" / name)) as container:
        pictures = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        assert [frame for frame, picture in enumerate(pictures) if detector.update(picture)] == cuts


def test_a_video_in_which_nobody_is_seen_has_rows_of_nobody():
    arrays = FaceRows().of(("main",), 5)
    assert arrays["present"].tolist() == [False] * 5
