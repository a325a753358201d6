"""What Prefect deployments call beside `reprocess` (see test_flows): a watched folder, and an audit."""

from __future__ import annotations

import os
import time

import pytest

from affstore import FeatureStore
from affstore.flows.deployment import add_videos, audit, reprocess, settled_part
from affstore.flows.inputs import gather
from tests.test_limits import film


@pytest.fixture
def config(server, tmp_path):
    """A configuration whose store takes in films and computes nothing from them."""
    film(tmp_path / "films" / "known.mp4", 5)
    path = tmp_path / "run.yaml"
    path.write_text(f"store: {tmp_path / 'store'}\nsources: [{tmp_path / 'films'}]\nextractors: []\n")
    return path


def settled(path):
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))


def test_what_is_new_in_a_watched_folder_is_taken_in_once_it_has_settled(config, tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    assert add_videos(str(config), str(folder), return_state=True).name == "Nothing new"
    new = film(folder / "new.mp4", 6, 1)
    assert "0 done" in add_videos(str(config), str(folder), return_state=True).message
    settled(new)
    state = add_videos(str(config), str(folder), return_state=True)
    assert state.name == "Completed"
    assert state.message.startswith("1 done")
    videos = [address.video for address in FeatureStore(str(tmp_path / "store")).addresses("source")]
    assert videos == ["new"], "the configuration's own sources wait for `reprocess`"


def test_a_watched_folder_that_is_not_there_is_said(tmp_path):
    state = add_videos("run.yaml", str(tmp_path / "nowhere"), return_state=True)
    assert state.type == "FAILED"
    assert "There is no folder" in state.message


def test_labels_wait_with_their_video_until_it_has_settled_and_a_file_that_vanished_waits(tmp_path):
    for name in ("old", "new", "gone"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
        labels = tmp_path / "EXPR_Classification_Challenge" / "Train_Set" / f"{name}_left.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("Neutral\n0\n")
    settled(tmp_path / "old.mp4")
    found = gather([str(tmp_path)])
    (tmp_path / "gone.mp4").unlink()
    part = settled_part(found, time.time() - 60)
    assert [video.name for video in part.videos] == ["old"]
    assert [labels.name for labels in part.annotations] == ["old_left"]


@pytest.mark.slow
def test_an_audit_says_what_is_due_and_what_is_damaged(config, tmp_path):
    state = audit(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "There is no store" in state.message
    assert reprocess(str(config), return_state=True).name == "Completed"
    state = audit(str(config), return_state=True)
    assert (state.name, state.message.rpartition(": ")[2]) == ("Completed", "all as written, and nothing is due.")
    film(tmp_path / "films" / "new.mp4", 6, 1)
    state = audit(str(config), return_state=True)
    assert state.name == "Work to do"
    assert "1 due: source/new is missing" in state.message
    damaged = max((tmp_path / "store" / "manifests").iterdir(), key=lambda path: path.stat().st_size)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    state = audit(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "faults in" in state.message


def test_a_wrong_parameter_is_one_sentence_in_the_state(config, tmp_path):
    state = reprocess(str(config), max_hours=-1.0, return_state=True)
    assert state.type == "FAILED"
    assert "--max-hours takes a number of hours above 0" in state.message
