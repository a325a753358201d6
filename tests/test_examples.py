"""Which stored face an annotation speaks of."""

from __future__ import annotations

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.training.examples import face_of
from tests.factories import commit, source


def face(video, subject, x=0.0, prominent=False, frames=40):
    box = np.tile(np.array([x, 0, x + 10, 10], np.float32), (frames, 1))
    arrays = {
        "box": box,
        "landmark": np.zeros((frames, 5, 2), np.float32),
        "score": np.ones(frames, np.float32),
        "present": np.ones(frames, bool),
    }
    address = Address("face", "mtcnn", video, subject)
    return Artifact(address, {"s": subject}, arrays, {"frames": frames, "prominent": prominent})


@pytest.fixture
def empty(tmp_path):
    return commit(FeatureStore.create(f"memory:{tmp_path.name}"), source("v"))


def test_the_only_person_is_the_plain_name(empty):
    store = commit(empty, face("v", "main"))
    assert face_of(store, Address("face", "mtcnn", "v", "main"), set()) == "main"


def test_of_two_people_the_plain_name_is_the_side_that_nothing_else_names(empty):
    store = commit(empty, face("v", "left"), face("v", "right", 50, prominent=True))
    assert face_of(store, Address("face", "mtcnn", "v", "main"), {"main", "right"}) == "left"
    assert face_of(store, Address("face", "mtcnn", "v", "main"), {"main", "left"}) == "right"
    assert face_of(store, Address("face", "mtcnn", "v", "right"), {"main", "right"}) == "right"


def test_of_two_people_of_whom_none_is_named_by_side_the_plain_name_is_the_more_prominent(empty):
    store = commit(empty, face("v", "left"), face("v", "right", 50, prominent=True))
    assert face_of(store, Address("face", "mtcnn", "v", "main"), {"main"}) == "right"


def test_a_side_is_the_only_face_where_it_is_on_that_side_and_nobody_otherwise(empty):
    store = commit(empty, face("v", "main", x=2))
    assert face_of(store, Address("face", "mtcnn", "v", "left"), {"left", "right"}) == "main"
    assert face_of(store, Address("face", "mtcnn", "v", "right"), {"left", "right"}) is None


def test_a_video_without_faces_has_nobody(empty):
    assert face_of(empty, Address("face", "mtcnn", "v", "main"), set()) is None
