"""The Prefect server of a run: who may ask it, who shares it, and what a run does without it."""

from __future__ import annotations

import contextvars
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from affstore import FeatureStore
from affstore.flows import server as servers
from affstore.flows import shared_server as served
from affstore.flows.cli import call
from affstore.flows.interrupts import Interrupted
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server, ServerError, prefect_server
from affstore.flows.watch import Watcher, using_watcher
from affstore.tasks.cancellation import reset_cancellation
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import WorkerContext
from tests.tasks_of_tests import double, note


class Listener(Watcher):
    """Keeps the notices of a run."""

    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def server(home):
    """A server of ours, as the first command of a folder has it."""
    patch = pytest.MonkeyPatch()
    patch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server(home) as found:
        found.wait()
        yield found
    patch.undo()


def asked(url, secret=None):
    request = servers._asking(url, secret) if secret else urllib.request.Request(url)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_answers_only_those_who_know_its_secret_which_only_its_user_can_read(server, home):
    url = f"{server.url}/admin/version"
    assert asked(url) == 401
    assert asked(url, "affstore:guessed") == 401
    assert asked(url, server.secret) == 200
    assert stat.S_IMODE((home / "server.json").stat().st_mode) == 0o600
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert server.secret.partition(":")[2] not in command


def test_a_second_command_shares_the_server_and_leaves_it_to_the_first(server, home):
    with servers.running_server(home) as second:
        second.wait()
        assert (second.url, second.secret, second.pid) == (server.url, server.secret, server.pid)
    assert asked(f"{server.url}/admin/version", server.secret) == 200


def stages(folder):
    """Two stages as the flows have them; Prefect is imported with them."""
    from affstore.flows.stage import performed, results, stage

    @stage("ingest")
    def ingest(context, numbers, before=lambda: None):
        before()
        found = dict(one for ended in results(double, {str(n): (n,) for n in numbers}) for one in ended)
        performed(note, folder / "noted", sum(found.values()))
        return [Outcome("ingest", name, "quarantined" if value == 4 else "done") for name, value in found.items()]

    @stage("pipeline")
    def pipeline(context, numbers, before=lambda: None):
        return [*ingest(context, numbers, before), *ingest(context, numbers)]

    return pipeline


THREADS = RunnerSpec.of(workers=2)


def carried_out(server, folder, runner=THREADS, numbers=(1, 2, 3), **how):
    from affstore.flows.stage import run_on

    reset_cancellation()
    with runner.start() as task_runner_in_use, run_on(server, task_runner_in_use):
        return stages(folder)(WorkerContext(str(folder / "my store"), "1a2b", folder), numbers, **how)


def flow_runs(name):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=name)))


def logged(flow_run, limit_s=30):
    """Lines of a flow run's log; they reach the server a moment later."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    deadline = time.monotonic() + limit_s
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run.id])))
            if found or time.monotonic() > deadline:
                return [line.message for line in found]
            time.sleep(0.2)


def test_prefect_shows_what_a_run_is_called_what_it_was_asked_and_what_was_quarantined(server, tmp_path):
    outcomes = carried_out(server, tmp_path)
    assert [outcome.status for outcome in outcomes].count("quarantined") == 2
    (run,) = flow_runs("pipeline: my store (1a2b)")
    assert (run.state.type, run.state.name) == ("COMPLETED", "Quarantined")
    assert "2 quarantined. ingest of '2'" in run.state.message
    assert run.parameters["arguments"]["numbers"] == [1, 2, 3]
    assert run.parameters["arguments"]["context"]["store_url"] == str(tmp_path / "my store")
    assert any("Quarantined" in line for line in logged(run))


def test_a_run_with_nothing_to_do_is_shown_without_its_workers(server, tmp_path, capsys):
    FeatureStore.create(str(tmp_path / "store"))
    config = tmp_path / "run.yaml"
    config.write_text("store: store\nextractors: []\nweights: untrained\nrunner: {kind: slurm, workers: 64}\n")
    assert call(["run", str(config)]) == 0
    assert "Prefect's pages of this run" in capsys.readouterr().err


def test_flows_send_heartbeats_only_to_a_server_that_the_user_names():
    from prefect.settings import get_current_settings

    def heartbeats(wanted):
        with servers.using_server("http://127.0.0.1:9/api", "", heartbeats=wanted):
            return get_current_settings().flows.heartbeat_frequency is not None

    assert [contextvars.Context().run(heartbeats, wanted) for wanted in (False, True)] == [False, True]


def interrupt(url, secret, folder):
    """Interrupt a run as Ctrl-C does, and print how it ended; run in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with servers.using_server(url, secret):
        try:
            carried_out(Server(url, secret), folder / "other store", before=lambda: signal.raise_signal(signal.SIGINT))
            code = 0
        except Interrupted as error:
            code = error.exit_code
        (run,) = flow_runs("pipeline: my store (1a2b)")[:1]
        states = sorted({(one.state.type, one.state.name) for one in flow_runs("%: my store (1a2b)")})
    print(json.dumps({"code": code, "states": states, "final": run.state.is_final()}))


def test_an_interrupted_run_is_shown_as_interrupted_and_not_as_crashed(server, tmp_path):
    found = json.loads(in_own_process(tmp_path, f"interrupt({server.url!r}, {server.secret!r}, folder)").stdout)
    assert found["code"] == 130
    assert ["CANCELLED", "Interrupted"] in found["states"]
    assert not {kind for kind, _ in found["states"]} & {"CRASHED", "RUNNING"}
    assert found["final"]


def test_a_signal_of_which_a_library_makes_another_error_interrupts_all_the_same(server, tmp_path):
    from prefect.exceptions import TerminationSignal
    from pydantic import BaseModel, model_serializer
    from pydantic_core import PydanticSerializationError

    def serialize():
        class Model(BaseModel):
            @model_serializer
            def fields(self):
                raise TerminationSignal(signal=signal.SIGTERM)

        Model().model_dump()

    with pytest.raises(PydanticSerializationError):
        serialize()
    with pytest.raises(Interrupted) as caught:
        carried_out(server, tmp_path / "third store", before=serialize)
    assert caught.value.exit_code == 143
    assert server.answers


def test_only_a_signal_is_an_interruption():
    assert Interrupted.behind(ValueError("a value")) is None
    assert Interrupted.behind(SystemExit(3)) is None
    assert Interrupted.behind(None) is None
    assert Interrupted.behind(KeyboardInterrupt()).exit_code == 130


def in_own_process(folder, call):
    """Call something of this module, where `folder` is given, as a command is run: in a process that did nothing else.

    After hundreds of tests with every library in one process, a signal has ended that silently.
    """
    body = f"from affstore.flows.environment import prepare\nprepare()\nfrom tests.test_server import *\n{call}"
    script = f"from pathlib import Path\nfolder = Path({str(folder)!r})\nif __name__ == '__main__':\n"
    (folder / "script.py").write_text(script + textwrap.indent(body, "    "))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
    path = f"{Path(__file__).parents[1]}:{environment.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, folder / "script.py"],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )


def test_an_error_of_a_stage_is_raised_as_it_is(server, tmp_path):
    def fail():
        raise ServerError("as it is")

    with pytest.raises(ServerError, match=r"^as it is$"):
        carried_out(server, tmp_path, before=fail)
    assert server.answers


def test_a_run_without_a_server_does_the_same(tmp_path):
    outcomes = carried_out(Server(""), tmp_path)
    assert [(one.subject, one.status) for one in sorted(outcomes, key=lambda one: one.subject)][:3] == [
        ("1", "done"),
        ("1", "done"),
        ("2", "quarantined"),
    ]
    assert (tmp_path / "noted").read_text() == "12"


def many_short_tasks(folder):
    """Carry out 302 tasks that do nothing, on a server of their own that is stopped at once."""
    with prefect_server(folder / "prefect") as server:
        server.wait()
        carried_out(server, folder, numbers=range(150))


def test_the_end_of_every_task_is_written_down_before_the_server_is_stopped(tmp_path):
    in_own_process(tmp_path, "many_short_tasks(folder)")
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        states = database.execute("SELECT state_name, COUNT(*) FROM task_run GROUP BY 1").fetchall()
    assert dict(states) == {"Completed": 302, "Quarantined": 2}  # with the two stages, which end as Quarantined


def strike(fault, folder, runner):
    """Strike the server of a run while it works; run in a process of its own, which leaves as the command does."""
    listener, begun = Listener(), []
    with using_watcher(listener), prefect_server(folder / "prefect") as server:
        server.wait()

        def now():
            os.kill(server.pid, fault)
            begun.append(time.monotonic())

        outcomes = carried_out(server, folder, RunnerSpec.of(runner, workers=2), before=now)
        took_s = time.monotonic() - begun[0]
    ended = servers._process_state(server.pid) in ("", "Z")
    print(json.dumps({"outcomes": len(outcomes), "notices": listener.notices, "took_s": took_s, "ended": ended}))
    sys.stdout.flush()
    os._exit(0)


@pytest.mark.parametrize(
    ("fault", "runner"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("SIGKILL", "threads"), ("SIGSTOP", "threads"), ("SIGKILL", "dask")]
        ),
    ],
)
def test_a_run_whose_server_is_killed_or_stopped_says_so_once_and_ends_soon(fault, runner, tmp_path):
    done = in_own_process(tmp_path, f"strike(signal.{fault}, folder, {runner!r})")
    found = json.loads(done.stdout)
    assert (found["outcomes"], len(found["notices"]), found["ended"]) == (6, 1, True)
    assert "The run goes on without its pages" in found["notices"][0]
    assert found["took_s"] < 90, "minutes were spent on waiting for a server that is gone"
    assert "Traceback" not in done.stderr


def test_a_server_that_cannot_be_started_is_a_notice_and_its_reason_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "prefect").write_text("a file where the folder should be")
    listener = Listener()
    with using_watcher(listener), prefect_server(tmp_path / "prefect") as server:
        assert not server.answers
    (said,) = listener.notices
    assert "File exists" in said
    assert "The run goes on without its pages" in said


def test_a_server_that_ends_while_it_starts_is_one_notice_with_its_log(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "broken.py").write_text("raise SystemExit('no')")
    monkeypatch.setattr(servers, "_PROGRAM", tmp_path / "broken.py")
    listener = Listener()
    with using_watcher(listener), prefect_server(tmp_path / "prefect") as server:
        server.wait()
        assert not server.answers
    (said,) = listener.notices
    assert "could not be started" in said
    assert str(tmp_path / "prefect" / "server.log") in said


def test_a_server_that_the_user_names_must_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ServerError, match="unset PREFECT_API_URL"), prefect_server(tmp_path):
        pass


def test_a_place_that_was_written_down_by_a_command_that_is_gone_is_not_believed(tmp_path):
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:9/api", "secret": "a:b", "pid": 2**22}))
    assert servers._running(tmp_path) is None


def test_a_process_that_is_no_server_is_not_taken_for_one_that_starts(tmp_path):
    place = {"url": "http://127.0.0.1:9/api", "secret": "a:b", "pid": os.getpid()}
    (tmp_path / "server.json").write_text(json.dumps(place))
    assert servers._running(tmp_path) is None


def test_prefects_database_is_trimmed_when_it_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "_DATABASE_BYTES", 10)
    (tmp_path / "prefect.db").write_bytes(b"x" * 10)
    served.trim(tmp_path)
    assert (tmp_path / "prefect.db").exists()
    (tmp_path / "prefect.db").write_bytes(b"x" * 11)
    served.trim(tmp_path)
    assert not (tmp_path / "prefect.db").exists()


def _filled(folder, template):
    """The tables of a new folder's database, and whether Prefect had to be imported for them."""
    folder.mkdir()
    program = (
        "import sys; from pathlib import Path; from affstore.flows import shared_server as served\n"
        "served.fill(Path(sys.argv[1]), Path(sys.argv[2])); print('prefect' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(folder), str(template)]
    environment = os.environ | {"PREFECT_HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    if not (folder / "prefect.db").exists():
        return None, done.stdout.strip()
    with closing(sqlite3.connect(folder / "prefect.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return tables, done.stdout.strip()


def test_the_tables_of_prefects_database_are_made_once_and_damage_to_what_was_kept_is_seen(tmp_path):
    template = tmp_path / "cache" / "prefect.db"
    tables, by_prefect = _filled(tmp_path / "first", template)
    assert "flow_run" in tables
    assert by_prefect == "True"
    assert _filled(tmp_path / "second", template) == (tables, "False")
    whole = template.read_bytes()
    for damaged in (b"no database" * 100, b"", whole[: len(whole) // 2]):
        template.write_bytes(damaged)
        assert not served._is_whole(template)


@pytest.mark.slow
def test_the_tables_of_prefects_database_are_made_again_where_what_was_kept_is_damaged(tmp_path):
    template = tmp_path / "cache" / "prefect.db"
    tables, _ = _filled(tmp_path / "first", template)
    whole = template.read_bytes()
    template.write_bytes(whole[: len(whole) // 2])
    assert _filled(tmp_path / "second", template) == (tables, "True")
    assert served._is_whole(template)


@pytest.mark.slow
def test_prefect_makes_its_tables_where_none_can_be_kept(tmp_path):
    (tmp_path / "cache").write_text("a file")
    tables, _ = _filled(tmp_path / "first", tmp_path / "cache" / "prefect.db")
    assert "flow_run" in tables


def test_what_ended_on_a_server_that_was_lost_is_not_waited_for_by_the_next_run(server, tmp_path, monkeypatch):
    from affstore.flows import prefect_stage

    waited = []
    monkeypatch.setattr(prefect_stage, "_wait_until_written", lambda *asked: waited.append(asked))
    prefect_stage._ended["a stage that a lost server showed"] = 99
    carried_out(server, tmp_path)
    assert waited == []
