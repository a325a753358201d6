"""What one run has stored is not computed again by another that was begun before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from affstore import FeatureStore, content_digest
from affstore.flows.config.run_config import checked
from affstore.flows.request import request_of
from affstore.flows.stages.extract import due_jobs
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.faces.crop_folder import find_crops
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.keys import digest_file
from affstore.store.engine.listing import Listing
from affstore.tasks.extract import crop_folders, videos
from affstore.tasks.extract.videos import extract_video
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.ingest.videos import ingest
from tests import factories

FACE, SOUND = "mt_emotimobilefacenet", "silero_vad"


@pytest.fixture
def film(tmp_path):
    """A quarter of a second of noise, to be seen and heard."""
    pictures = (np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(6))
    sound = np.random.default_rng(9).normal(0, 0.1, 4000).astype(np.float32)
    path = tmp_path / "film.avi"
    write_film(path, Pictures(pictures, (64, 48), FrameClock.uniform(24, 6)), Recording(sound, 16_000))
    return path


def request(tmp_path, *extractors, **more):
    document = {"store": str(tmp_path / "store"), "sources": [], "weights": "untrained", "engine": "openvino"}
    return request_of(checked(document | {"precision": "float32", "extractors": extractors} | more, "test"))


def jobs_of(asked):
    return due_jobs(asked.context, asked.profile, False)[0]


def commit(asked, outcome):
    FeatureStore(asked.context.store_url).commit([outcome.draft], "test")


@pytest.fixture
def taken_in(film, tmp_path):
    """A store that has the film, and nothing of what both networks make of it."""
    asked = request(tmp_path, FACE, SOUND)
    commit(asked, ingest(asked.context, IncomingFile(film, "film", digest_file(film), "new")))
    return asked


def test_a_video_that_another_run_finished_meanwhile_is_not_decoded_again(taken_in, monkeypatch):
    (job,) = jobs_of(taken_in)
    commit(taken_in, extract_video.do(taken_in.context, job, taken_in.profile))
    whole = content_digest(FeatureStore(taken_in.context.store_url))
    monkeypatch.setattr(videos, "frames", pytest.fail)
    monkeypatch.setattr(videos, "read_waveforms", pytest.fail)
    outcome = extract_video.do(taken_in.context, job, taken_in.profile)
    assert (outcome.status, outcome.reason) == ("cached", "all it should have is in the store")
    assert content_digest(FeatureStore(taken_in.context.store_url)) == whole


@pytest.mark.parametrize(("other", "left"), [((SOUND,), {"face", "visual"}), ((FACE,), {"audio"})])
def test_only_what_another_run_did_not_store_is_computed(taken_in, tmp_path, other, left):
    (job,) = jobs_of(taken_in)
    theirs = request(tmp_path, *other)
    commit(theirs, extract_video.do(theirs.context, *jobs_of(theirs), theirs.profile))
    outcome = extract_video.do(taken_in.context, job, taken_in.profile)
    assert {record.address.family for record in outcome.draft.records} == left
    commit(taken_in, outcome)
    assert not any(job.due for job in jobs_of(taken_in))


def test_what_another_run_stored_in_another_way_is_computed(taken_in, tmp_path):
    (job,) = jobs_of(taken_in)
    theirs = request(tmp_path, FACE, SOUND)
    tracking = replace(theirs.profile.tracking, link_iou=0.5)
    theirs = replace(theirs, profile=replace(theirs.profile, tracking=tracking))
    commit(theirs, extract_video.do(theirs.context, *jobs_of(theirs), theirs.profile))
    outcome = extract_video.do(taken_in.context, job, taken_in.profile)
    assert {record.address.family for record in outcome.draft.records} == {"face", "visual"}


def test_a_crop_folder_that_another_run_read_meanwhile_is_not_embedded_again(film, tmp_path, monkeypatch):
    folder = tmp_path / "cropped" / "film"
    folder.mkdir(parents=True)
    for number in range(1, 7):
        Image.new("RGB", (112, 112), (40 * number, 9, 99)).save(folder / f"{number:05d}.png")
    asked = request(tmp_path, f"{FACE}@cropped", crops={"cropped": [str(folder.parent)]})
    commit(asked, ingest(asked.context, IncomingFile(film, "film", digest_file(film), "new")))
    crops = list(find_crops("cropped", folder.parent))
    (job,) = due_jobs(asked.context, asked.profile, False, crops)[0]
    commit(asked, extract_video.do(asked.context, job, asked.profile))
    whole = content_digest(FeatureStore(asked.context.store_url))
    assert {record.address.family for record in FeatureStore(asked.context.store_url).records()} == {
        "source",
        "face",
        "visual",
    }
    monkeypatch.setattr(crop_folders, "embed_faces", pytest.fail)
    outcome = extract_video.do(asked.context, job, asked.profile)
    commit(asked, outcome)
    assert outcome.status == "done"
    assert content_digest(FeatureStore(asked.context.store_url)) == whole


def test_a_worker_does_not_list_the_whole_store_anew_for_each_video(taken_in, film, monkeypatch):
    (job,) = jobs_of(taken_in)
    factories.commit(FeatureStore(taken_in.context.store_url), factories.source("another"))
    monkeypatch.setattr(Listing, "_listed", lambda _: pytest.fail("everything was listed"))
    outcome = extract_video.do(taken_in.context, job, taken_in.profile)
    assert {record.address.family for record in outcome.draft.records} == {"face", "visual", "audio"}
    again = film.with_name("again.avi")
    again.write_bytes(film.read_bytes() + b" ")
    incoming = IncomingFile(again, "again", digest_file(again), "new")
    assert ingest(taken_in.context, incoming).status == "done"
