"""What goes wrong around a run: signals, a server that is gone, a full disk, two commands at once.

The whole list takes many minutes (`pytest -m slow tests/test_faults.py`); an interrupted run and a killed server
are always run, in test_server.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.server import _process_state

pytestmark = pytest.mark.timeout(1200)
NETWORK = ("--weights", "untrained", "-e", "emotieffnet_b0", "--engine", "openvino", "--precision", "float32")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    folder = tmp_path_factory.mktemp("faults") / "corpus"
    write_corpus(folder, CorpusSpec(episode_s=0.5, only=("video58", "112")))
    return folder


class Command:
    """`affstore add` as a process of its own."""

    def __init__(self, store, *sources, log="first", **how):
        self.store, self._log = store, store.with_name(f"{store.name}.{log}.log")
        command = [
            sys.executable,
            "-m",
            "affstore.flows.cli",
            "add",
            *map(str, sources),
            "--store",
            str(store),
            *NETWORK,
            "--runner-option",
            "pages=always",
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
        how = {"env": environment} | how
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **how)

    @property
    def said(self):
        return self._log.read_text()

    def until(self, pattern, limit_s=600):
        """Wait until the command said what a pattern matches."""
        deadline = time.monotonic() + limit_s
        while not re.search(pattern, self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def server(self):
        """Its server's process, once its pages can be seen."""
        self.until("Prefect's pages")
        home = self.store.with_name(f"{self.store.name}.runs") / "prefect"
        return json.loads((home / "server.json").read_text())["pid"]

    def ended(self, limit_s=900):
        """The exit code; never with a traceback."""
        code = self.process.wait(limit_s)
        for word in ("Traceback", "Crash detected", "Error logging"):
            assert word not in self.said, self.said
        return code


def gone(pid, limit_s=60):
    deadline = time.monotonic() + limit_s
    while _process_state(pid) not in ("", "Z") and time.monotonic() < deadline:
        time.sleep(0.2)
    return _process_state(pid) in ("", "Z")


@slow
@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_a_run_with_its_exit_code_and_one_sentence_and_its_server_with_it(name, corpus, tmp_path):
    command = Command(tmp_path / "store", corpus)
    server = command.server()
    command.process.send_signal(getattr(signal, name))
    assert command.ended() == CODES[name]
    assert command.said.splitlines()[-1].startswith("affstore: Interrupted. What was finished is kept")
    assert gone(server)
    FeatureStore(str(tmp_path / "store")).records()


@slow
def test_the_server_of_a_command_that_was_killed_ends_by_itself(corpus, tmp_path):
    command = Command(tmp_path / "store", corpus)
    server = command.server()
    command.process.kill()
    assert gone(server)


@pytest.fixture(scope="module")
def undisturbed(corpus):
    """The content of a run that nobody disturbed."""
    command = Command(corpus.parent / "undisturbed", corpus)
    assert command.ended() == 0
    return content_digest(FeatureStore(str(corpus.parent / "undisturbed")))


@slow
@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_a_run_whose_server_is_gone_finishes_everything_and_says_so_once(fault, corpus, undisturbed, tmp_path):
    command = Command(tmp_path / "store", corpus)
    server = command.server()
    command.until("ingest +2/2")
    os.kill(server, getattr(signal, fault))
    command.until("extract +2/2")
    done = time.monotonic()
    assert command.ended() == 0
    assert time.monotonic() - done < 60
    assert command.said.count("The run goes on without its pages") == 1
    assert content_digest(FeatureStore(str(tmp_path / "store"))) == undisturbed


@slow
def test_two_commands_at_once_on_one_store_share_a_server_and_both_do_their_work(corpus, undisturbed, tmp_path):
    commands = [Command(tmp_path / "store", corpus)]
    commands[0].until("starting a Prefect server")
    commands.append(Command(tmp_path / "store", corpus, log="second"))
    assert [command.ended() for command in commands] == [0, 0]
    assert content_digest(FeatureStore(str(tmp_path / "store"))) == undisturbed


@slow
def test_a_run_with_nothing_to_do_starts_no_server_and_leaves_prefects_database_alone(corpus, undisturbed):
    database = corpus.parent / "undisturbed.runs" / "prefect" / "prefect.db"
    before = database.stat()
    command = Command(corpus.parent / "undisturbed", corpus)
    assert command.ended() == 0
    assert "Prefect" not in command.said
    after = database.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@slow
def test_a_file_size_limit_is_named_by_the_run(corpus, tmp_path):
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (200_000, 200_000))
    command = Command(tmp_path / "store", corpus, preexec_fn=limit)
    command.ended()
    assert "ulimit -f" in command.said


@slow
def test_a_full_disk_is_named_with_its_place(corpus, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    try:
        command = Command(small / "store", corpus)
        code = command.ended()
        assert code in (3, 4)
        assert "no room is left on the disk of" in command.said or "disk is full" in command.said, command.said
        assert str(small) in command.said
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@slow
def test_a_full_folder_for_scratch_files_costs_prefects_pages_at_most(corpus, undisturbed, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    try:
        (small / "full").write_bytes(b"x" * 4096)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
        command = Command(tmp_path / "store", corpus, env=environment | {"TMPDIR": str(small)})
        assert command.ended() == 0
        assert content_digest(FeatureStore(str(tmp_path / "store"))) == undisturbed
    finally:
        subprocess.run(["umount", "-l", small], check=True)
