"""The flows on a real Prefect server, real media and real networks (untrained): what a user sees of a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from affstore import FeatureStore, content_digest, read_video
from affstore.flows.config.run_config import checked
from affstore.flows.execution import run_pipeline
from affstore.flows.request import RunOptions, request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.watch import Screen
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address
from affstore.tasks.ingest.incoming_files import IngestOptions
from affstore.tasks.lineage.publication import PublishedFile, find_note
from affstore.tasks.lineage.run_note import read_note
from tests.factories import read_submission

FACE, SOUND = "mt_emotimobilefacenet", "silero_vad"
"""The smallest networks: what a run does with them is the same, and the default suite is quick."""
THREADS = RunnerSpec.of()
ENGINE = {"engine": "openvino", "precision": "float32"}
"""Named, so that no run spends its first half-minute on measuring engines: test_engines sees to that."""


def run(store, *sources, runner=THREADS, **document):
    document = {"store": str(store), "sources": [str(s) for s in sources], "weights": "untrained"} | ENGINE | document
    return run_pipeline(request_of(checked(document, "test")), runner, Screen())


def statuses(result, stage="extract"):
    return {outcome.subject: outcome.status for outcome in result.outcomes if outcome.stage == stage}


def faces(store, video):
    return {
        record.address.subject: store.read(record.address)["present"] for record in store.records("face", video=video)
    }


@pytest.fixture(scope="module")
def clips(server, shared, tmp_path_factory):
    """A store with real clips: no face, a face in the first part, two without sound."""
    url = tmp_path_factory.mktemp("clips") / "store"
    folder = shared / "media" / "face_video"
    names = ("no_face.mp4", "face_noface.mov", "carphone_pristine.mp4", "yes.mkv")
    result = run(url, *(folder / name for name in names), extractors=(FACE, SOUND))
    return FeatureStore(str(url)), result


def test_every_file_has_an_outcome_and_as_many_rows_as_frames(clips):
    store, result = clips
    assert result.exit_code == 0
    frames = {"no_face": 95, "face_noface": 169, "carphone_pristine": 120, "yes": 65}
    assert {r.address.video: r.attributes["frames"] for r in store.records("source")} == frames
    assert statuses(result) == dict.fromkeys(frames, "done")
    for record in store.records("visual", "audio"):
        assert len(store.read(record.address)["embedding"]) == frames[record.address.video]


def test_a_video_without_a_face_has_no_present_row(clips):
    store, _ = clips
    assert not any(present.any() for present in faces(store, "no_face").values())
    assert not read_video(store, "no_face", FACE).present.any()


def test_a_face_is_present_only_while_it_is_there_and_sound_starts_when_its_pts_say(clips):
    store, _ = clips
    video = read_video(store, "face_noface", FACE)
    seen_s = video.clock.starts_s[video.present]
    assert video.present.sum() > 40
    assert seen_s.max() < 3.0
    sound = read_video(store, "face_noface", SOUND)
    heard_s = sound.clock.starts_s[sound.present]
    assert heard_s.min() == pytest.approx(2.43, abs=0.06)
    assert np.isnan(sound.embedding[~sound.present]).all()


def test_a_video_without_sound_has_no_audio_row(clips):
    store, _ = clips
    for name in ("carphone_pristine", "yes"):
        sound = read_video(store, name, SOUND)
        assert not sound.present.any()
        assert read_video(store, name, FACE).present.mean() > 0.9


def test_a_run_notes_when_it_was_where_and_that_it_ended(clips):
    note = read_note(clips[1].report.parent)
    assert (note.state, note.exit_code, note.other_workers) == ("done", 0, False)
    assert note.seconds > 1
    assert note.machine["cores"] >= 1


def test_every_record_says_that_the_networks_are_untrained(clips):
    store, result = clips
    for record in store.records("visual", "audio"):
        assert record.provenance == "untrained"
        assert len(record.made["weights"]) == 64
    assert "Untrained parameters were used" in result.report.read_text()


def test_a_second_run_does_nothing_and_prefect_shows_its_tasks_as_cached(clips, server, shared):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    store, _ = clips
    result = run(store.url, shared / "media" / "face_video" / "yes.mkv", extractors=(FACE, SOUND))
    assert set(statuses(result).values()) == {"cached"}
    assert store.newest().snapshot == store.snapshot
    reused = json.loads((result.report.parent / "artifacts.json").read_text())["counts"]
    assert reused["written"] == {}
    assert reused["reused"].keys() == {"source", "face", "visual", "audio"}
    with get_client(sync_client=True) as client:
        name = FlowRunFilterName(like_=f"extract: store ({result.request.context.run_id})")
        (flow_run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=name))
        from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

        of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run.id]))
        task_runs = _until_final(lambda: client.read_task_runs(task_run_filter=of_run))
    assert {task_run.name for task_run in task_runs} == {"extract: 4 videos have all they should have"}
    assert {task_run.state.name for task_run in task_runs} == {"Cached"}


def _until_final(read, limit_s=60):
    """Task states reach the server through events, a moment after the run."""
    deadline = time.monotonic() + limit_s
    while True:
        task_runs = read()
        if (task_runs and all(t.state and t.state.is_final() for t in task_runs)) or time.monotonic() > deadline:
            return task_runs
        time.sleep(0.3)


def test_a_renamed_copy_is_an_alias_and_costs_nothing(clips, shared, tmp_path):
    store, _ = clips
    shutil.copy(shared / "media" / "face_video" / "yes.mkv", tmp_path / "another name.mkv")
    result = run(store.url, tmp_path / "another name.mkv", extractors=(FACE, SOUND))
    assert statuses(result, "ingest") == {"another name": "cached"}
    assert set(statuses(result).values()) == {"cached"}
    newest = store.newest()
    assert newest.get(Address("source", video="yes")).attributes["aliases"] == ["another name"]
    assert content_digest(newest) == content_digest(store)


@pytest.mark.slow
def test_a_new_extractor_uses_the_stored_faces_and_gives_what_it_would_have_given_with_them(
    clips, server, shared, tmp_path
):
    store, _ = clips
    clip = shared / "media" / "face_video" / "carphone_pristine.mp4"
    run(store.url, extractors=("fer2013_mini_xception",))
    fresh = tmp_path / "fresh"
    run(fresh, clip, extractors=(FACE, "fer2013_mini_xception"))
    address = Address("visual", "fer2013_mini_xception", "carphone_pristine", "main")
    assert store.newest().get(address).digest == FeatureStore(str(fresh)).get(address).digest
    assert store.newest().get(address).key == FeatureStore(str(fresh)).get(address).key


@pytest.fixture(scope="module")
def odd(server, shared, tmp_path_factory):
    url = tmp_path_factory.mktemp("odd") / "store"
    media = shared / "media"
    return run(url, media / "odd", media / "photo" / "truncated.jpg", extractors=(FACE,)), FeatureStore(str(url))


@pytest.mark.slow
def test_odd_media_give_features_or_a_reason_a_person_understands(odd, shared):
    result, store = odd
    assert result.exit_code == 3
    sounds = {"malformed-join", "with-attached-pic"}
    files = {path.stem for path in (shared / "media" / "odd").iterdir()} - sounds
    ingested = statuses(result, "ingest")
    picture = next(name for name in ingested if name.endswith("truncated.jpg"))
    assert ingested.pop(picture) == "failed", "it is no video, and there is nothing to try again"
    assert set(ingested) == files
    assert set(ingested.values()) == {"done", "quarantined"}
    assert {Path(name).stem for kind in result.request.inputs.left_alone for name in kind.files} == sounds
    extracted = statuses(result)
    assert {name for name, status in ingested.items() if status == "done"} == set(extracted)
    assert set(extracted.values()) == {"done"}
    for outcome in result.outcomes:
        assert "Error" not in outcome.reason
        assert "Traceback" not in outcome.reason
        if outcome.status == "quarantined":
            assert outcome.reason.endswith((".", "again."))
    assert len(store.records("quarantine")) == list(ingested.values()).count("quarantined")


@pytest.mark.slow
def test_a_video_of_which_fewer_frames_decode_than_it_declares_is_marked(odd):
    result, store = odd
    corrupted = store.get(Address("source", video="corrupted"))
    assert corrupted.attributes["frames"] == 49
    assert "49 frames decode although 50 are declared" in corrupted.attributes["complaint"]
    assert {"damaged", "no sound"} <= {remark.kind for remark in result.remarks if remark.video == "corrupted"}


@pytest.mark.slow
def test_what_was_quarantined_is_not_tried_again_and_its_reason_stays(odd, shared):
    first, store = odd
    again = run(store.url, shared / "media" / "odd", extractors=(FACE,))
    reasons = {o.subject: o.reason for o in first.outcomes if o.status == "quarantined"}
    assert {o.subject: o.reason for o in again.outcomes if o.status == "quarantined"} == reasons
    assert store.newest().snapshot == store.snapshot


# The whole DAG on a part of the demo's corpus


TAKES = ("4-30-384x288", "video58", "1-24-320x240", "112", "6-20-480x240")
PIPELINE = {
    "extractors": [FACE],
    "experiments": [
        {"name": "expr-mlp", "task": "expr", "inputs": [FACE], "smooth_frames": 5, "epochs": 3},
        {"name": "au-mlp", "task": "au", "inputs": [FACE], "thresholds": "tuned", "epochs": 3},
        {"name": "va-mlp", "task": "va", "inputs": [f"{FACE}.logits"], "epochs": 3},
    ],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    folder = tmp_path_factory.mktemp("demo") / "corpus"
    write_corpus(folder, CorpusSpec(only=TAKES, episode_s=0.6))
    return folder


@pytest.fixture(scope="module")
def pipeline(server, corpus):
    url = corpus.parent / "store"
    return run(url, corpus, publish={"folder": str(corpus.parent / "published")}, **PIPELINE), FeatureStore(str(url))


def test_the_pipeline_ends_with_published_predictions_and_a_tag(pipeline):
    result, store = pipeline
    assert result.exit_code == 0
    assert {one.experiment.name for one in result.experiments if one.results} == {"expr-mlp", "au-mlp", "va-mlp"}
    assert store.tags() == {result.tag: store.snapshot}
    names = {path.name for path in result.published}
    assert names == {"expr-mlp.txt", "au-mlp.txt", "va-mlp.txt", "expr-mlp.parquet", "au-mlp.parquet", "va-mlp.parquet"}


def test_the_challenge_file_says_what_the_store_says(pipeline):
    result, store = pipeline
    path = next(path for path in result.published if path.name == "expr-mlp.txt")
    sample, values = read_submission(path, "expr")
    frames = sum(
        record.attributes["frames"] for record in store.records("prediction") if record.address.producer == "expr-mlp"
    )
    assert len(sample) == frames
    prediction = store.read(Address("prediction", "expr-mlp", "112", "main"))
    rows = [i for i, image in enumerate(sample.images) if image.startswith("112/")]
    np.testing.assert_array_equal(values[rows], prediction["prediction"])
    table = next(path for path in result.published if path.name == "expr-mlp.parquet")
    assert pl.read_parquet(table).height == frames
    for file in (path, table):
        assert find_note(file) == PublishedFile("expr-mlp", store.snapshot, result.tag, digest_file(file))


def test_both_people_of_a_video_are_subjects_with_labels_of_their_own(pipeline):
    _, store = pipeline
    for family in ("face", "visual", "label"):
        assert {address.subject for address in store.addresses(family, video="6-20-480x240")} == {"left", "right"}


def test_a_fitted_head_names_every_embedding_and_label_it_saw(pipeline):
    _, store = pipeline
    (head,) = [r for r in store.records("head") if r.address.producer.startswith("expr-mlp-")]
    paths = {parent.path for parent in head.parents}
    assert {f"label/expr/{name}/main" for name in TAKES if name != "6-20-480x240"} <= paths
    assert {f"visual/{FACE}/{name}/main" for name in TAKES if name != "6-20-480x240"} <= paths
    assert all(store.get(_address(path)).digest == digest for path, _, digest in _parents(head))


def _address(path):
    from affstore.store.contract.schema import address_of

    return address_of(path)


def _parents(record):
    return [(parent.path, parent.key, parent.digest) for parent in record.parents]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_dask_cluster_extracts_the_same_numbers_as_threads(clips, shared, tmp_path):
    store, _ = clips
    clip = shared / "media" / "face_video" / "face_noface.mov"
    result = run(tmp_path / "on-dask", clip, runner=RunnerSpec.of("dask", workers=2), extractors=(FACE, SOUND))
    assert result.exit_code == 0
    found = FeatureStore(str(tmp_path / "on-dask")).records()
    assert [(r.address, r.key, r.digest) for r in found] == [
        (r.address, r.key, r.digest) for r in store.records(video="face_noface")
    ]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_dask_cluster_gives_the_same_store_as_threads(pipeline, corpus):
    _, store = pipeline
    url = corpus.parent / "on-dask"
    result = run(url, corpus, runner=RunnerSpec.of("dask", workers=2), **PIPELINE)
    assert result.exit_code == 0
    assert content_digest(FeatureStore(str(url))) == content_digest(store)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_nothing_half_written_and_is_completed_by_the_next(pipeline, corpus, server):
    _, store = pipeline
    url = corpus.parent / "killed"
    command = [sys.executable, "-m", "affstore.flows.cli", "add", str(corpus), "--store", str(url)]
    command += ["--weights", "untrained", "-e", FACE, "--engine", "openvino", "--precision", "float32"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not _has_an_embedding(url):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    halfway = FeatureStore(str(url))
    finished = {record.address.video: record.run_id for record in halfway.records("visual")}
    assert finished
    for record in halfway.records():
        halfway.read(record.address)
    result = run(url, corpus, extractors=(FACE,))
    assert result.exit_code == 0
    for record in FeatureStore(str(url)).records("visual"):
        assert finished.get(record.address.video, record.run_id) == record.run_id, "finished videos are not recomputed"
    undisturbed = {r.address.path: (r.key, r.digest) for r in store.records() if r.address.family in ("face", "visual")}
    found = FeatureStore(str(url)).records("face", "visual")
    assert {record.address.path: (record.key, record.digest) for record in found} == undisturbed


def _has_an_embedding(url: Path) -> bool:
    from affstore.store.contract.errors import AffstoreError

    try:
        return bool(FeatureStore(str(url)).records("visual"))
    except AffstoreError:
        return False


@pytest.mark.slow
def test_a_replaced_video_keeps_nothing_of_the_old_one_in_its_newest_state(server, shared, tmp_path):
    folder = shared / "media" / "face_video"
    shutil.copy(folder / "bbaf2n.mpg", tmp_path / "clip.mpg")
    url = tmp_path / "store"
    run(url, tmp_path / "clip.mpg", extractors=(FACE,))
    before = FeatureStore(str(url))
    shutil.copy(folder / "yes.mkv", tmp_path / "clip.mpg")
    refused = run(url, tmp_path / "clip.mpg", extractors=(FACE,))
    assert statuses(refused, "ingest") == {"clip": "failed"}
    document = {
        "store": str(url),
        "sources": [str(tmp_path / "clip.mpg")],
        "weights": "untrained",
        "extractors": [FACE],
    } | ENGINE
    options = RunOptions(IngestOptions(replace_existing=True))
    replaced = run_pipeline(request_of(checked(document, "test"), options), THREADS, Screen())
    assert replaced.exit_code == 0
    video = read_video(FeatureStore(str(url)), "clip", FACE)
    assert len(video.embedding) == len(video.clock) == 65
    assert len(read_video(FeatureStore(str(url), before.snapshot), "clip", FACE).embedding) == 75


def test_plan_of_a_configuration_sees_videos_that_were_never_taken_in(corpus, tmp_path, capsys):
    from affstore.flows.cli import call

    path = tmp_path / "run.yaml"
    path.write_text(
        f"store: {tmp_path / 'none'}\nsources: [{corpus}]\nweights: untrained\nextractors: [{FACE}]\n"
        "engine: openvino\nprecision: float32\n"
    )
    assert call(["plan", str(path)]) == 10
    said = capsys.readouterr().out
    assert all(f"source/{name}" in said for name in TAKES)
    assert not (tmp_path / "none").exists()


def test_an_annotation_that_moves_to_another_split_is_read_again(tmp_path):
    from affstore.models.labels.base import FORMATS
    from affstore.tasks.ingest.annotations import store_labels
    from affstore.tasks.specs import WorkerContext
    from tests.factories import commit, source

    store = commit(FeatureStore.create(str(tmp_path / "store")), source("v", 3))
    context = WorkerContext(store.url, "run", tmp_path)
    splits = []
    for split in ("Train_Set", "Validation_Set"):
        folder = tmp_path / "EXPR_Recognition_Challenge" / split
        folder.mkdir(parents=True)
        (folder / "v.txt").write_text("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n1\n-1\n")
        outcome = store_labels(context, "v", FORMATS.get("abaw").find(tmp_path))
        assert outcome.status == "done"
        store.commit([outcome.draft], "labels")
        label = store.newest().get(Address("label", "expr", "v", "main"))
        assert store.newest().read(label.address)["known"].ravel().tolist() == [True, True, False]
        splits.append(label.attributes["split"])
        (folder / "v.txt").unlink()
    assert splits == ["train", "validation"]


@pytest.mark.slow
def test_a_scheduled_run_says_in_its_state_what_could_not_be_used_and_where_its_report_is(server, shared, tmp_path):
    from affstore.flows.deployment import reprocess

    shutil.copy(shared / "media" / "face_video" / "yes.mkv", tmp_path / "yes.mkv")
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    config = tmp_path / "weekly.yaml"
    config.write_text(f"store: {tmp_path / 'store'}\nsources: [{tmp_path}]\nextractors: []\n")
    state = reprocess(str(config), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Quarantined")
    assert "1 quarantined. ingest of 'broken':" in state.message
    report = Path(state.message.rpartition("Report: ")[2])
    assert "broken" in report.read_text(encoding="utf-8")
    (tmp_path / "broken.mp4").unlink()
    state = reprocess(str(config), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Completed")
    assert "0 done" in state.message
    shutil.copy(shared / "media" / "face_video" / "1.mp4", tmp_path / "yes.mkv")  # other bytes under a known name
    state = reprocess(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "--replace" in state.message
