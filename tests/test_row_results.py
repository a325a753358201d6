"""A row scored on what a store holds: which frames count, and when its result is out of date."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.config.experiments import read_experiment
from affstore.models.heads.splits import Folds
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.keys import canonical, key_of
from affstore.store.contract.labels import EXPR
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.evaluation.experiment_scores import result_artifact
from affstore.tasks.predict.experiments import experiment_predictions, write_experiment_file
from tests.factories import commit, read_submission, source

FRAMES = 60
HEAD_KEY = {"fit": 1}
SOUND = read_experiment("abaw6/table5/wav2vec2-smoothed-50")
FACES = read_experiment("abaw5/table2/emotieffnet-smoothed")
seen = np.r_[np.zeros(5, bool), np.ones(20, bool), np.zeros(10, bool), np.ones(15, bool), np.zeros(10, bool)]
heard = np.arange(FRAMES) < 45


def face(video, present, kind="cropped"):
    said = {"frames": FRAMES, "prominent": True}
    return Artifact(Address("face", kind, video, "main"), {"of": video}, {"present": present}, said)


def label(video, split="validation"):
    random = np.random.default_rng(len(video))
    value = random.integers(0, 8, (FRAMES, 1)).astype(np.int8)
    value[12:18] = -1
    said = {"frames": FRAMES, "task": "expr", "labels": list(EXPR.names), "split": split}
    said |= {"location": "", "complaint": None}
    arrays = {"value": value, "known": value >= 0}
    return Artifact(Address("label", "expr", video, "main"), {"of": video}, arrays, said)


def head(experiment):
    said = {"task": "expr", "labels": list(EXPR.names), "head": {"head": {}, "best_epoch": 0}, "scores": {}}
    parameters = {"parameter_prior": np.full(8, 1 / 8, np.float32)}
    return Artifact(Address("head", experiment.name), HEAD_KEY, parameters, said, made={"trained": True})


def prediction(experiment, video, present, seed):
    raw = np.random.default_rng(seed).random((FRAMES, 8), np.float32)
    last = np.flatnonzero(present)[-1]
    raw[last + 1 :] = raw[last]
    arrays = {
        "raw": raw,
        "smoothed": raw,
        "prediction": raw.argmax(axis=1).astype(np.int8)[:, None],
        "present": present,
    }
    said = {"frames": FRAMES, "task": "expr", "labels": list(EXPR.names)}
    recipe = {"finish": 1, "head": key_of(HEAD_KEY), "inputs": [video]}
    return Artifact(Address("prediction", experiment.name, video, "main"), recipe, arrays, said, made={"trained": True})


def stored(tmp_path, row, *more, present=None, videos=("one", "other")):
    store = FeatureStore.create(str(tmp_path / "store"))
    artifacts = [head(one) for one in row.heads]
    for number, video in enumerate(videos):
        artifacts += [source(video, FRAMES), label(video)]
        there = present if present is not None else seen
        artifacts += [prediction(one, video, there, 10 * number + k) for k, one in enumerate(row.heads)]
    return commit(store, *artifacts, *more)


def scored(store, row):
    return result_artifact(store, row, "papers", Folds())


def test_sound_is_scored_on_the_frames_of_the_face_that_is_required(tmp_path):
    late = heard.copy()
    late[45:] = False
    shown_face = seen.copy()
    shown_face[45:47] = True  # the sound ends at frame 44: image number - 1 serves frame 45, and nothing frame 46
    store = stored(tmp_path, SOUND, face("one", shown_face), present=late)
    artifact, shown = scored(store, SOUND)
    (video,) = shown.videos  # of the other there is no face
    assert video.name == "one"
    expected = shown_face & (np.arange(FRAMES) < 46) & (store.read(label("one").address)["value"][:, 0] >= 0)
    np.testing.assert_array_equal(video.known[:, 0], expected)
    assert shown.scores.frames == expected.sum()
    assert any(parent.path.startswith("face/cropped/one") for parent in artifact.parents)
    free = scored(store, replace(SOUND, requires=""))[1]
    assert len(free.videos) == 2
    assert free.scores.frames > shown.scores.frames


def test_a_required_face_that_nobody_has_is_named(tmp_path):
    store = stored(tmp_path, SOUND, present=heard)
    with pytest.raises(AnnotationError, match="and faces of 'cropped'"):
        scored(store, SOUND)


def judged(**changes):
    return replace(FACES, evaluation=replace(FACES.evaluation, **changes))


def test_what_changes_a_rule_changes_the_key_and_a_rule_that_is_the_default_changes_none(tmp_path):
    store = stored(tmp_path, FACES, face("one", seen), face("other", seen))
    keys = {
        name: key_of(scored(store, row)[0].recipe)
        for name, row in {
            "as it is": FACES,
            "all faces": judged(smooth_over="faces"),
            "to the end": judged(after_last_face="repeat"),
            "seven": judged(method=replace(FACES.evaluation.method, variant="seven_after_smoothing")),
        }.items()
    }
    assert len(set(keys.values())) == 4
    plain = read_experiment("abaw6/table5/emotieffnet")
    method = FACES.evaluation.method.decides
    plain = replace(plain, heads=FACES.heads, evaluation=replace(plain.evaluation, method=method))
    asked = canonical(scored(store, plain)[0].recipe)["asked"]
    assert set(asked["judging"]) == {"kind", "task", "method"}
    assert "requires" not in asked


def test_a_challenge_s_file_goes_to_the_end_whatever_ends_a_validation_video(tmp_path):
    store = stored(tmp_path, FACES, source("test", FRAMES), face("test", seen), face("one", seen), face("other", seen))
    store = commit(store, *(prediction(one, "test", seen, 70 + k) for k, one in enumerate(FACES.heads)))
    _, shown = scored(store, FACES)
    found = {one.address.video: one for one in experiment_predictions(store, FACES, shown.tuned)}
    assert set(found) == {"one", "other", "test"}
    ended = judged(smooth_over="own", after_last_face="repeat")
    repeated = next(one for one in experiment_predictions(store, ended, shown.tuned) if one.address.video == "test")
    np.testing.assert_array_equal(found["test"].arrays["smoothed"], repeated.arrays["smoothed"])
    smoothed = found["test"].arrays["smoothed"]
    assert (smoothed[-1] != smoothed[-2]).any()  # the window still moves over the repeated rows
    store = commit(store, *found.values())
    path = tmp_path / "file.txt"
    write_experiment_file(store, replace(FACES, files=True), shown.tuned, path, None)
    listed, values = read_submission(path, "expr")
    assert set(listed.videos) == {"test"}
    assert len(values) == FRAMES
