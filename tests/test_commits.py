"""When the one committer of a run commits."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from io import FileIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows import commits
from affstore.flows.commits import CommitPace, commit_finished, committed
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.flows.stage import run_on
from affstore.store.contract.errors import ConflictError
from affstore.store.engine import writers
from affstore.store.engine.writers import WriterMark, alone_in
from affstore.tasks.cancellation import reset_cancellation
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import WorkerContext
from tests.factories import commit, source
from tests.tasks_of_tests import put


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0.001, 60), st.floats(0.001, 600)), max_size=60))
def test_committing_takes_few_of_a_runs_seconds_and_no_work_waits_long(steps):
    clock = Clock()
    pace = CommitPace(clock)
    assert pace.is_due(), "the first unit of work is committed at once"
    for cost, between in steps:
        clock.now += between
        waited = clock.now - pace.ended_s
        if pace.is_due():
            assert waited >= min(pace.cost_s * 48, 300)
            with pace.measured():
                clock.now += cost
            assert pace.cost_s == pytest.approx(cost)
        else:
            assert waited < 300
            assert pace.cost_s / (waited + pace.cost_s) > 0.02


@pytest.fixture
def committed_names(tmp_path):
    """Commit sources of these names by a run, and give what is stored and how many commits it took."""

    def run(names):
        reset_cancellation()
        url = str(tmp_path / "store")
        before = len(FeatureStore.create(url).history())
        units = {name: (url, name) for name in names}
        with RunnerSpec.of("threads", workers=2).start() as threads, run_on(Server(""), threads):
            try:
                outcomes = commit_finished(WorkerContext(url, "run", tmp_path), put, units)
            except KeyboardInterrupt:
                outcomes = None
        store = FeatureStore(url)
        return outcomes, [record.address.video for record in store.records("source")], len(store.history()) - before

    yield run
    reset_cancellation()


def test_many_quick_units_of_work_are_committed_in_few_commits(committed_names):
    names = [f"video{number:02d}" for number in range(40)]
    outcomes, stored, commits = committed_names(names)
    assert stored == names
    assert sorted(outcome.subject for outcome in outcomes) == names
    assert all(outcome.status == "done" and outcome.draft is None for outcome in outcomes)
    assert commits <= 30


@pytest.mark.usefixtures("ctrl_c")
def test_what_was_finished_when_a_run_is_interrupted_is_kept(committed_names):
    names = [*(f"video{number:02d}" for number in range(20)), "video20!"]
    outcomes, stored, commits = committed_names(names)
    assert outcomes is None
    assert stored == names[:20]
    assert commits < len(stored), "the last commit was not due yet"


def test_a_commit_that_is_interrupted_is_made_before_the_run_ends(committed_names, monkeypatch):
    commit_once, calls = commits._commit, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        commit_once(*args)

    monkeypatch.setattr(commits, "_commit", interrupted)
    outcomes, stored, _ = committed_names(["first"])
    assert outcomes is None
    assert stored == ["first"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files as Linux lists them")
def test_drafts_that_wait_for_their_commit_hold_one_open_file_together(tmp_path):
    store = FeatureStore.create(str(tmp_path / "store"))
    first, before = store.draft({}, "run"), len(os.listdir("/proc/self/fd"))
    waiting = [store.draft({}, "run") for _ in range(40)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    for draft in [first, *waiting[1:]]:
        draft.release()
    with pytest.raises(ConflictError, match="is writing"), alone_in(store.url):
        pass
    waiting[0].release()
    with alone_in(store.url), pytest.raises(ConflictError, match="at work there"):
        store.draft({}, "run")
    store.draft({}, "run").release()


def test_a_mark_is_of_the_folder_that_a_relative_path_meant_and_of_the_file_that_others_see(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        FeatureStore.create("store")
    monkeypatch.chdir(tmp_path / "a")
    first = WriterMark("store")
    monkeypatch.chdir(tmp_path / "b")
    second = WriterMark("store")
    with pytest.raises(ConflictError, match="is writing"), alone_in(str(tmp_path / "b" / "store")):
        pass
    (tmp_path / "b" / "store.writers").unlink()
    third = WriterMark("store")
    with pytest.raises(ConflictError, match="is writing"), alone_in("store"):
        pass
    for mark in (first, second, third):
        mark.release()


def test_a_mark_that_is_taken_while_the_last_one_goes_is_a_mark(tmp_path, monkeypatch):
    url = FeatureStore.create(str(tmp_path / "store")).url
    taken = []

    class Lock(FileIO):
        def close(self):  # as another thread may do, which runs while a file is closed
            if not taken:
                taken.append(None)
                taken[0] = WriterMark(url)
            super().close()

    monkeypatch.setattr(writers, "_opened", lambda url: Lock(f"{url}.writers", "a"))
    WriterMark(url).release()
    taken.append(WriterMark(url))
    with pytest.raises(ConflictError, match="is writing"), alone_in(url):
        pass
    for mark in taken:
        mark.release()


def test_a_unit_that_conflicts_fails_alone_and_keeps_nobody_from_removing(tmp_path):
    url = FeatureStore.create(str(tmp_path / "store")).url
    context = WorkerContext(url, "run", tmp_path)
    late = [Outcome("ingest", name, "done", draft=FeatureStore(url).draft({}, "run")) for name in ("a", "b")]
    for outcome, other in zip(late, (1, 2), strict=True):
        outcome.draft.put(replace(source(outcome.subject), recipe={"bytes": f"of run {other}"}))
    commit(FeatureStore(url), source("a"))
    became = committed(context, "ingest", late)
    assert [(one.subject, one.status) for one in became] == [("a", "failed"), ("b", "done")]
    with alone_in(url):
        assert {one.video for one in FeatureStore(url).addresses("source")} == {"a", "b"}


FORKING = """
import os, sys
from affstore.store.contract.errors import ConflictError, SpecError
from affstore.store.engine.writers import WriterMark, alone_in

url, order = sys.argv[1:]
mark, (told, tells) = WriterMark(url), os.pipe()

def tell(what):
    os.write(1, f"{what}\\n".encode())  # in one piece, as two processes write

def is_marked():
    try:
        with alone_in(url):
            return False
    except ConflictError:
        return True

child = os.fork()
if not child:
    if order == "child first":
        mark.release()  # the child's own view of it
    try:
        WriterMark(url)
    except SpecError as error:
        tell("forked from" in str(error))
    if order == "child last":
        os.close(tells)
        os.read(told, 1)  # until the parent has ended
    os._exit(0)
if order == "child first":
    os.waitpid(child, 0)
    tell(is_marked())
mark.release()
tell(is_marked())
with alone_in(url):
    another = os.fork()
    if not another:
        os.close(tells)
        os.read(told, 1)
        os._exit(0)
tell(is_marked())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("order", "said"), [("child first", "True True False False"), ("child last", "True False False")]
)
def test_a_forked_child_neither_keeps_a_mark_nor_lets_go_of_it(tmp_path, order, said):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "store"), order],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (sorted(done.stdout.split()), done.stderr) == (sorted(said.split()), "")
