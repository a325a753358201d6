"""The scheduled deployment as it is meant to run: `pytest -m slow tests/test_scheduled.py`, with Debian's postgresql.

A Prefect server on PostgreSQL, a worker of a process pool, and deploy/prefect.yaml with a schedule of half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from affstore import FeatureStore
from tests.conftest import free_port, wait_for

PREFECT = [sys.executable, "-m", "prefect"]
DEPLOYMENTS = Path(__file__).parents[1] / "deploy" / "prefect.yaml"
TAKES = ("video58", "112", "6-20-480x240", "video17")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@contextmanager
def started(command, log, **more):
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **more)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def database(tmp_path):
    """The address of a PostgreSQL of the test's own; its owner must not be root."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.getuid() or not shutil.which("runuser"):
        pytest.skip("needs Debian's postgresql and the rights of root, to start one as the user postgres")
    folder, port = Path(f"/tmp/affstore-postgresql-{os.getpid()}"), free_port()
    folder.mkdir()
    shutil.chown(folder, "postgres", "postgres")
    user = ["runuser", "-u", "postgres", "--"]
    try:
        subprocess.run([*user, programs[-1] / "initdb", "-D", folder, "-A", "trust"], capture_output=True, check=True)
        serve = [*user, str(programs[-1] / "postgres"), "-D", str(folder), "-p", str(port), "-k", str(folder)]
        with started(serve, tmp_path / "postgres.log"):
            wait_for(port)
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def environment(database, tmp_path):
    """What a worker and the command line need, beside a Prefect server on that database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    found = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    }
    serve = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with started(serve, tmp_path / "server.log", env=found):
        wait_for(port)
        yield found


def runs(url):
    """Every run of a deployment, with its state."""
    body = json.dumps({"sort": "EXPECTED_START_TIME_ASC"}).encode()
    request = urllib.request.Request(f"{url}/flow_runs/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_a_schedule_fires_its_run_completes_and_the_next_is_skipped_meanwhile(environment, tmp_path):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    write_corpus(tmp_path / "corpus", CorpusSpec(only=TAKES))
    (tmp_path / "run.yaml").write_text(
        json.dumps(
            {
                "store": "store",
                "sources": ["corpus"],
                "weights": "untrained",
                "engine": "openvino",
                "precision": "float32",
                "extractors": ["emotieffnet_b0"],
            }
        )
    )
    document = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))
    document["deployments"] = document["deployments"][:1]
    (reprocess,) = document["deployments"]
    reprocess["parameters"]["config"] = str(tmp_path / "run.yaml")
    reprocess["schedules"] = [{"interval": 30, "slug": "often"}]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(document))

    def prefect(*arguments):
        command = [*PREFECT, "--no-prompt", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    prefect("work-pool", "create", "affstore", "--type", "process")
    prefect("deploy", "--prefect-file", "prefect.yaml", "--all")
    serve = [*PREFECT, "worker", "start", "--pool", "affstore"]
    with ExitStack() as stack:
        stack.enter_context(started(serve, tmp_path / "worker.log", env=environment, cwd=tmp_path))
        ended = {"COMPLETED": 0, "CANCELLED": 0}
        while not all(ended.values()):
            time.sleep(2)
            scheduled = [run for run in runs(environment["PREFECT_API_URL"]) if run["deployment_id"]]
            ended = {kind: sum(run["state"]["type"] == kind for run in scheduled) for kind in ended}
            bad = [run["state"] for run in scheduled if run["state"]["type"] in ("FAILED", "CRASHED")]
            assert not bad, bad
    everything = runs(environment["PREFECT_API_URL"])
    print(json.dumps([[run["name"], run["state"]["name"], run["start_time"], run["end_time"]] for run in everything]))
    done = next(run for run in everything if run["deployment_id"] and run["state"]["type"] == "COMPLETED")
    skipped = next(run for run in everything if run["state"]["type"] == "CANCELLED")
    assert done["start_time"] < skipped["expected_start_time"] < done["end_time"]
    assert "Report: " in done["state"]["message"]
    assert {run["name"].partition(":")[0] for run in everything} >= {"pipeline", "ingest", "extract"}
    assert len(FeatureStore(str(tmp_path / "store")).addresses("source")) == len(TAKES)
