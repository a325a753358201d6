"""Which runs a Prefect server of their own shows: those that last longer than its start."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.config.run_config import checked
from affstore.flows.execution import has_pages
from affstore.flows.loading import Loading
from affstore.flows.memory_needs import work_of
from affstore.flows.planned import Planned, plan_rows
from affstore.flows.request import RunOptions, request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.tasks.extract import networks
from affstore.testing.artifacts import commit, source
from tests.factories import AU_RUN
from tests.lineage_store import face
from tests.test_limits import NETWORK, film

WORK = {"extractors": ["mt_emotimobilefacenet"], "weights": "untrained", "engine": "torch", "precision": "float32"}


def shown(folder: Path, frames: int, **options: str) -> bool:
    video = film(folder / f"{frames}.mp4", frames)
    config = checked({"store": str(folder / "store"), "sources": [str(video)], **WORK}, folder)
    request = request_of(config, RunOptions(everything=False))
    return has_pages(request, RunnerSpec.of("threads", **options), work_of(request, Planned.of(request))[1])


def test_what_is_due_is_in_the_plan_of_a_run_once(tmp_path):
    commit(FeatureStore.create(str(tmp_path / "store")), source("known"))
    request = request_of(checked({"store": str(tmp_path / "store"), **WORK}, tmp_path))
    due = [row.address.path for row in plan_rows(request, Planned.of(request)) if row.due]
    assert due == ["source/known", "face/mtcnn/known", "visual/mt_emotimobilefacenet/known"]


def test_a_head_that_a_run_fits_is_in_its_plan_also_where_only_some_videos_are_named(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("known"), source("other"))
    commit(store, *(face(store, video) for video in ("known", "other")))
    request = request_of(checked(AU_RUN | {"store": str(tmp_path / "store")}, tmp_path), RunOptions(everything=False))
    due = [row.address.path for row in plan_rows(request, Planned.of(request)) if row.due and row.requested]
    assert due == [f"head/{head.name}" for head in request.heads]


def test_a_minute_of_video_is_computed_without_a_prefect_server_and_more_with_one(tmp_path):
    assert not shown(tmp_path, 1500)
    assert shown(tmp_path, 1501)


@pytest.mark.parametrize(("pages", "expected"), [("always", True), ("never", False)])
def test_whoever_says_whether_a_run_has_pages_decides(pages, expected, tmp_path):
    assert shown(tmp_path, 5, pages=pages) is expected


def test_a_command_on_a_short_video_starts_no_server_unless_it_is_asked_for(tmp_path, capsys):
    arguments = ["--store", str(tmp_path / "store"), *NETWORK]
    assert call(["add", str(film(tmp_path / "first.mp4", 5, 1)), *arguments]) == 0
    assert "Prefect" not in capsys.readouterr().err
    assert not (tmp_path / "store.runs" / "prefect").exists()
    asked = [*arguments, "--runner-option", "pages=always"]
    assert call(["add", str(film(tmp_path / "second.mp4", 5, 2)), *asked]) == 0
    assert "Prefect's pages of this run" in capsys.readouterr().err


def test_for_one_new_video_one_worker_process_is_started_and_loads_its_networks(tmp_path, monkeypatch):
    started, loaded = [], []

    @contextmanager
    def start(self):
        started.append(self.options.workers)
        with RunnerSpec.of().kind.start(self.options) as runner:
            yield replace(runner, everywhere=loaded.append)

    monkeypatch.setattr(RunnerSpec, "start", start)
    store = str(tmp_path / "store")
    for number, due in ((1, 1), (2, 2)):
        for film_of_two in range(due):
            film(tmp_path / "films" / f"{number}_{film_of_two}.mp4", 5, 2 * number + film_of_two)
        asked = ["add", str(tmp_path / "films"), "--store", store, *NETWORK, "--runner", "dask", "--workers", "8"]
        assert call(asked) == 0
    assert started == [1, 2]
    assert [[one.name for one in begin.__self__.profile.extractors] for begin in loaded] == [[NETWORK[1]]] * 2
    film(tmp_path / "films" / "one more.mp4", 5, 9)
    assert call([*asked, "--canary", "1", "--runner-option", "pages=never"]) == 0
    assert (started[2], len(loaded)) == (8, 2), "which of eight will get the one video is not known"


def test_networks_are_built_before_the_first_video_asks_for_them(tmp_path, monkeypatch):
    built, done = [], threading.Event()
    for name in ("detector", "face_network"):
        monkeypatch.setattr(networks, name, lambda spec, *_: built.append(spec))
    monkeypatch.setattr(networks, "sound_network", lambda spec, *_: (built.append(spec), done.set()))
    config = checked(WORK | {"store": str(tmp_path / "store"), "extractors": [NETWORK[1], "silero_vad"]}, tmp_path)
    request = request_of(config, RunOptions(everything=False))
    Loading(request.context, request.profile).begin()
    assert done.wait(60)
    assert built == [request.profile.detector, *request.profile.extractors]


def test_a_run_that_shall_have_no_pages_leaves_a_server_that_the_user_names_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nothing answers there
    arguments = ["add", str(film(tmp_path / "film.mp4", 5)), "--store", str(tmp_path / "store"), *NETWORK]
    assert call(arguments) == 2
    assert "no Prefect server answers" in capsys.readouterr().err
    assert call([*arguments, "--runner-option", "pages=never"]) == 0


def test_a_video_is_added_without_torch_where_its_networks_were_converted_before(tmp_path):
    network = [
        "-e",
        "mt_emotimobilefacenet",
        "--weights",
        "untrained",
        "--engine",
        "openvino",
        "--precision",
        "float32",
    ]
    arguments = ["--store", str(tmp_path / "store"), *network]
    assert call(["add", str(film(tmp_path / "first.mp4", 5, 1)), *arguments]) == 0
    program = "import sys; from affstore.flows.cli import call; print(call(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, "add", str(film(tmp_path / "second.mp4", 5, 2)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split()[-2:] == ["0", "False"], done.stderr
    assert len(FeatureStore(str(tmp_path / "store")).records("visual")) == 2
