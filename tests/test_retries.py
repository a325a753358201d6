"""Faults that may pass: which they are, how often a unit of work is tried again, and what is left of a failed try."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from affstore import FeatureStore, content_digest
from affstore.flows.commits import commit_finished
from affstore.flows.config.run_config import checked
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.runners.dask import on_scheduler
from affstore.flows.server import Server
from affstore.flows.stage import run_on, stage
from affstore.flows.tries import Tries
from affstore.flows.watch import Watcher, using_watcher
from affstore.store.contract.errors import (
    ConflictError,
    DeviceMemoryError,
    MediaError,
    SchemaError,
    SpecError,
    StoreUnavailableError,
    StoreUnreachableError,
    WeightsMissingError,
)
from affstore.tasks import retries
from affstore.tasks.cancellation import reset_cancellation
from affstore.tasks.retries import passing_fault, pause_before_retry
from affstore.tasks.specs import WorkerContext
from tests.dask_cluster import dask_cluster
from tests.tasks_of_tests import flaky


class KilledWorker(Exception):
    pass


def system(name):
    return OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "/data/a.mp4")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        *((system(name), "files") for name in ("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "ECONNRESET")),
        (TimeoutError("no answer"), "files"),
        (StoreUnreachableError("the server does not answer"), "store"),
        (torch.OutOfMemoryError("CUDA out of memory."), "gpu"),
        (DeviceMemoryError("no memory for even one face"), "gpu"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "gpu"),
        (KilledWorker("extract"), "worker"),
        *((system(name), "") for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "ENOENT", "EMFILE")),
        (StoreUnavailableError("the disk is full"), ""),
        *((kind("as it is"), "") for kind in (MediaError, SchemaError, SpecError, WeightsMissingError, ConflictError)),
        (RuntimeError("shapes do not match"), ""),
        (MemoryError(), ""),
        (None, ""),
    ],
)
def test_a_fault_passes_or_not_wherever_the_error_has_travelled(error, fault):
    assert passing_fault(error) == fault
    assert passing_fault(pickle.loads(pickle.dumps(error))) == fault


def test_what_is_said_of_a_file_that_could_not_be_read_passes_and_what_ffmpeg_says_of_a_broken_one_does_not():
    import av

    for cause, fault in ((system("EIO"), "files"), (av.error.OSError(errno.EIO, "Input/output error"), "")):
        error = MediaError("'a.mp4' cannot be read.")
        error.__cause__ = cause
        assert passing_fault(error) == fault


def test_pauses_grow_and_end_with_the_retries_or_the_run_s_time():
    assert [pause_before_retry("files", tried, 3, None) for tried in range(1, 5)] == [2, 4, 8, None]
    assert pause_before_retry("worker", 2, 3, None) is None, "what ends its workers is tried twice, whatever is asked"
    assert pause_before_retry("files", 1, 0, None) is None
    assert pause_before_retry("", 1, 3, None) is None
    assert pause_before_retry("files", 1, 3, time.time() + 1) is None


class Listener(Watcher):
    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Write sources by a run, each of which fails a few times: outcomes, tries of each, notices, and what is stored."""
    monkeypatch.setattr("affstore.tasks.retries._LONGEST_PAUSE_S", 0.2)

    def run(fault, times, runner=None, server=None, retries=2):
        reset_cancellation()
        url, listener = str(tmp_path / "store"), Listener()
        FeatureStore.create(url)
        context = WorkerContext(url, "run", tmp_path, retries=retries)
        units = {name: (url, name, tmp_path, count, fault) for name, count in times.items()}
        at_work = stage("flaky")(lambda context: commit_finished(context, flaky, units))
        with (
            using_watcher(listener),
            runner or RunnerSpec.of("threads", workers=2).start() as workers,
            run_on(server or Server(""), workers),
        ):
            outcomes = {outcome.subject: outcome for outcome in at_work(context)}
        assert all((tmp_path / f"{name}.tries").exists() for name in times), outcomes
        counts = {name: (tmp_path / f"{name}.tries").stat().st_size for name in times}
        stored = {record.address.video: record.digest for record in FeatureStore(url).records("source")}
        return outcomes, counts, listener.notices, stored

    yield run
    reset_cancellation()


def done_again(errors):
    tries = Tries(WorkerContext("memory:tries", "run", Path(), retries=2), "extract")
    assert tries.over(errors.items()) == []
    return tries.due_again()[0]


def test_what_is_said_to_have_ended_its_workers_is_done_again_by_itself_and_all_else_side_by_side(monkeypatch):
    monkeypatch.setattr("affstore.tasks.retries._LONGEST_PAUSE_S", 0)
    monkeypatch.setattr("affstore.flows.tries.workers_answer", lambda: True)
    gone = {name: CancelledError() for name in "abc"}
    assert done_again(gone) == [["a", "b", "c"]], "a scheduler that came back has all its workers"
    assert done_again(gone | {"d": system("EIO"), "b": KilledWorker(), "c": KilledWorker()}) == [
        ["a", "d"],
        ["b"],
        ["c"],
    ]
    many = {str(number): KilledWorker() for number in range(100)}
    assert done_again(many) == [list(many)], "that is not one video's fault"


@pytest.mark.parametrize("in_prefect", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_unit_of_work_that_a_fault_hit_once_or_twice_ends_as_if_there_had_been_none(in_prefect, tried, request):
    server = request.getfixturevalue("server") if in_prefect else None
    outcomes, counts, notices, stored = tried("unreadable", {"a": 0, "b": 1, "c": 2}, server=server)
    assert counts == {"a": 1, "b": 2, "c": 3}
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert outcomes["a"].reason == "a is there"
    assert outcomes["c"].reason.startswith("c is there; it was tried 3 times, at first: files did not answer (OSError")
    first, second = notices
    assert re.search(r"flaky of '[bc]' and of 1 more is tried again: files did not answer", first)
    assert second.startswith("flaky of 'c' is tried again: files did not answer")
    assert sorted(stored) == ["a", "b", "c"]
    assert stored["a"] == stored["b"] == stored["c"]


def test_a_fault_that_does_not_pass_is_given_up_after_the_retries_and_the_others_go_on(tried):
    outcomes, counts, _, stored = tried("ESTALE", {"a": 0, "b": 9})
    assert counts == {"a": 1, "b": 3}
    assert (outcomes["b"].status, sorted(stored)) == ("failed", ["a"])
    assert outcomes["b"].reason.endswith("; it was tried 3 times")


@pytest.mark.parametrize("fault", ["media", "ENOSPC", "EACCES"])
def test_what_will_not_pass_is_tried_once(fault, tried):
    outcomes, counts, notices, stored = tried(fault, {"a": 1})
    assert (counts, stored, notices) == ({"a": 1}, {}, [])
    assert outcomes["a"].status == "failed"
    assert "tried" not in outcomes["a"].reason


def test_nothing_is_tried_again_by_a_run_without_retries(tried):
    outcomes, counts, _, _ = tried("EIO", {"a": 1}, retries=0)
    assert (counts["a"], outcomes["a"].status) == (1, "failed")


@pytest.mark.parametrize(("times", "status"), [(1, "done"), (2, "failed")])
def test_a_gpu_without_memory_is_tried_once_more_and_said_in_a_sentence(times, status, tried):
    outcomes, counts, _, _ = tried("gpu", {"a": times})
    assert (counts["a"], outcomes["a"].status) == (2, status)
    assert "The GPU did not do it (CUDA out of memory. Tried to allocate 20.00 GiB.)" in outcomes["a"].reason


def test_a_result_that_is_on_its_way_when_the_scheduler_dies_is_lost_and_not_waited_for(tmp_path, monkeypatch):
    from distributed import Client

    async def struck(client, *what):
        processes[0].kill()
        return await fetch(client, *what)

    fetch = Client._gather_remote
    monkeypatch.setattr(Client, "_gather_remote", struck)
    with dask_cluster(tmp_path, ()) as (address, processes), on_scheduler(address) as runner, runner.executor() as pool:
        with pytest.raises(CancelledError) as found:
            pool.submit(abs, -1).result(60)
        assert passing_fault(found.value) == "worker"


def interrupted(folder):
    """Print how long a run lasts that is interrupted in its pause of 60 s; called in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    retries._LONGEST_PAUSE_S, retries.FAULTS = 60.0, {"files": replace(fault_of("files"), pause_s=60.0)}
    store = FeatureStore.create(str(folder / "store"))
    units = {"a": (store.url, "a", folder, 1, "EIO")}
    threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with RunnerSpec.of("threads", workers=1).start() as threads, run_on(Server(""), threads):
        try:
            commit_finished(WorkerContext(store.url, "run", folder, retries=2), flaky, units)
        except KeyboardInterrupt:
            print(time.monotonic() - began)


def test_ctrl_c_ends_the_pause_before_another_try(tmp_path):
    script = (
        f"from pathlib import Path; from tests.test_retries import interrupted; interrupted(Path({str(tmp_path)!r}))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50


def fault_of(kind):
    from affstore.tasks.retries import FAULTS

    return FAULTS[kind]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(("times", "status", "tries"), [(1, "done", 2), (9, "failed", 2)])
def test_what_ends_its_worker_is_tried_once_more_on_another(times, status, tries, tried, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")  # else Dask itself tries on four workers
    with dask_cluster(tmp_path, (), ()) as (address, _):
        outcomes, counts, notices, stored = tried("dies", {"a": times, "b": 0}, on_scheduler(address))
    assert outcomes["a"].status == status
    assert "it was tried 2 times" in outcomes["a"].reason
    assert counts["a"] == tries
    assert outcomes["b"].status == "done"
    assert sorted(stored) == (["a", "b"] if status == "done" else ["b"])
    assert any("each worker process that began it died" in text for text in notices)


@pytest.mark.slow
@pytest.mark.cluster
def test_work_that_a_scheduler_took_with_it_does_not_wait_for_one_that_never_comes(tried, tmp_path, monkeypatch):
    monkeypatch.setattr("affstore.flows.runners.dask._ANSWER_S", 2)
    with dask_cluster(tmp_path, ()) as (address, processes):
        ending = threading.Thread(target=ended_at, args=(tmp_path / "a.tries", processes[0]))
        ending.start()
        outcomes, _, _, _ = tried("waits", {"a": 1}, on_scheduler(address))
        ending.join()
    assert outcomes["a"].status == "failed"
    assert "the Dask scheduler went away" in outcomes["a"].reason


def ended_at(path, process):
    """End a process as soon as a file is there."""
    while not path.exists():
        time.sleep(0.1)
    process.kill()


# Real parts


@pytest.fixture
def busy(proxy, s3_url, monkeypatch):
    """A store on a server that fails as it is told."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    proxy.set("none")
    FeatureStore.create(s3_url)
    yield proxy, s3_url
    proxy.set("none")


@pytest.mark.slow
@pytest.mark.parametrize("match", ["/chunks/", "/snapshots/"])
def test_a_server_that_is_busy_for_longer_than_its_client_asks_costs_neither_a_unit_nor_a_commit(match, busy, tmp_path):
    proxy, url = busy
    reset_cancellation()
    context = WorkerContext(url, "run", tmp_path, retries=2)
    units = {name: (url, name, tmp_path, 0, "") for name in ("a", "b")}
    proxy.set("503", "PUT", match, times=17)  # the client asks eight times
    listener = Listener()
    with (
        using_watcher(listener),
        RunnerSpec.of("threads", workers=1).start() as threads,
        run_on(Server(""), threads),
    ):
        outcomes = commit_finished(context, flaky, units)
    assert proxy.done == 17
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert "the server has too much to do, or a fault of its own (SlowDown)" in listener.notices[0]
    undisturbed = FeatureStore.create(f"{url}-undisturbed")
    with RunnerSpec.of("threads", workers=1).start() as threads, run_on(Server(""), threads):
        commit_finished(
            replace(context, store_url=undisturbed.url),
            flaky,
            {name: (undisturbed.url, name, tmp_path, 0, "") for name in ("a", "b")},
        )
    assert content_digest(FeatureStore(url)) == content_digest(FeatureStore(undisturbed.url))


def test_a_server_that_refuses_is_not_a_server_that_does_not_answer(busy):
    proxy, url = busy
    proxy.set("403")
    with pytest.raises(StoreUnavailableError, match="these credentials may use it") as caught:
        FeatureStore(url)
    assert passing_fault(caught.value) == ""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    folder = tmp_path_factory.mktemp("films") / "corpus"
    write_corpus(folder, CorpusSpec(episode_s=0.5, only=("video58", "112")))
    return folder


@pytest.fixture(scope="module")
def files_fail(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("files") / "files_fail.so"
    code = Path(__file__).with_name("files_fail.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True)
    return library


def add(store, films, *extractors, **environment):
    """`affstore add` of some films; what it printed, as values."""
    networks = [word for name in extractors for word in ("-e", name)]
    command = [sys.executable, "-m", "affstore.flows.cli", "add", str(films), "--store", str(store), *networks]
    command += ["--weights", "untrained", "--engine", "openvino", "--precision", "float32", "--json"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("fails", "code"), [(2, 0), (9, 3)])
def test_a_video_whose_file_system_fails_for_a_while_has_the_numbers_of_an_undisturbed_run(
    fails, code, films, files_fail, tmp_path
):
    counter = tmp_path / "fails"
    for store in ("store", "undisturbed"):
        add(tmp_path / store, films, "silero_vad")
    counter.write_bytes(b"x" * fails)
    environment = {"LD_PRELOAD": str(files_fail), "FAILING_FILE": "112.mp4", "FAILS": str(counter)}
    ended, found, said = add(tmp_path / "store", films, "silero_vad", "mt_emotimobilefacenet", **environment)
    reasons = {one["what"]: one["reason"] for one in found["outcomes"] if one["stage"] == "extract"}
    assert ended == code, (reasons, said)
    assert "it was tried 3 times" in reasons["112"]
    assert "Input/output error" in reasons["112"]
    assert counter.stat().st_size == max(0, fails - 3)
    if code:  # the next run goes on where the files are there again
        assert add(tmp_path / "store", films, "silero_vad", "mt_emotimobilefacenet")[0] == 0
    add(tmp_path / "undisturbed", films, "silero_vad", "mt_emotimobilefacenet")
    assert content_digest(FeatureStore(str(tmp_path / "store"))) == content_digest(
        FeatureStore(str(tmp_path / "undisturbed"))
    )


def test_retries_are_an_option_of_a_run():
    assert checked({}, "test").retries == 2
    assert checked({"retries": 0}, "test").retries == 0
    for wrong in (-1, 11, "often"):
        with pytest.raises(SpecError, match="retries"):
            checked({"retries": wrong}, "test")
