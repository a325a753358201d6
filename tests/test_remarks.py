"""What a person is told of videos that were taken in: damage, no sound, no face, a crowd."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.commands.running import _tell_remarks
from affstore.models.extractor_specs import ImportedFeatures
from affstore.models.faces.detections import Detections
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.faces.tracking import FaceTracker
from affstore.models.heads.mlp.spec import default_mlp
from affstore.store.contract.keys import canonical
from affstore.store.contract.labels import EXPR
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks.imported_inputs import without_features
from affstore.tasks.remarks import remarks_of, remarks_on, summary
from affstore.tasks.specs import HeadRun, Input
from affstore.tasks.training.train import fit_of
from tests.factories import commit, source


def face(video, subject, seen, at_once):
    present = np.zeros(40, bool)
    present[:seen] = True
    arrays = {
        "box": np.zeros((40, 4), np.float32),
        "landmark": np.zeros((40, 5, 2), np.float32),
        "score": np.zeros(40, np.float32),
        "present": present,
    }
    attributes = {"frames": 40, "prominent": subject != "right", "faces_at_once": at_once}
    address = Address("face", DetectorSpec().name, video, subject)
    return Artifact(address, {"test": video, "subject": subject}, arrays, attributes, made={"faces": seen})


def test_status_says_of_each_video_what_is_damaged_missing_or_left_out_and_counts_them(tmp_path, capsys):
    url = str(tmp_path / "store")
    commit(
        FeatureStore.create(url),
        source("half", complaint="Decoding stopped after 28 of 50 declared frames."),
        source("crowd", sound={"codec": "aac", "rate_hz": 16000, "channels": 1, "start_s": [0, 1]}),
        face("half", "main", 0, 0),
        face("crowd", "left", 40, 7),
        face("crowd", "right", 40, 7),
    )
    found = {(remark.video, remark.kind) for remark in remarks_of(FeatureStore(url))}
    assert found == {("half", "damaged"), ("half", "no sound"), ("half", "no face"), ("crowd", "crowd")}
    assert {remark.video for remark in remarks_of(FeatureStore(url), {"crowd"})} == {"crowd"}
    assert call(["status", "--store", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    videos = {video["video"]: video for video in document["videos"]}
    assert "28 of 50" in videos["half"]["complaint"]
    assert "Up to 7 faces at once; kept as left and right" in videos["crowd"]["remarks"][0]["text"]
    assert videos["crowd"]["complaint"] is None, "a crowd is as it was filmed"
    expected = "1 with damaged or missing frames, 1 without sound, 1 without a face, 1 with more faces than are kept"
    assert document["summary"] == expected == summary(remarks_of(FeatureStore(url)))
    assert call(["status", "--store", url]) == 0
    assert expected in capsys.readouterr().out


def test_what_a_video_and_its_sound_both_complain_of_is_said_once():
    said = "The sound changes its sample rate, and 88 packets of it are resampled."
    film = source("rate", complaint=said, sound={"codec": "ac3", "rate_hz": 48000, "channels": 2, "start_s": [0, 1]})
    heard = Artifact(Address("audio", "toy", "rate"), {}, {}, {"complaint": said})
    records = [Record(one.address, "", {}, "", (), {}, {}, "", "", one.attributes) for one in (film, heard)]
    assert [(one.kind, one.text) for one in remarks_on(records[0], records[1:])] == [("sound", said)]
    records[0].attributes["complaint"] = f"21 frames decode. {said}"
    found = [(one.kind, one.text) for one in remarks_on(records[0], records[1:])]
    assert found == [("damaged", "21 frames decode."), ("sound", said)]
    records[0].attributes["sound"]["complaint"] = said
    assert [(one.kind, one.text) for one in remarks_on(records[0], [])] == found


def test_faces_at_once_are_those_that_last_and_single_boxes_are_not_counted():
    tracker = FaceTracker(TrackingSpec())
    for frame in range(60):
        count = 9 if frame == 5 else 4 if frame < 40 else 1
        corner = np.arange(count, dtype=np.float32) * 100
        box = np.stack([corner, corner, corner + 50, corner + 50], axis=1)
        tracker.update(frame, Detections(box, np.zeros((count, 5, 2), np.float32), np.ones(count, np.float32)))
    assert tracker.faces_at_once() == 4


def test_a_run_names_the_command_that_has_all_videos_without_the_features_that_a_head_takes(tmp_path, capsys):
    url, gaze = str(tmp_path / "store"), ImportedFeatures("imported/gaze", 2, ("yaw", "pitch"))
    run = HeadRun("by-gaze", (Input(gaze.name),), replace(default_mlp("expr"), name="by-gaze"), imported=(gaze,))
    attributes = {"task": "expr", "labels": list(EXPR.names), "head": {}, "scores": None}
    parameters, made = {"parameter_prior": np.full(8, 1 / 8, np.float32)}, {"networks": [canonical(gaze)]}
    recipe = {"fit": canonical(fit_of(run)), "train": "", "validation": ""}
    videos = [f"clip_{number:02}" for number in range(25)]
    head = Artifact(Address("head", "by-gaze"), recipe, parameters, attributes, made=made)
    store = commit(FeatureStore.create(url), *(source(video, 5) for video in videos), head)
    remarks = without_features(store, [run])
    assert [remark.video for remark in remarks] == videos
    _tell_remarks(SimpleNamespace(remarks=tuple(remarks)))
    (told, words) = re.search(r"and (\d+) more; `affstore (.*?)` has them all", capsys.readouterr().out).groups()
    assert told == "5"
    assert call([*words.split(), "--store", url]) == 0
    document = json.loads(capsys.readouterr().out)
    listed = [one for video in document["videos"] for one in video["remarks"] if one["kind"] == "features"]
    assert listed == [remark.as_document() for remark in remarks]
    assert "25 without imported features that a head takes" in document["summary"]
    assert call(["status", "--store", url]) == 0
    assert "It has no 'imported/gaze'" in capsys.readouterr().out


def test_labels_of_a_stored_video_are_remarked_on_without_its_file_and_nothing_is_extracted(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 20), source("walk", 20))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "talk.csv").write_text("start,end,valence,arousal\n0,0.4,3,0\n0.4,0.8,NA,0.1\n")
    given = ["--labels", f"timed_table:va={tmp_path / 'mine'}", "-e", "silero_vad", "--weights", "untrained"]
    for status in ("done", "cached"):
        assert call(["add", "--store", store.url, *given, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [(one["stage"], one["status"]) for one in document["outcomes"]] == [("annotate", status)]
        kinds = [(one["video"], one["kind"]) for one in document["remarks"]]
        kinds_of_labels = ("labels", "label table", "partly labelled")
        assert kinds == [("talk", "no sound"), *(("talk", kind) for kind in kinds_of_labels)]
        assert document["remarks"][-1]["text"] == (
            "va: 20 of 20 labelled frames without a value of valence. Heads leave such frames out: they take those "
            "that have all values."
        )
