"""Short units of work in groups: all are done, in their order, and none costs another what it made."""

from __future__ import annotations

import errno
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows.commits import commit_finished
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.runners.dask import on_scheduler
from affstore.flows.server import Server
from affstore.flows.stage import run_on, stage
from affstore.store.contract.errors import MediaError
from affstore.tasks.cancellation import StoppedError, request_cancellation, reset_cancellation
from affstore.tasks.groups import _MOST, groups_of, in_turn
from affstore.tasks.outcomes import Outcome
from affstore.tasks.prefect_task import as_state, titled
from affstore.tasks.retries import passing_fault
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import Task, task
from tests.dask_cluster import dask_cluster
from tests.tasks_of_tests import flaky

SIZED = task("sized", "sized {size}", share=lambda size: size)(lambda size: size)
SHORT = Task("flaky", "flaky {name}", flaky.do, lambda *_: 0)


def grouped(sizes, workers=2):
    return list(groups_of(SIZED, {str(number): (size,) for number, size in enumerate(sizes)}, workers))


@given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 20))
def test_every_unit_is_in_one_group_in_its_order_and_no_group_is_too_large(sizes, workers):
    groups = grouped(sizes, workers)
    assert [about for group in groups for about in group.about] == [str(number) for number in range(len(sizes))]
    assert [one for group in groups for one in group.arguments] == [(size,) for size in sizes]
    for group in groups:
        assert len(group.about) == 1 or (len(group.about) <= _MOST and sum(size for (size,) in group.arguments) <= 1)


@given(st.integers(1, 400), st.integers(1, 8))
def test_groups_get_smaller_so_that_all_workers_end_at_about_the_same_time(units, workers):
    sizes = [len(group.about) for group in grouped([0.1] * units, workers)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size == 1 for size in sizes[-min(len(sizes), 2 * workers) :])


def test_a_few_units_and_long_ones_are_tasks_of_their_own():
    assert [len(group.about) for group in grouped([0.01] * 8)] == [1] * 8
    assert [len(group.about) for group in grouped([1.0] * 100)] == [1] * 100
    assert max(len(group.about) for group in grouped([0.01] * 1000)) == _MOST


class StubbornError(Exception):
    def __reduce__(self):
        raise TypeError("nobody can send this")


def fails(how):
    if how is not None:
        raise how
    return "done"


def test_the_error_of_one_unit_costs_the_others_nothing_and_travels():
    units = [(None,), (MediaError("It is not what it claims to be."),), (StubbornError("odd"),), (None,)]
    first, media, odd, last = pickle.loads(pickle.dumps(in_turn(fails)(*units)))
    assert (first, last) == ("done", "done")
    assert isinstance(media, MediaError)
    assert (type(odd), str(odd)) == (RuntimeError, "StubbornError: odd")
    (where,) = odd.__notes__
    assert "in fails" in where
    assert not hasattr(media, "__notes__"), "its sentence says all"


def test_an_error_keeps_the_kind_of_fault_that_it_came_from_and_nothing_of_what_was_in_memory():
    def reads():
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError as error:
            raise MediaError("'a.mp4' cannot be read.") from error

    (found,) = pickle.loads(pickle.dumps(in_turn(reads)(())))
    assert passing_fault(found) == "files"
    assert (found.__cause__, found.__context__, found.__traceback__) == (None, None, None)


def test_no_unit_of_a_group_is_begun_once_the_run_was_interrupted():
    def interrupts():
        request_cancellation()
        return "the first"

    try:
        first, second = in_turn(interrupts)((), ())
    finally:
        reset_cancellation()
    assert first == "the first"
    assert isinstance(second, StoppedError)


@pytest.fixture
def done(tmp_path, monkeypatch):
    """Write sources by a run, each of which fails a few times: the outcomes, and how often each was tried."""
    monkeypatch.setattr("affstore.tasks.retries._LONGEST_PAUSE_S", 0.2)

    def run(fault, times, runner=None, server=None, retries=2):
        reset_cancellation()
        url = str(tmp_path / "store")
        FeatureStore.create(url)
        units = {name: (url, name, tmp_path, count, fault) for name, count in times.items()}
        context = WorkerContext(url, "run", tmp_path, retries=retries)
        at_work = stage("flaky")(lambda context: commit_finished(context, SHORT, units))
        with (
            runner or RunnerSpec.of("threads", workers=2).start() as workers,
            run_on(server or Server(""), workers),
        ):
            outcomes = {outcome.subject: outcome for outcome in at_work(context)}
        assert outcomes.keys() == times.keys()
        stored = {record.address.video for record in FeatureStore(url).records("source")}
        assert stored == {name for name, outcome in outcomes.items() if outcome.status == "done"}
        return outcomes, {name: (tmp_path / f"{name}.tries").stat().st_size for name in times}

    yield run
    reset_cancellation()


TIMES = {f"v{number:02d}": 0 for number in range(60)} | {"v03": 1, "v40": 9}


def test_of_a_group_only_what_failed_is_tried_again(done):
    outcomes, tries = done("EIO", TIMES)
    assert {name: count for name, count in tries.items() if count != 1} == {"v03": 2, "v40": 3}
    assert [name for name, outcome in outcomes.items() if outcome.status != "done"] == ["v40"]


def test_prefect_shows_a_group_as_one_task_under_the_name_of_its_first_unit(done, server):
    from prefect.client.orchestration import get_client

    done("media", TIMES, server=server)
    groups = [group.about for group in groups_of(SHORT, {name: ("", name) for name in TIMES}, 2)]
    wanted = {f"flaky {first}" + (f" (and {len(more)} more)" if more else "") for first, *more in groups}
    assert len(wanted) < len(TIMES)
    shown, deadline = set[str](), time.monotonic() + 30
    while shown != wanted and time.monotonic() < deadline:  # the server writes down what it was told a moment later
        with get_client(sync_client=True) as client:
            shown = {run.name for run in client.read_task_runs(limit=200) if run.name.startswith("flaky v")}
    assert shown == wanted


def outcome(status, subject="v1"):
    return Outcome("extract", subject, status, f"{subject} is {status}")


def test_a_group_s_state_is_that_of_its_worst_unit_which_it_names():
    states = [as_state(found) for found in (
        [outcome("done"), outcome("done", "v2")],
        [outcome("done"), outcome("quarantined", "v2"), outcome("quarantined", "v3")],
        [outcome("cached"), outcome("failed", "v2"), outcome("quarantined")],
        [outcome("done"), MediaError("It is broken.")],
        [7],
    )]  # fmt: skip
    assert [(state.name, state.message) for state in states] == [
        ("Completed", "v1 is done (and 1 more)"),
        ("Quarantined", "v2: v2 is quarantined (and 1 more)"),
        ("Not done", "v2: v2 is failed"),
        ("Failed", "MediaError: It is broken."),
        ("Completed", None),
    ]
    (group,) = groups_of(SIZED, {"a": (0,)}, 1)
    assert titled(SIZED, group) == "sized 0"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("retries", [0, 2])
def test_a_unit_that_ends_its_workers_takes_none_of_its_group_along(retries, done, tmp_path):
    with dask_cluster(tmp_path, (), ()) as (address, _):
        outcomes, _ = done("dies", TIMES | {"v03": 99, "v40": 0}, on_scheduler(address), retries=retries)
    failed = [name for name, one in outcomes.items() if one.status != "done"]
    assert "v03" in failed
    if retries:
        assert failed == ["v03"]
    else:  # Dask blames what waited beside it as well, which a second try would tell apart
        assert len(failed) <= 2
