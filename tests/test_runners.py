"""Where the tasks of a run go: kinds of runners with their options."""

from __future__ import annotations

import socket
from itertools import count

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.runners.base import RunnerSpec
from affstore.store.contract.errors import SpecError


@pytest.mark.parametrize(
    "address", ["tcp://localhost:8786", "tcp://127.0.0.1:1", "127.0.1.1:1", "tls://[::1]:8786", "localhost:8786", ""]
)
def test_a_scheduler_on_this_machine_is_not_elsewhere(address):
    assert not RunnerSpec.of("dask", scheduler=address).elsewhere


@pytest.mark.parametrize("address", ["tcp://node7:8786", "tcp://10.0.0.1:1", "tcp://localhost.invalid:1", "h:1"])
def test_a_scheduler_on_another_machine_is_elsewhere(address):
    assert RunnerSpec.of("dask", scheduler=address).elsewhere


def test_a_name_for_this_machine_is_resolved(monkeypatch):
    addresses = {"here": ["127.0.1.1", "::1"], "both": ["127.0.0.1", "10.0.0.1"]}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, _: [(0, 0, 0, "", (one, 0)) for one in addresses[host]])
    assert not RunnerSpec.of("dask", scheduler="tcp://here:8786").elsewhere
    assert RunnerSpec.of("dask", scheduler="tcp://both:8786").elsewhere


def test_a_changed_runner_keeps_what_was_not_named():
    spec = RunnerSpec.of("dask", workers=3, scheduler="tcp://localhost:1")
    assert spec.changed(workers=4) == RunnerSpec.of("dask", workers=4, scheduler="tcp://localhost:1")
    assert spec.changed("dask") == spec
    assert spec.changed("threads") == RunnerSpec.of("threads", workers=3)


@pytest.mark.parametrize("value", [-1, 10_001, "many", None])
def test_a_wrong_value_of_an_option_is_named(value):
    with pytest.raises(SpecError, match=r"'runner\.workers' is wrong.*'threads'"):
        RunnerSpec.of("threads", workers=value)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        *(
            ("dask", "scheduler", value)
            for value in ("nowhere", "tcp://nowhere", "tcp://:8786", "http://node7:8786", "tcp://node7:87860", "a b:1")
        ),
        ("slurm", "partition", "cpu long"),
        ("slurm", "partition", "cpu\n#SBATCH --exclusive"),
        ("slurm", "account", "my lab"),
        ("slurm", "memory", "banana"),
        ("slurm", "walltime", "a day"),
        ("slurm", "interface", "ib0; ls"),
        ("kubernetes", "namespace", "My_Lab"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused_before_anything_is_reached(kind, option, value):
    with pytest.raises(SpecError, match=rf"'runner\.{option}' is wrong: write it .*'{kind}'"):
        RunnerSpec.of(kind, **{option: value})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dask", {"scheduler": "tls://[::1]:8786"}),
        ("slurm", {"partition": "cpu,long", "account": "lab-1", "memory": "1.5 GiB", "walltime": "2-12:00:00"}),
        ("slurm", {"memory": "16000MB", "walltime": "90", "interface": "eth0.100"}),
        ("kubernetes", {"namespace": "lab-1"}),
    ],
)
def test_options_as_clusters_take_them_are_taken(kind, options):
    assert RunnerSpec.of(kind, **options).options.model_dump(exclude_unset=True) == options


@pytest.mark.parametrize(("options", "processes"), [({"workers": 10}, 16), ({}, 8), ({"workers": 3, "gpus": 1}, 3)])
def test_workers_of_slurm_are_whole_jobs(options, processes):
    assert RunnerSpec.of("slurm", cores=8, **options).parallelism().at_once == processes


@pytest.mark.parametrize(
    ("runner", "units", "workers"),
    [
        (RunnerSpec.of("dask", workers=8), 3, 3),
        (RunnerSpec.of("dask", workers=8), 9, 8),
        (RunnerSpec.of("slurm", workers=40), 3, 3),
        (RunnerSpec.of("threads", workers=8), 3, 8),
    ],
)
def test_a_run_starts_no_more_worker_processes_than_it_has_work_for(runner, units, workers):
    assert runner.for_units(range(units)) == runner.changed(workers=workers)


def test_where_nobody_says_how_many_workers_the_work_decides_too(monkeypatch):
    monkeypatch.setattr("affstore.flows.runners.base.usable_cores", lambda: 64)
    monkeypatch.setattr("affstore.flows.runners.base.usable_memory_bytes", lambda: 1 << 40)
    assert RunnerSpec.of("dask").for_units("a").parallelism().processes == 1
    assert RunnerSpec.of("dask").for_units(count()) == RunnerSpec.of("dask"), "nobody knows how many there are"


def test_work_is_counted_only_as_far_as_there_are_processes_for_it():
    units = count()
    RunnerSpec.of("threads", workers=8).for_units(units)
    RunnerSpec.of("dask", workers=3).for_units(units)
    assert next(units) == 3, "files are digested to find more"


@pytest.fixture(scope="module")
def nothing_due(tmp_path_factory):
    """A configuration of a run that is up to date."""
    folder = tmp_path_factory.mktemp("up to date")
    FeatureStore.create(str(folder / "store"))
    config = folder / "run.yaml"
    config.write_text("store: store\nextractors: []\nweights: untrained\n")
    return config


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--runner", "dask", "--scheduler", "nowhere"), "'runner.scheduler' is wrong"),
        (("--runner", "dask", "--workers", "-1"), "'runner.workers' is wrong"),
        (("--runner", "dask", "--runner-option", "shceduler=a"), "Did you mean 'scheduler'?"),
        (("--runner", "slurm", "--runner-option", "partition=a b"), "'runner.partition' is wrong"),
        (("--runner", "kubernetes", "--workers", "2"), "needs a manifest of the pods"),
        (("--runner", "kubernetes", "--workers", "2", "--runner-option", "manifest=no.yaml"), "cannot be read"),
    ],
)
def test_a_run_with_nothing_due_refuses_options_that_are_wrong(options, said, nothing_due, capsys):
    assert call(["run", str(nothing_due), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_run_with_nothing_due_needs_no_scheduler(nothing_due, capsys):
    assert call(["run", str(nothing_due), "--runner", "dask", "--scheduler", "tcp://nowhere.invalid:1"]) == 0
    assert "No Dask scheduler" not in capsys.readouterr().err


def test_a_run_with_nothing_due_that_shall_have_no_pages_needs_neither(nothing_due, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nothing answers there
    options = ("--runner-option", "pages=never", "--runner", "dask", "--scheduler", "tcp://nowhere.invalid:1")
    assert call(["run", str(nothing_due), *options]) == 0
