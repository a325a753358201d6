"""What is in quarantine is tried again as what it is of: a file, or a stored video's pictures or sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.commands.quarantine import _apart
from affstore.flows.config.run_config import checked
from affstore.flows.request import request_of
from affstore.flows.stages.extract import due_jobs
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.keys import digest_file
from affstore.tasks.extract import videos
from affstore.tasks.extract.videos import extract_video
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.ingest.sources import quarantine_artifact
from affstore.tasks.ingest.videos import ingest
from tests.factories import commit, source


@pytest.fixture
def asked(tmp_path):
    """A store whose one video's pictures and sound are both in quarantine."""
    pictures = (np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(6))
    sound = np.random.default_rng(9).normal(0, 0.1, 4000).astype(np.float32)
    path, url = tmp_path / "film.avi", str(tmp_path / "store")
    write_film(path, Pictures(pictures, (64, 48), FrameClock.uniform(24, 6)), Recording(sound, 16_000))
    networks = {"extractors": ("mt_emotimobilefacenet", "silero_vad"), "engine": "openvino", "precision": "float32"}
    request = request_of(checked({"store": url, "sources": [], "weights": "untrained", **networks}, "test"))
    digest = digest_file(path)
    drafts = [ingest(request.context, IncomingFile(path, "film", digest, "new")).draft]
    FeatureStore(url).commit(drafts, "test")
    notes = [quarantine_artifact(stage, "film", path, digest, "Unreadable.") for stage in ("pictures", "sound")]
    commit(FeatureStore(url), *notes)
    return request


def test_sound_that_can_be_used_at_last_leaves_the_quarantine_although_the_pictures_stay_there(asked, monkeypatch):
    def unreadable(*_):
        raise MediaError("The pictures cannot be read.")

    monkeypatch.setattr(videos, "frames", unreadable)
    (job,) = due_jobs(asked.context, asked.profile, True)[0]
    outcome = extract_video.do(asked.context, job, asked.profile)
    store = FeatureStore(asked.context.store_url)
    store.commit([outcome.draft], "test")
    assert {one.address.producer for one in store.newest().records("quarantine")} == {"pictures"}
    assert [one.address.producer for one in store.newest().records("audio")] == ["silero_vad"]


def test_pictures_of_videos_that_are_called_by_their_folders_are_tried_again_under_those_names(tmp_path):
    file = tmp_path / "s1" / "00001.mp4"
    file.parent.mkdir()
    file.touch()
    of = {"pictures": "s1_00001", "sound": "s2_00001", "float16-toy": "s3_00001_left", "ingest": "other"}
    notes = [quarantine_artifact(stage, name, file, "1" * 64, "Unreadable.") for stage, name in of.items()]
    store = commit(FeatureStore.create(f"memory:{tmp_path}"), source("s3_00001"), *notes)
    files, stored = _apart(store, store.records("quarantine"))
    assert [entry.attributes["name"] for entry in files] == ["other"]
    assert stored == ["s1_00001", "s2_00001", "s3_00001"]
    assert Path(files[0].attributes["location"]) == file
