"""How much of its work a run does: shares of files, a time after which nothing is begun, and canaries."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.flows.inputs import gather
from affstore.flows.limits import RunLimits, Share
from affstore.flows.request import RunResult
from affstore.flows.runners.base import Runner, RunnerSpec
from affstore.flows.server import Server
from affstore.flows.stage import run_on
from affstore.flows.stages.canary import canary
from affstore.flows.stages.ingest import ingest
from affstore.models.media.announced_size import announced
from affstore.store.contract.errors import SpecError, StoreError
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.extract.jobs import VideoJob
from affstore.tasks.extract.videos import extract_video
from affstore.tasks.ingest.incoming_files import IngestOptions
from affstore.tasks.lineage.canary import canary_videos
from affstore.tasks.outcomes import Outcome
from affstore.tasks.prefect_task import as_state
from affstore.tasks.specs import DetectorSpec, Profile, TrackingSpec, WorkerContext
from tests.factories import commit, source, visual

NETWORK = ("-e", "mt_emotimobilefacenet", "--weights", "untrained", "--engine", "torch", "--precision", "float32")


def film(path: Path, frames: int, seed: int = 0) -> Path:
    """A short film of noise, without any face."""
    import av
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(numbers.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Nine films of 5 to 45 frames, one of them twice, and labels of three."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(1, 10):
        film(folder / "videos" / f"v{number}.mp4", 5 * number, number)
    shutil.copy(folder / "videos" / "v4.mp4", folder / "videos" / "again.mp4")
    for name in ("v1", "v5_left", "v7"):
        labels = folder / "annotations" / "EXPR_Classification_Challenge" / "Train_Set" / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("Neutral\n0\n")
    return folder


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_shares_have_every_file_once_and_about_as_many_frames(films, count):
    inputs = gather([str(films / "videos"), str(films / "annotations")])
    parts = [Share(number, count).of(inputs) for number in range(1, count + 1)]
    assert Counter(video for part in parts for video in part.videos) == Counter(inputs.videos)
    assert Counter(one for part in parts for one in part.annotations) == Counter(inputs.annotations)
    frames = [sum(announced(video.path).frames for video in part.videos) for part in parts]
    if count <= 3:
        assert max(frames) - min(frames) <= 25, "no more than half of the longest"


def test_the_same_bytes_under_two_names_are_in_one_share_and_labels_with_their_video(films):
    inputs = gather([str(films / "videos"), str(films / "annotations")])
    for number in range(1, 4):
        part = Share(number, 3).of(inputs)
        names = {video.name for video in part.videos}
        assert ("v4" in names) == ("again" in names)
        assert {labels.video for labels in part.annotations} <= names


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "2/", "/3", "a/b", "-1/3", "1/0"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(SpecError, match="written K/N"):
        Share.parse(text)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_hours": 0.0}, "above 0"),
        ({"max_hours": float("nan")}, "above 0"),
        ({"deadline": "2020-01-01"}, "is past"),
        ({"deadline": "soon"}, "ISO 8601"),
        ({"canary": -1}, "found -1"),
    ],
)
def test_wrong_limits_are_refused(limits, why):
    with pytest.raises(SpecError, match=why):
        RunLimits.of(**limits)


def test_the_earlier_of_two_ends_counts():
    assert RunLimits.of(max_hours=1, deadline="2099-12-31").ends_at == pytest.approx(time.time() + 3600, abs=60)


def test_a_video_is_not_begun_once_the_time_is_over():
    job = VideoJob("v", "/nowhere/v.mp4", "0" * 64, True, (), 10)
    late = extract_video.do(WorkerContext("memory:late", "run", Path(), ends_at=time.time()), job, None)
    assert (as_state([late]).name, late.status) == ("Postponed", "postponed")
    assert not RunResult(None, (Outcome("extract", "v", "done"),)).partial
    result = RunResult(None, (Outcome("extract", "v", "done"), late))
    assert result.partial
    assert result.exit_code == 3


@pytest.fixture(scope="module")
def whole(films, server, weights_folder):
    """A store of all films, made by one run."""
    store = films / "whole"
    assert call(["add", str(films / "videos"), "--store", str(store), *NETWORK]) == 0
    return FeatureStore(str(store))


@pytest.mark.slow
def test_shares_one_by_one_give_the_store_of_one_run(films, whole):
    store = films / "shared-out"
    for number in (2, 1, 3):
        arguments = ["add", str(films / "videos"), "--store", str(store), *NETWORK, "--share", f"{number}/3"]
        assert call(arguments) == 0
    assert content_digest(FeatureStore(str(store))) == content_digest(whole)


@pytest.mark.slow
def test_a_run_whose_time_is_over_is_partial_and_the_next_goes_on(films, whole, capsys, monkeypatch):
    store = films / "stopped"
    made = RunLimits.of
    # Its time is over as soon as it begins.
    monkeypatch.setattr(RunLimits, "of", lambda *limits: replace(made(*limits), ends_at=time.time()))
    assert call(["add", str(films / "videos"), "--store", str(store), *NETWORK, "--max-hours", "1"]) == 3
    assert "Partial: the run's time was over with 10 units of work left." in capsys.readouterr().out
    monkeypatch.undo()
    assert call(["add", str(films / "videos"), "--store", str(store), *NETWORK]) == 0
    assert content_digest(FeatureStore(str(store))) == content_digest(whole)


@pytest.mark.slow
def test_a_canary_whose_numbers_are_as_stored_lets_the_run_go_on(films, whole, capsys):
    film(films / "new" / "new.mp4", 6, 99)
    arguments = ["add", str(films / "new"), "--store", whole.url, *NETWORK, "--canary", "2"]
    assert call(arguments) == 0
    out = capsys.readouterr()
    assert "canary    2 done" in out.out
    assert whole.newest().find(Address("source", video="new")) is not None


@pytest.mark.slow
def test_a_canary_that_drifted_stops_the_run_with_its_difference(films, whole, tmp_path, capsys):
    store = FeatureStore.create(str(tmp_path / "store"))
    changed = store.draft({}, "test")
    for record in sorted(whole.records("source", "face", "visual"), key=lambda one: one.address.family != "source"):
        arrays = dict(whole.read(record.address))
        if record.address.family == "face":
            arrays["box"] = arrays["box"] + 1

        changed.put(
            Artifact(record.address, record.recipe, arrays, dict(record.attributes), record.parents, record.made)
        )
    store.commit([changed], "drifted")
    film(films / "newer" / "newer.mp4", 6, 100)
    assert call(["add", str(films / "newer"), "--store", store.url, *NETWORK, "--canary", "1"]) == 4
    error = capsys.readouterr().err
    assert "1 of 1 canary videos do not give their stored numbers" in error
    assert "face/mtcnn/" in error
    assert store.newest().find(Address("source", video="newer")) is None


@pytest.mark.slow
def test_a_canary_whose_file_is_gone_is_not_said_to_have_other_numbers(whole, tmp_path, capsys):
    films = tmp_path / "films"
    film(films / "here.mp4", 6, 101)
    arguments = ["add", str(films), "--store", str(tmp_path / "store"), *NETWORK]
    assert call(arguments) == 0
    (films / "here.mp4").rename(tmp_path / "elsewhere.mp4")
    film(films / "new.mp4", 6, 102)
    assert call([*arguments, "--canary", "1"]) == 4
    error = capsys.readouterr().err
    assert "1 of 1 canary videos cannot be computed again" in error
    assert "Put back what is gone" in error


@pytest.mark.slow
def test_a_canary_that_is_gone_stops_the_run(films, whole, capsys):
    for path in (films / "videos").iterdir():
        path.unlink()
    film(films / "newest" / "newest.mp4", 6, 101)
    assert call(["add", str(films / "newest"), "--store", whole.url, *NETWORK, "--canary", "1"]) == 4
    error = capsys.readouterr().err
    assert "The video '" in error
    assert "is not there any more" in error
    assert whole.newest().find(Address("source", video="newest")) is None


def test_a_copy_of_a_video_that_is_postponed_is_postponed_too(tmp_path):
    first = film(tmp_path / "one" / "x.mp4", 5)
    (tmp_path / "two").mkdir()
    shutil.copy(first, tmp_path / "two" / "x.mp4")
    context = WorkerContext(FeatureStore.create(str(tmp_path / "store")).url, "run", tmp_path, ends_at=0.0)
    with RunnerSpec.of("threads", workers=1).start() as threads, run_on(Server(""), threads):
        outcomes = ingest(context, gather([str(tmp_path / "one"), str(tmp_path / "two")]), IngestOptions())
    assert [(outcome.subject, outcome.status) for outcome in outcomes] == [("x", "postponed")] * 2


class KilledWorker(Exception):
    """As Dask's, of a task whose worker processes all died."""


class DyingWorkers(Executor):
    def submit(self, do, /, *arguments, **named):
        lost = Future()
        lost.set_exception(KilledWorker("canary"))
        return lost


def test_a_canary_whose_worker_died_is_not_said_to_have_other_numbers(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"), visual("a"))
    networks = Profile(DetectorSpec(), TrackingSpec(), (SimpleNamespace(name="toy"),))
    with run_on(Server(""), Runner.on(DyingWorkers())), pytest.raises(StoreError) as caught:
        canary(WorkerContext(store.url, "run", tmp_path, retries=0), networks, 1)
    said = str(caught.value)
    assert "1 of 1 canary videos were not computed again, so nothing was computed. 'a': each worker process" in said
    assert "Run it again once that is mended" in said


def test_canary_videos_are_the_same_ones_whatever_is_added(tmp_path):
    store = FeatureStore.create(str(tmp_path / "store"))
    store = commit(store, *(make(name) for name in ("m", "b", "z", "a") for make in (source, visual)))
    taken_in = {"m": "2026-01-02", "b": "2026-01-01", "z": "2026-01-01", "a": "2026-02-01"}
    records = [replace(one, made_at=taken_in[one.address.video]) for one in store.records()]
    for there in ("bz", "bzm", "bzma"):
        known = [one for one in records if one.address.video in there]
        assert canary_videos(known, ("toy",), 2) == ["b", "z"]
    assert canary_videos(records, ("other",), 2) == []


@pytest.mark.slow
def test_a_canary_of_more_videos_than_there_are_says_so(films, tmp_path, capsys):
    arguments = ["add", str(film(films / "one" / "one.mp4", 6, 7)), "--store", str(tmp_path / "store"), *NETWORK]
    assert call([*arguments, "--canary", "3"]) == 0
    assert "The store has 0 videos by these networks" in " ".join(capsys.readouterr().err.split())


def test_shares_that_would_each_choose_an_engine_are_refused(films, capsys):
    film(films / "one" / "one.mp4", 5)
    arguments = ["add", str(films / "one"), "--store", str(films / "undecided"), "--weights", "untrained"]
    assert call([*arguments, "-e", "mt_emotimobilefacenet", "--share", "1/2"]) == 2
    assert "must not each choose the engine of 'mt_emotimobilefacenet'" in capsys.readouterr().err


def test_labels_of_a_video_that_is_postponed_wait_with_it(tmp_path):
    from affstore.flows.execution import run_without_server
    from affstore.flows.inputs import gather
    from affstore.flows.request import Request
    from affstore.flows.watch import Watcher
    from affstore.tasks.specs import DetectorSpec, Profile, TrackingSpec

    film(tmp_path / "late.mp4", 5)
    labels = tmp_path / "EXPR_Classification_Challenge" / "Train_Set" / "late_left.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("Neutral\n0\n")
    store = FeatureStore.create(str(tmp_path / "store"))
    context = WorkerContext(store.url, "run", tmp_path, ends_at=1.0)
    inputs = gather([str(tmp_path / "late.mp4"), str(labels)])
    profile = Profile(DetectorSpec(), TrackingSpec(), ())
    result = run_without_server(Request(context, inputs, profile, runs_folder=tmp_path / "runs"), Watcher())
    assert [(one.stage, one.status) for one in result.outcomes] == [("ingest", "postponed")]


def test_a_share_and_everything_contradict_each_other(tmp_path, capsys):
    assert call(["add", "--all", "--share", "1/2", "--store", str(tmp_path / "store")]) == 2
    assert "--all cannot be met with it" in capsys.readouterr().err


def test_the_dry_run_of_a_share_is_of_its_files_alone(films, tmp_path, capsys):
    arguments = ["add", str(films / "videos"), "--store", str(tmp_path / "store"), *NETWORK, "--dry-run", "--json"]
    planned = []
    for share in ("1/2", "2/2"):
        assert call([*arguments, "--share", share]) == 0
        rows = json.loads(capsys.readouterr().out)["artifacts"]
        planned.append({row["artifact"] for row in rows if row["artifact"].startswith("source/")})
    assert planned[0]
    assert planned[1]
    assert not planned[0] & planned[1]
