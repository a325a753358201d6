"""What a person is told of a store's runs: when, by which command, what they wrote and reused, and how they ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.errors import StoreError
from affstore.tasks.lineage.run_index import runs_of
from affstore.tasks.lineage.run_note import NAME, begun_by, noted, read_note
from affstore.tasks.lineage.run_record import run_record, write_run_record
from tests.factories import CODE, commit, source, visual


def test_a_run_that_ends_well_or_in_part_says_how_long_it_took_and_by_which_command(tmp_path):
    with begun_by(["add", "my videos", "-e", "enet"]), noted(tmp_path / "r1", "r1"):
        assert read_note(tmp_path / "r1").state == "running"
    with noted(tmp_path / "r2", "r2") as ending:
        ending.exit_code = 3
    whole, part = (read_note(tmp_path / name) for name in ("r1", "r2"))
    assert (whole.state, whole.exit_code, whole.command) == ("done", 0, "affstore add 'my videos' -e enet")
    assert (part.state, part.exit_code, part.command) == ("done in part", 3, "")
    assert 0 <= whole.seconds < 60
    assert [path.name for path in (tmp_path / "r1").iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("error", "state", "code", "reason"),
    [
        (StoreError("The disk is full."), "failed", 4, "The disk is full."),
        (ZeroDivisionError(), "failed", 1, "ZeroDivisionError"),
        (KeyboardInterrupt(), "interrupted", 130, ""),
    ],
)
def test_a_run_that_is_ended_by_an_error_says_which(tmp_path, error, state, code, reason):
    with pytest.raises(type(error)), noted(tmp_path / "r", "r"):
        raise error
    note = read_note(tmp_path / "r")
    assert (note.state, note.exit_code, note.reason) == (state, code, reason)


_WAITING = """
import sys, pathlib
from affstore.tasks.lineage.run_note import noted
with noted(pathlib.Path(sys.argv[1]), "r"):
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_is_told_from_one_that_is_still_running(tmp_path):
    command = [sys.executable, "-c", _WAITING, str(tmp_path / "r")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        assert read_note(tmp_path / "r").state == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
    note = read_note(tmp_path / "r")
    assert (note.state, note.seconds, note.exit_code) == ("killed", None, None)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_note_that_is_damaged_is_no_note(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    assert read_note(tmp_path) is None
    (tmp_path / NAME).write_text('{"seconds": "many", "state": "done", "began": 3}')
    note = read_note(tmp_path)
    assert (note.run_id, note.seconds, note.state, note.began) == (tmp_path.name, None, "done", "")


def test_a_folder_that_cannot_be_made_stops_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    with noted(tmp_path / "file" / "r", "r") as ending:
        ending.exit_code = 0
    assert read_note(tmp_path / "file" / "r") is None


def committed_by(run_id, store, *artifacts):
    """Commit as a run does, whose id is in the commit, too."""
    draft = store.newest().draft(CODE, run_id)
    for artifact in artifacts:
        draft.put(artifact)
    store.commit([draft], "test", {"run_id": run_id})
    return store.newest()


def test_runs_with_and_without_notes_records_and_commits_are_listed_the_last_first(tmp_path):
    runs = tmp_path / "runs"
    store = committed_by("r1", FeatureStore.create("memory:index"), source("a"), visual("a"))
    store = committed_by("r2", store, source("b"))
    store = committed_by("r2", store, visual("b"))
    (runs / "prefect").mkdir(parents=True)
    with begun_by(["run", "mine.yaml"]), noted(runs / "r9", "r9"):
        write_run_record(run_record(store, "r9", {"toy"}), runs / "r9")
    entries = {one.note.run_id: one for one in runs_of(store, runs)}
    assert set(entries) == {"r9", "r1", "r2"}
    assert entries["r9"].written == {}
    assert entries["r9"].reused == {"source": 2, "visual": 2}
    for run in ("r1", "r2"):
        assert entries[run].written == {"source": 1, "visual": 1}
        assert (entries[run].reused, entries[run].note.state) == (None, "unknown")
    began = [one.note.began for one in entries.values()]
    assert all(began)
    assert began == sorted(began, reverse=True)
    assert [one.note.run_id for one in runs_of(store, runs, 1)] == list(entries)[:1]


def test_of_an_earlier_state_runs_are_listed_as_they_were_then(tmp_path):
    runs = tmp_path / "runs"
    first = committed_by("r1", FeatureStore.create("memory:earlier"), source("a"))
    store = committed_by("r1", first, visual("a"))
    write_run_record(run_record(store, "r1", {"toy"}), runs / "r1")
    store = committed_by("r2", store, source("b"))
    write_run_record(run_record(store, "r2", {"toy"}), runs / "r2")
    (only,) = runs_of(store.state(first.snapshot), runs)
    assert (only.note.run_id, only.written, only.reused) == ("r1", {"source": 1}, None)
    both = {one.note.run_id: one.written for one in runs_of(store.state(store.snapshot), runs)}
    assert both == {"r1": {"source": 1, "visual": 1}, "r2": {"source": 1}}


def test_log_tells_runs_a_line_each(tmp_path, capsys):
    url = str(tmp_path / "store")
    committed_by("earlier", FeatureStore.create(url), source("a"), visual("a"))
    with begun_by(["add", "videos"]), noted(tmp_path / "store.runs" / "later", "later") as ending:
        ending.exit_code = 3
    assert call(["log", "--runs", "--json", "--store", url]) == 0
    last, first = sorted(json.loads(capsys.readouterr().out), key=lambda one: one["run_id"], reverse=True)
    assert (last["command"], last["state"], last["exit_code"]) == ("affstore add videos", "done in part", 3)
    assert (first["run_id"], first["state"], first["command"]) == ("earlier", "unknown", None)
    assert first["written"] == {"source": 1, "visual": 1}
    assert call(["log", "--runs", "--store", url]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["began", "took", "ended", "wrote", "reused", "command", "run"]
    assert any("done in part" in line and "affstore add videos" in line for line in lines)
    assert any("1 video, 1 visual embedding" in line for line in lines)
    assert call(["log", "--runs", "-n", "1", "--store", url]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert call(["log", "--runs", "--videos", "--store", url]) == 2
    assert "Leave out one of --runs and --videos" in capsys.readouterr().err


def test_a_note_whose_command_names_a_forgotten_video_goes_with_its_run(tmp_path):
    from affstore.tasks.lineage.erasure import plan_erasure
    from affstore.tasks.lineage.forgetting import forget

    url, runs = str(tmp_path / "store"), tmp_path / "store.runs"
    store = commit(FeatureStore.create(url), source("interview_anna"), source("other"))
    for run, video in (("r1", "interview_anna"), ("r2", "other")):
        with begun_by(["add", f"videos/{video}.mp4"]), noted(runs / run, run):
            pass
    forget(store, plan_erasure(store, ["interview_anna"]), runs)
    assert [path.name for path in Path(runs).iterdir()] == ["r2"]
