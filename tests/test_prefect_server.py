"""deploy/ on a Prefect server: what compose sets up, what the page has one type, and whom a webhook tells of a run.

`pytest -m slow tests/test_prefect_server.py`. The server is Prefect's own on SQLite; see test_scheduled for PostgreSQL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.conftest import free_port, wait_for
from tests.test_limits import film
from tests.test_scheduled import PREFECT, started

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What the command line needs, beside a Prefect server."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    found = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "NO_PROXY": "127.0.0.1",
        "NOTIFY_URL": "",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    serve = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with started(serve, folder / "server.log", env=found, cwd=folder):
        wait_for(port)
        yield found


@pytest.fixture
def typed(environment, tmp_path):
    def typed(*command, cwd=tmp_path):
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return typed


@pytest.fixture
def asked(environment):
    """What the server's API answers to a filter of a kind of thing."""

    def asked(kind, **body):
        url = f"{environment['PREFECT_API_URL']}/{kind}/filter"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    return asked


@pytest.fixture
def hook():
    """The address of a webhook, and what it was sent."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/secret", received
    server.shutdown()
    server.server_close()


def test_what_compose_sets_up_are_three_deployments_of_its_own_configuration(typed, asked):
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    shell, option, script = compose["services"]["setup"]["command"]
    for _ in range(2):  # `docker compose up` runs it every time
        typed(shell, option, script.replace("$$", "$"), cwd=ROOT)
    found = {one["name"]: one for one in asked("deployments")}
    assert set(found) == {"reprocess", "add-videos", "audit"}
    assert {one["parameters"]["config"] for one in found.values()} == {"deploy/configs/compose.yaml"}
    assert found["add-videos"]["parameters"]["folder"] == "/data/affwild2/incoming"
    assert {one["work_pool_name"] for one in found.values()} == {"affstore"}
    assert all(one["schedules"] for one in found.values())


def deployed(typed, flow, name, **parameters):
    options = [word for key, value in parameters.items() for word in ("--param", f"{key}={json.dumps(value)}")]
    command = ["deploy", f"affstore.flows.deployment.{flow}", "--name", name, "--pool", "hooked", *options]
    typed(*PREFECT, "--no-prompt", *command)
    return typed(*PREFECT, "deployment", "run", f"{flow}/{name}")


def test_a_webhook_is_told_of_runs_that_failed_or_are_partial_and_of_no_others(
    environment, typed, asked, hook, tmp_path
):
    url, received = hook
    notify = [sys.executable, str(ROOT / "deploy" / "notify.py")]
    typed(*notify, "http://127.0.0.1:9/another")
    assert typed(*notify, url).startswith("changed: Failed")
    assert len(asked("automations")) == 1, "the second call made no second automation"
    film(tmp_path / "films" / "one.mp4", 5)
    run = f"store: {tmp_path / 'store'}\nsources: [{tmp_path / 'films'}]\nextractors: []\n"
    (tmp_path / "run.yaml").write_text(run)
    config = str(tmp_path / "run.yaml")
    worker = [*PREFECT, "worker", "start", "--pool", "hooked", "--type", "process"]
    with ExitStack() as stack:
        stack.enter_context(started(worker, tmp_path / "worker.log", env=environment, cwd=tmp_path))
        while not any(pool["name"] == "hooked" for pool in asked("work_pools")):
            time.sleep(0.5)
        # The worker has made the pool, and the page's next command is typed all the same.
        typed(*PREFECT, "work-pool", "create", "hooked", "--type", "process", "--overwrite")
        deployed(typed, "audit", "too-early", config=config)
        until_ended(asked, 1)
        deployed(typed, "reprocess", "short", config=config, max_hours=1e-7)
        ended = until_ended(asked, 2)
        assert {name: state["name"] for name, state in ended.items()} == {"too-early": "Failed", "short": "Partial"}
        deployed(typed, "reprocess", "whole", config=config)
        assert until_ended(asked, 3)["whole"]["name"] == "Completed"
        deployed(typed, "audit", "again", config=str(tmp_path / "nowhere.yaml"))
        until_ended(asked, 4)
        deadline = time.monotonic() + 120
        while len(received) < 3 and time.monotonic() < deadline:
            time.sleep(0.5)
    texts = sorted(one["text"] for one in received)
    print(json.dumps(texts, indent=1))
    assert [text.partition("\n")[0] for text in texts] == [
        "audit is Failed",
        "audit is Failed",
        "reprocess is Partial",
    ], "of the run between, which completed, nothing was told"
    for name in ("too-early", "short"):
        message = ended[name]["message"]
        assert any(message in text for text in texts)
    assert all("/runs/flow-run/" in text for text in texts)


def until_ended(asked, count):
    """The states of runs of deployments, by the deployment, once so many have ended."""
    names = {one["id"]: one["name"] for one in asked("deployments")}
    while True:
        runs = asked("flow_runs", flow_runs={"end_time": {"is_null_": False}, "deployment_id": {"any_": [*names]}})
        states = {names[run["deployment_id"]]: run["state"] for run in runs}
        assert "CRASHED" not in {state["type"] for state in states.values()}, states
        if len(states) >= count:
            return states
        time.sleep(1)
