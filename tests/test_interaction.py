"""What makes commands short to type and quick to read: completion, a project's store, a status that fits a screen."""

from __future__ import annotations

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call, whole_app
from tests.factories import commit, source


@pytest.fixture
def large(tmp_path) -> str:
    """A store of many videos, one of them with a complaint."""
    url = str(tmp_path / "project" / "data")
    videos = [source(f"v{number:04}", 4) for number in range(60)]
    odd = source("zzz", 4, complaint="Its frames 2 to 3 are missing.")
    commit(FeatureStore.create(url), *videos, odd)
    return url


def test_the_status_of_many_videos_fits_a_screen_and_begins_with_what_to_know(large, capsys):
    assert call(["status", "--store", large]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40
    assert any("zzz" in line and "missing" in line for line in lines)
    assert any(line.startswith("and 41 more videos") for line in lines)


def test_a_project_s_file_names_the_store_for_all_folders_below(large, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("AFFSTORE_STORE", raising=False)
    below = tmp_path / "project" / "notes" / "today"
    below.mkdir(parents=True)
    (tmp_path / "project" / "affstore.toml").write_text('store = "data"\n')
    monkeypatch.chdir(below)
    assert call(["show", "zzz"]) == 0
    assert "zzz" in capsys.readouterr().out
    monkeypatch.setenv("AFFSTORE_STORE", "elsewhere")
    assert call(["show", "zzz"]) == 4
    assert "elsewhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stor = 'x'", "mean 'store'"),
        ("store = 3", "should say `store ="),
        ("store =", "cannot be read"),
        ("store = 'é'", "line 1 is no UTF-8 text"),
    ],
)
def test_a_project_s_file_that_says_something_else_is_refused(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.delenv("AFFSTORE_STORE", raising=False)
    (tmp_path / "affstore.toml").write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    assert call(["status"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell):
    script = whole_app().generate_completion(shell=shell)
    assert "analyze" in script
    assert "predict" in script
