"""What workers of a cluster are asked before a run, and where work for a GPU goes."""

from __future__ import annotations

import os
import pickle
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distributed import Client
from distributed.comm.core import CommClosedError

from affstore import FeatureStore
from affstore.flows.config.run_config import checked
from affstore.flows.loading import Loading
from affstore.flows.request import request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.runners.dask import _told, on_scheduler
from affstore.flows.server import Server
from affstore.flows.stage import results, run_on, stage
from affstore.flows.watch import Watcher, using_watcher
from affstore.flows.worker_checks import WorkerNeeds, facts_of_this_process, faults
from affstore.store.contract.errors import SpecError
from affstore.store.engine.objects import check_bucket_writable, objects_of
from affstore.store.engine.writers import marked_as_writing
from affstore.tasks.retries import passing_fault
from affstore.tasks.specs import WorkerContext
from affstore.testing.artifacts import commit, source
from tests.dask_cluster import dask_cluster, joined
from tests.tasks_of_tests import fill, has_gpu, note_loading
from tests.test_short_runs import WORK


@pytest.fixture
def needs(tmp_path):
    """Of a run that is at work and has one video and one network, all there."""
    store = FeatureStore.create(str(tmp_path / "store"))
    for name in ("video.mp4", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"")
    with marked_as_writing(store.url):
        yield WorkerNeeds(
            store.url, store.snapshot, (str(tmp_path / "video.mp4"),), (str(tmp_path / "weights.safetensors"),)
        )


def wrong(needs, **facts):
    now = time.time()
    return list(faults(needs, replace(facts_of_this_process(needs), **facts), (now, now)))


def test_a_worker_that_has_everything_has_no_fault(needs):
    assert wrong(needs) == []


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"versions": {}}, "has other versions: .*affstore not installed"),
        ({"has_gpu": False}, "has no GPU"),
        ({"time_s": 0.0}, "clock that is [0-9]+ s off"),
        ({"files": ("/data/a.mp4",)}, "does not see 1 of 1 inputs, as '/data/a.mp4'"),
        ({"weights": ("/w/b",)}, "does not see 1 of 1 weights"),
        ({"store_fault": "There is none."}, r"cannot use the store .*\(There is none\); mount it"),
    ],
)
def test_each_difference_of_a_worker_is_named_with_what_to_do(facts, sentence, needs):
    (fault,) = wrong(needs, **facts)
    assert re.search(sentence, fault), fault
    assert ";" in fault


def test_a_worker_has_the_same_engine_and_need_not_have_the_packages_of_heads_that_are_optional(needs):
    (fault,) = wrong(needs, versions={**needs.versions, "openvino": "1"})
    assert "has other versions: openvino 1 (here" in fault
    here = replace(needs, versions={**needs.versions, "lightautoml": "0.4.2"})
    without = {name: version for name, version in here.versions.items() if name != "lightautoml"}
    assert wrong(here, versions=without) == []
    (fault,) = wrong(here, versions={**without, "lightautoml": "0.4.1"})
    assert "lightautoml 0.4.1 (here 0.4.2)" in fault


def test_a_worker_that_sees_another_store_says_so(needs, tmp_path):
    other = FeatureStore.create(str(tmp_path / "other"))
    (fault,) = wrong(replace(needs, store_url=other.url))
    assert "cannot use the store" in fault


def test_a_worker_whose_machine_does_not_share_the_locks_says_so(tmp_path):
    store = FeatureStore.create(str(tmp_path / "store"))
    (fault,) = wrong(WorkerNeeds(store.url, store.snapshot))  # nobody holds the mark of a run, as seen from there
    assert "does not see the locks of the machine that the run is on" in fault


@pytest.mark.parametrize(
    ("resources", "declared", "asked"), [((), False, True), ((), True, False), (("GPU",), True, True)]
)
def test_where_workers_declare_a_gpu_only_these_must_have_one(resources, declared, asked, needs):
    assert replace(needs, gpu=True).of_worker(resources, declared).gpu == asked
    assert not needs.of_worker(resources, declared).gpu


class Listener(Watcher):
    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A scheduler with one worker that declares a GPU and one that does not, each a process as on a cluster."""
    folder = tmp_path_factory.mktemp("dask")
    with dask_cluster(folder, (), ("--resources", "GPU=1")) as (address, _):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield address, folder


@pytest.mark.cluster
@pytest.mark.parametrize("by_prefect", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_work_for_a_gpu_goes_to_the_workers_that_declare_one(by_prefect, scheduler, request):
    prefect = request.getfixturevalue("server") if by_prefect else Server("")

    @stage("gpu")
    def asked(context):
        units = {str(number): () for number in range(6)}
        return {gpu: [found for ended in results(has_gpu, units, gpu) for _, found in ended] for gpu in (True, False)}

    with on_scheduler(scheduler[0]) as runner, run_on(prefect, runner):
        assert runner.gpus
        found = asked(Context())
    assert found[True] == [True] * 6
    assert False in found[False], "other work goes anywhere"


class Context:
    """What Prefect's pages show of a run."""

    store_url, run_id, name = "contract", "0", "contract"


@pytest.mark.cluster
def test_workers_that_lack_something_are_each_named_before_the_run(scheduler, needs):
    with on_scheduler(scheduler[0]) as runner:
        with pytest.raises(SpecError) as caught:
            runner.check(replace(needs, files=("/nowhere/a.mp4",), versions={"affstore": "0"}))
        text = str(caught.value)
        assert text.count("The worker tcp://127.0.0.1:") == 2
        assert text.count("'/nowhere/a.mp4'") == text.count("(here 0)") == 2


@pytest.mark.cluster
@pytest.mark.parametrize("asked", ["run", "register_plugin"])
def test_a_worker_that_goes_away_while_it_is_asked_is_one_sentence(asked, scheduler, needs, monkeypatch):
    def lost(*_, **__):
        raise CommClosedError("in <TCP (closed) ConnectionPool>: Stream is closed")

    with on_scheduler(scheduler[0]) as runner:
        monkeypatch.setattr(Client, asked, lost)
        with pytest.raises(SpecError, match=r"^A worker, or the scheduler, went away .* begin the run again\.$"):
            runner.check(replace(needs, versions={}))


@pytest.mark.cluster
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so that no worker lacks one")
def test_for_a_gpu_run_only_the_worker_that_declares_one_is_refused_without(scheduler, needs):
    with on_scheduler(scheduler[0]) as runner, pytest.raises(SpecError) as caught:
        runner.check(replace(needs, gpu=True))
    assert str(caught.value).count("has no GPU that torch can use") == 1


@pytest.mark.cluster
def test_a_worker_that_joins_late_and_lacks_something_is_sent_home_with_a_notice(scheduler, needs, monkeypatch):
    address, folder = scheduler
    listener = Listener()
    with using_watcher(listener), on_scheduler(address) as runner:
        runner.check(replace(needs, versions={}))
        with on_scheduler(address) as another_run:
            another_run.check(replace(needs, files=(), weights=()))
        os.unlink(needs.files[0])
        late = joined(address, folder)
        assert late.wait(60) is not None
    assert "which came late, does not see 1 of 1 inputs" in listener.notices[0]


@pytest.mark.cluster
def test_a_worker_whose_memory_is_nearly_full_goes_on(tmp_path):
    limit_bytes = 500_000_000
    with (
        dask_cluster(tmp_path, ("--memory-limit", str(limit_bytes))) as (address, _),
        on_scheduler(address) as runner,
        runner.executor() as pool,
    ):
        pool.submit(fill, limit_bytes, 0.87).result(30)
        time.sleep(0.5)  # Dask looks at a worker's memory ten times a second
        assert pool.submit(abs, -1).result(10) == 1


@pytest.mark.cluster
def test_one_process_may_run_on_a_dask_cluster_of_its_own_again(tmp_path):
    script = tmp_path / "twice.py"
    script.write_text(_TWICE)
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


@pytest.mark.cluster
def test_each_worker_process_of_a_run_s_own_loads_networks_and_none_that_others_use(scheduler, tmp_path):
    request, noted = request_of(checked({**WORK, "store": str(tmp_path / "store")}, tmp_path)), tmp_path / "noted"
    noted.mkdir()
    with RunnerSpec.of("dask", workers=2).start() as runner:
        runner.everywhere(partial(note_loading, Loading(request.context, request.profile), noted))
        end = time.monotonic() + 60
        while len(list(noted.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.05)
    assert len(list(noted.iterdir())) == 2
    assert {path.name.split()[1] for path in noted.iterdir()} == {"mt_emotimobilefacenet"}
    with RunnerSpec.of("dask", scheduler=scheduler[0]).start() as runner:
        assert runner.everywhere is None


def test_that_the_scheduler_is_gone_when_workers_are_told_is_left_to_the_work_itself_to_say():
    def run(what, on_error):
        raise CommClosedError("ConnectionPool closing.")

    _told(SimpleNamespace(run=run), has_gpu)


@pytest.mark.cluster
def test_what_is_handed_over_after_a_scheduler_went_away_ends_as_what_was_lost_with_it(needs, tmp_path, monkeypatch):
    monkeypatch.setattr("affstore.flows.runners.dask._ANSWER_S", 1)
    with (
        dask_cluster(tmp_path, ()) as (address, (scheduler, *_)),
        on_scheduler(address) as runner,
        run_on(Server(""), runner),
        runner.executor() as pool,
    ):
        runner.check(needs)
        scheduler.kill()
        while pool._client.status != "closed":
            time.sleep(0.1)
        ended = [found for now in results(has_gpu, {"one": (), "two": ()}) for _, found in now]
        assert list(map(passing_fault, ended)) == ["worker", "worker"]


_TWICE = """
from affstore.flows.runners.base import RunnerSpec

if __name__ == "__main__":
    for _ in range(2):
        with RunnerSpec.of("dask", workers=1).start():
            pass
"""


@pytest.mark.parametrize("options", [{"interface": "nowhere0"}])
def test_a_wrong_value_for_jobs_of_slurm_is_one_sentence(options, tmp_path, monkeypatch):
    program(tmp_path / "sbatch", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    (value,) = options.values()
    with pytest.raises(SpecError, match=f"no scheduler .*{value}"), RunnerSpec.of("slurm", **options).start():
        pass


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", {}),
        ("echo 1 Priority", {"1": "Priority"}),
    ],
)
def test_jobs_of_a_slurm_that_does_not_answer_are_not_taken_for_ended(answer, states, tmp_path, monkeypatch):
    from affstore.flows.runners.slurm import _states

    program(tmp_path / "squeue", answer)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _states(["1"]) == states


class JobsWithoutSlurm:
    """As much of dask-jobqueue's cluster as is asked which jobs there are, and to have so many."""

    def __init__(self):
        self.workers = {"worker": SimpleNamespace(job_id="1", not_taken="")}
        self.scheduler = SimpleNamespace(add_plugin=lambda plugin: None)
        self.scaled = 0

    def scale(self, jobs):
        self.scaled += 1


def test_jobs_of_slurm_are_looked_after_again_after_a_fault(tmp_path, monkeypatch):
    from affstore.flows.runners.slurm import _jobs_kept

    monkeypatch.setattr("affstore.flows.runners.slurm._LOOK_S", 0.05)
    monkeypatch.setenv("PATH", str(tmp_path))  # no `squeue`, as where a process cannot be begun
    cluster, listener = JobsWithoutSlurm(), Listener()
    with using_watcher(listener), _jobs_kept(cluster, 1):
        time.sleep(0.3)
        assert not cluster.scaled
        program(tmp_path / "squeue", "echo 1 None")
        deadline = time.monotonic() + 10
        while not cluster.scaled and time.monotonic() < deadline:
            time.sleep(0.05)
    assert cluster.scaled
    (said,) = listener.notices
    assert "could not be looked after ([Errno 2] No such file or directory: 'squeue')" in said


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_run_s_workers_are_asked_for_labels_stored_crop_folders_and_the_videos_that_are_named(tmp_path):
    from affstore.flows.execution import needs_of
    from affstore.flows.inputs import gather
    from affstore.flows.request import Request
    from affstore.tasks.specs import DetectorSpec, Profile, TrackingSpec, WorkerContext

    store = commit(
        FeatureStore.create(str(tmp_path / "store")),
        *(source(name, location=str(tmp_path / f"{name}.mp4")) for name in ("named", "other")),
    )
    for name in ("named", "other"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
    labels = tmp_path / "EXPR_Classification_Challenge" / "Train_Set" / "named.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("Neutral\n0\n")
    context = WorkerContext(store.url, "run", tmp_path)
    profile = Profile(DetectorSpec(), TrackingSpec(), ())
    request = Request(context, gather([str(labels)]), profile, everything=False, videos=("named",))
    assert set(needs_of(request).files) == {str(labels), str(tmp_path / "named.mp4")}
    assert str(tmp_path / "other.mp4") in needs_of(replace(request, everything=True)).files


def test_before_a_run_nothing_is_said_of_a_store_that_cannot_be_read(tmp_path):
    from affstore.flows.execution import _planned, work_due_of
    from affstore.flows.inputs import Inputs
    from affstore.flows.request import Request
    from affstore.tasks.specs import DetectorSpec, Profile, TrackingSpec, WorkerContext

    context = WorkerContext(str(tmp_path / "nowhere"), "run", tmp_path)
    profile = Profile(DetectorSpec(), TrackingSpec(), ())
    request = Request(context, Inputs((), ()), profile)
    assert work_due_of(request, _planned(request)) == (profile, [])


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setattr("affstore.flows.runners.dask._ANSWER_S", 1)
    with (
        pytest.raises(SpecError, match="No Dask scheduler answers"),
        RunnerSpec.of("dask", scheduler="tcp://127.0.0.1:9").start(),
    ):
        pass


def test_what_listens_at_a_scheduler_s_address_but_is_none_is_one_sentence(monkeypatch):
    monkeypatch.setattr("affstore.flows.runners.dask._ANSWER_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(SpecError, match="No Dask scheduler answers"),
            RunnerSpec.of("dask", scheduler=address).start(),
        ):
            pass


def test_what_travels_to_a_worker_names_places_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = pickle.loads(pickle.dumps(WorkerContext("a-store", "run", Path("weights"), trainings=Path("runs"))))
    assert context.store_url == str(tmp_path / "a-store")
    assert (context.weights, context.trainings) == (tmp_path / "weights", tmp_path / "runs")
    bucket = WorkerContext("s3://bucket/store", "run", tmp_path)
    assert pickle.loads(pickle.dumps(bucket)) == bucket


def test_the_files_of_a_run_on_a_cluster_are_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"a video")
    named = {"store": "a-store", "sources": ["clip.mp4"], "extractors": ["silero_vad"], "weights": "untrained"}
    for runner, path in (("dask", tmp_path / "clip.mp4"), ("threads", Path("clip.mp4"))):
        request = request_of(checked(named | {"runner": {"kind": runner}}, "here"))
        assert [video.path for video in request.inputs.videos] == [path]


def test_many_workers_may_see_at_once_whether_a_bucket_can_be_written(s3_url):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(check_bucket_writable, [s3_url] * 64)) == [None] * 64
    assert objects_of(s3_url).sizes() == {}


def test_what_a_runner_lacks_on_this_machine_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="`sbatch`, which is not on this machine"), RunnerSpec.of("slurm").start():
        pass
    for name in ("cuda", "kubernetes"):
        monkeypatch.setattr(
            "affstore.store.contract.extras.is_installed", lambda package: not package.startswith("dask_")
        )
        with pytest.raises(SpecError, match="needs "), RunnerSpec.of(name).start():
            pass
