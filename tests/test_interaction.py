"""What makes commands short to type and quick to read: completion, a project's store, a status that fits a screen."""

from __future__ import annotations

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call, whole_app
from affstore.flows.config.run_config import read_config
from affstore.flows.report.figure_parts import as_png, axes_at, canvas, house_style
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
    assert call(["status", "--help"]) == 0
    assert call(["status", "--store", "elsewhere"]) == 4, "a command that names its store does not read the file"


def test_a_project_s_file_may_begin_with_a_mark_of_its_encoding_and_name_a_place_at_home(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("AFFSTORE_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "affstore.toml").write_text('store = "~/data"\n', encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    assert call(["status"]) == 4
    assert f"'{tmp_path / 'home' / 'data'}'" in capsys.readouterr().err


def test_paths_of_a_configuration_may_begin_at_home(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "lab.yaml").write_text("store: ~/store\nsources: [~/videos, clips]\ngroups: ~/groups.csv\n")
    config = read_config(tmp_path / "lab.yaml")
    home = tmp_path / "home"
    assert (config.store, config.groups) == (str(home / "store"), home / "groups.csv")
    assert config.sources == (str(home / "videos"), str(tmp_path / "clips"))
    (tmp_path / "none.yaml").write_text("store: ''\n")
    assert call(["plan", str(tmp_path / "none.yaml")]) == 2
    assert "The address of the store is empty" in capsys.readouterr().err


def test_a_class_whose_name_looks_like_a_formula_is_drawn_as_it_is_called():
    with house_style():
        figure = canvas(200, 100)
        axes_at(figure, 20, 20, 150, 60).set_title("$x_{$")
        assert as_png(figure)[1] == (200, 100)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell):
    script = whole_app().generate_completion(shell=shell)
    assert "analyze" in script
    assert "predict" in script
