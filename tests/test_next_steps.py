"""What a command says to type next is typed here, and works."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import replace

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.commands.next_steps import again
from affstore.flows.limits import RunLimits
from affstore.tasks.lineage.run_note import begun_by
from tests.factories import commit, source
from tests.test_heads_on_imported_features import LABELLED, film, tense, write_config, write_gaze
from tests.test_limits import NETWORK
from tests.test_limits import film as write_film


def said(capsys, *words):
    """A command's exit code, and the commands that its last lines name."""
    capsys.readouterr()
    code = call([*map(str, words)])
    lines = capsys.readouterr().out.splitlines()
    steps = [line.removeprefix("next ").strip() for line in lines if line.startswith("next ")]
    assert [line.startswith("next ") for line in lines[-len(steps) :]] == [True] * len(steps)
    return code, [shlex.split(one)[1:] for one in steps]


def test_after_features_were_imported_they_can_be_looked_at(tmp_path, capsys):
    url = commit(FeatureStore.create(str(tmp_path / "a store")), source("talk", 40)).url
    np.save(tmp_path / "talk.npy", np.ones((40, 3)))
    code, steps = said(capsys, "import", tmp_path / "talk.npy", "--name", "gaze", "--store", url)
    assert (code, len(steps)) == (0, 1)
    assert call(steps[0]) == 0
    assert "imported" in capsys.readouterr().out
    assert call(["import", str(tmp_path / "talk.npy"), "--name", "gaze", "--store", url, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_the_usual_store_need_not_be_typed_again(tmp_path, monkeypatch, capsys):
    url = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 40)).url
    monkeypatch.setenv("AFFSTORE_STORE", url)
    np.save(tmp_path / "talk.npy", np.ones((40, 3)))
    _, steps = said(capsys, "import", tmp_path / "talk.npy", "--name", "gaze")
    assert steps == [["show", "visual/imported%2Fgaze/talk/main"]]
    assert call(steps[0]) == 0


def test_a_command_that_goes_on_is_said_as_it_was_typed_but_for_a_time_that_is_over():
    with begun_by(["add", "my films/", "--deadline", "2026-01-01", "--store", "x", "--deadline=2026-01-01"]):
        assert again() == ["affstore add 'my films/' --store x"]
    assert again() == []


@pytest.mark.slow
def test_after_videos_were_taken_in_the_next_steps_fit_what_happened(server, tmp_path, monkeypatch, capsys):
    videos, url = tmp_path / "videos", str(tmp_path / "store")
    write_film(videos / "good.mp4", 5)
    command = ["add", videos, "--store", url, *NETWORK]
    made = RunLimits.of
    monkeypatch.setattr(RunLimits, "of", lambda *limits: replace(made(*limits), ends_at=time.time()))
    code, steps = said(capsys, *command, "--max-hours", "1")
    assert (code, steps[0]) == (3, [*map(str, command), "--max-hours", "1"])
    monkeypatch.undo()
    (videos / "bad.mp4").write_bytes(b"no video")
    code, steps = said(capsys, *command)
    assert (code, steps) == (3, [["quarantine", "list", "--store", url], ["status", "--store", url]])
    for step in steps:
        assert call(step) == 0
        assert "bad.mp4" in capsys.readouterr().out
    (videos / "bad.mp4").unlink()
    code, steps = said(capsys, *command)
    assert (code, steps[1]) == (0, ["analyze", str(videos), "--pull", "--store", url])
    assert call([*steps[1], "--dry-run"]) == 0


@pytest.mark.slow
def test_after_a_run_its_experiment_is_applied_and_its_numbers_are_followed_back(server, tmp_path, capsys):
    rows = [f"{one},{n},{'tense' if at else 'calm'},{one[:-2]}" for one in LABELLED for n, at in enumerate(tense(one))]
    (tmp_path / "labels.csv").write_text("\n".join(["video,frame,label,participant", *rows]) + "\n")
    url = commit(FeatureStore.create(str(tmp_path / "store")), *map(film, (*LABELLED, "cleo_2"))).url
    tables = [str(write_gaze(tmp_path / "gaze", video)) for video in (*LABELLED, "cleo_2")]
    assert call(["import", *tables, "--name", "gaze", "--store", url]) == 0
    code, steps = said(capsys, "run", write_config(tmp_path))
    assert (code, steps) == (0, [["predict", "by-gaze", "VIDEO", "--store", url]])
    code, steps = said(capsys, *["cleo_2" if word == "VIDEO" else word for word in steps[0]])
    assert (code, steps[0][-2:]) == (0, ["--out", "tables"])
    tables_folder = tmp_path / "tables"
    code, steps = said(capsys, *steps[0][:-1], tables_folder)
    assert (code, steps) == (0, [["trace", f"{tables_folder}/cleo_2.csv:2", "--store", url]])
    assert call(steps[0]) == 0
    assert "prediction/by-gaze" in capsys.readouterr().out
