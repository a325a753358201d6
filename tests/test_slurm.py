"""Runs on a real SLURM: `pytest -m slow tests/test_slurm.py` where `sinfo` shows an idle node.

Debian's slurm-wlm on loopback will do; deploy/README.md has its configuration.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.runners.base import RunnerSpec
from affstore.store.contract.errors import SpecError, WorkersLostError
from tests.factories import AU_RUN

TAKES = ("video58", "112", "6-20-480x240", "video17")
CONFIG = AU_RUN | {"sources": ["../corpus"]}
DEPLOY = Path(__file__).parents[1] / "deploy" / "slurm"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def output_of(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=True, **more).stdout


@pytest.fixture(scope="module", autouse=True)
def slurm():
    if not which("sinfo") or subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode:
        pytest.skip("needs a SLURM that answers `sinfo`, which is not on this machine")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    folder = tmp_path_factory.mktemp("slurm")
    write_corpus(folder / "corpus", CorpusSpec(only=TAKES))
    return folder


def configured(folder):
    folder.mkdir()
    (folder / "run.yaml").write_text(json.dumps(CONFIG))
    return folder / "run.yaml"


def start(config, *more):
    command = [sys.executable, "-m", "affstore.flows.cli", "run", str(config), *more]
    with (config.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=config.parent, stdout=log, stderr=log)


def started(config, *more):
    """A run whose first video is extracted."""
    process, log = start(config, *more), config.parent / "log.txt"
    while not re.search(r"^extract +1/", log.read_text(), re.MULTILINE):
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    return process


@pytest.fixture(scope="module")
def undisturbed(corpus):
    """The content digest of a run in threads."""
    assert start(configured(corpus / "undisturbed"), "--workers", "2").wait() in (0, 3)
    return digest(corpus / "undisturbed")


def digest(folder):
    return content_digest(FeatureStore(str(folder / "store")))


def jobs():
    return output_of("squeue", "-h", "-o", "%i %T").split("\n")[:-1]


def none_left():
    """Whether SLURM has no job any more; one that is cancelled takes a moment to end."""
    deadline = time.monotonic() + 30
    while jobs() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not jobs()


def running():
    return [line.split()[0] for line in jobs() if line.endswith("RUNNING")]


def test_a_run_one_of_whose_jobs_is_cancelled_gives_the_store_of_threads(corpus, undisturbed):
    config = configured(corpus / "jobs")
    process = started(config, "--runner", "slurm", "--workers", "2", "--runner-option", "memory=3GB")
    victim = running()[0]
    output_of("scancel", victim)
    seen = set()
    while process.poll() is None:
        seen |= {line.split()[0] for line in jobs()}
        time.sleep(0.2)
    assert process.returncode in (0, 3), (config.parent / "log.txt").read_text()
    assert digest(config.parent) == undisturbed
    assert len(seen - {victim}) >= 2, "another job was submitted in its place"
    assert none_left(), "no job is left behind"


def test_a_job_array_whose_one_task_is_cancelled_gives_the_store_of_threads(corpus, undisturbed):
    config = configured(corpus / "array")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = ("--cpus-per-task=1", "--mem=3G")
    output_of(str(DEPLOY / "submit.sh"), str(config), "3", *options, cwd=config.parent, env=environment)
    while not (shares := [job for job in running() if "_" in job]):
        time.sleep(0.2)
    time.sleep(12)  # it is at work
    output_of("scancel", shares[-1])
    while jobs():
        time.sleep(0.5)
    log = "\n".join(path.read_text() for path in config.parent.glob("slurm-*.out"))
    assert "published" in log, log
    assert digest(config.parent) == undisturbed


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"partition": "nowhere"}, "partition nowhere.*nvalid partition"),
        ({"cores": 500}, "500 cores.*not available"),
        ({"walltime": "never"}, "walltime' is wrong.*never"),
        ({"memory": "900TB"}, "900TB"),
    ],
)
def test_a_job_that_slurm_does_not_take_is_refused_in_its_words(options, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=why), RunnerSpec.of("slurm", **options).start():
        pass
    assert none_left()


def test_a_job_that_would_wait_for_ever_is_refused(tmp_path, monkeypatch):
    limits = dict(line.split() for line in output_of("sinfo", "-h", "-o", "%R %l").splitlines())
    short = [name for name, limit in limits.items() if limit not in ("infinite",) and "-" not in limit]
    if not short:
        pytest.skip("needs a partition with a limit of less than a day")
    monkeypatch.chdir(tmp_path)
    options = {"partition": short[0], "walltime": "6-00:00:00"}
    with pytest.raises(SpecError, match=r"wait for ever|does not take"), RunnerSpec.of("slurm", **options).start():
        pass
    assert none_left()


def test_workers_of_jobs_that_cannot_start_are_named_with_their_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("affstore.flows.runners.slurm.PRELOAD", "no.such.module")
    with pytest.raises(SpecError, match="ended before a worker"), RunnerSpec.of("slurm").start():
        pass


def test_a_job_of_several_processes_that_ends_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"cores": 2, "memory": "3GB", "workers": 2}
    with RunnerSpec.of("slurm", **options).start() as runner, runner.executor() as executor:
        (first,) = running()
        assert executor.submit(os.getppid).result()
        output_of("scancel", first)
        deadline = time.monotonic() + 60
        while running() in ([], [first]) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert executor.submit(os.getppid).result(timeout=60)
    assert none_left()


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A file; while it is there, `sbatch` takes no job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("affstore.flows.runners.slurm._LOOK_S", 1.0)
    away = tmp_path / "away"
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    refusal = f"if [ -e {away} ] && [ $1 != --test-only ]; then echo 'sbatch: error: no room' >&2; exit 1; fi"
    sbatch.write_text(f"#!/bin/sh\n{refusal}\nexec {which('sbatch')} $@\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    return away


def test_a_job_that_sbatch_does_not_take_is_submitted_again(away, capfd):
    with RunnerSpec.of("slurm", memory="1GB").start() as runner, runner.executor() as executor:
        assert executor.submit(os.getppid).result()
        away.touch()
        output_of("scancel", *running())
        again = executor.submit(os.getppid)
        time.sleep(8)
        assert not again.done()
        away.unlink()
        assert again.result(timeout=60)
    said = capfd.readouterr().err
    assert said.count("SLURM takes no further job (sbatch: error: no room)") == 1
    assert "Traceback" not in said
    assert none_left()


def test_a_run_of_which_sbatch_takes_no_job_is_refused_in_its_words(away):
    away.touch()
    with pytest.raises(SpecError, match="takes no job of this run: sbatch: error: no room"):
        RunnerSpec.of("slurm", memory="1GB").start().__enter__()


def test_jobs_that_end_one_after_the_other_end_the_run_with_the_last_words_of_a_log(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "preload.py").write_text(
        f"import pathlib\nassert not pathlib.Path({str(tmp_path / 'broken')!r}).exists(), 'the node has no disk'\n"
    )
    monkeypatch.setattr("affstore.flows.runners.slurm.PRELOAD", str(tmp_path / "preload.py"))
    monkeypatch.setattr("affstore.flows.runners.slurm._LOOK_S", 1.0)

    def break_the_node():
        with RunnerSpec.of("slurm", memory="1GB").start() as runner, runner.executor() as executor:
            assert executor.submit(os.getppid).result()
            (tmp_path / "broken").touch()
            output_of("scancel", *running())
            executor.submit(time.sleep, 900).result(timeout=600)

    with pytest.raises(WorkersLostError, match=r"10 jobs of SLURM.*the node has no disk.*is kept"):
        break_the_node()
    assert "Jobs of SLURM ended before the run" in capfd.readouterr().err
    assert none_left()


def test_a_run_whose_jobs_are_all_cancelled_ends_and_the_next_one_goes_on(corpus, undisturbed):
    config = configured(corpus / "cancelled")
    options = ("--runner", "slurm", "--workers", "2", "--runner-option", "memory=3GB")
    process = started(config, *options)
    while process.poll() is None:
        for job in running():
            subprocess.run(["scancel", job], check=False)
        time.sleep(0.5)
    log = (config.parent / "log.txt").read_text()
    assert process.returncode == 3, log
    assert "one after the other, ended without having finished a task" in log
    assert "Traceback" not in log
    assert none_left()
    assert start(config, *options).wait() in (0, 3)
    assert digest(config.parent) == undisturbed


def test_jobs_of_a_command_that_was_killed_end_by_themselves_and_the_next_run_goes_on(corpus, undisturbed):
    config = configured(corpus / "killed")
    options = ("--runner", "slurm", "--workers", "2", "--runner-option", "memory=3GB")
    process = started(config, *options)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 240
    while jobs() and time.monotonic() < deadline:
        time.sleep(1)
    assert jobs() == [], "workers without a scheduler go home"
    assert start(config, *options).wait() in (0, 3)
    assert digest(config.parent) == undisturbed
