"""The documentation site builds without a warning, offline, and its reference says what the code says."""

from __future__ import annotations

import csv
import html
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from affstore import FeatureStore
from affstore.flows.analysis import write_analysis
from affstore.flows.cli import whole_app
from affstore.flows.commands import COMMANDS
from affstore.flows.config.experiment_files import experiment_names
from affstore.flows.config.experiment_schema import ExperimentConfig
from affstore.flows.config.heads import HeadConfig
from affstore.flows.config.run_config import LabelFolderConfig, PublishConfig, RunConfig
from affstore.store.contract.records import Address
from affstore.tasks.analysis.frame_table import AnalysisNetworks
from tests.factories import commit, source
from tests.test_analyze import FRAMES, artifact, person, predicted, voice
from tests.test_documented_commands import leaves

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for package in ("material", "mkdocstrings_handlers"):
        pytest.importorskip(package, reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(ROOT / "mkdocs.yml")]
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_has_its_place_in_the_reference(site):
    page = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS.names() if f"affstore {name}" not in page] == []


def options_of_help(path: tuple[str, ...]) -> list[str]:
    """Every option that `--help` of a command shows, as it is typed."""
    page = io.StringIO()
    whole_app().help_print(list(path), console=Console(file=page, width=1000))
    _, _, panel = page.getvalue().partition("─ Parameters ─")
    names = [re.split(" {2,}(?!-)", row)[0] for row in re.findall(r"^│[ *]+(-.*)", panel, re.MULTILINE)]
    return [name for row in names for name in re.findall(r"(?<!\S)-{1,2}[a-z][\w-]*", row)]


def test_every_option_of_every_help_stands_in_the_reference_with_what_it_says(site):
    page = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    found = re.findall(r'<h\d id="affstore-([a-z-]+)">(.*?)(?=<h\d id=|\Z)', page, re.DOTALL)
    sections = dict(found)
    assert len(sections) == len(found) == len(list(leaves(whole_app())))
    for path, command in leaves(whole_app()):
        rows = re.findall(
            r"<tr>\n<td>((?:<code>-{1,2}[a-z].*?</code> ?)+)</td>(.*?)</tr>", sections["-".join(path)], re.DOTALL
        )
        written = [name for names, _ in rows for name in re.findall("<code>(.*?)</code>", names)]
        assert written == (options_of_help(path) if command.default_command else []), path
        assert [names for names, cells in rows if re.search(r"<td></td>\s*$", cells)] == [], path
    assert {"--engine", "--people", "--runner", "--store", "-s", "--share"} <= set(options_of_help(("add",)))


def test_the_reference_of_commands_has_no_remains_of_docstrings(site):
    page = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "-----" not in page
    assert "Parameters" not in page
    blocks = [html.unescape(re.sub("<[^>]+>", "", one)) for one in re.findall(r"<pre>.*?</pre>", page, re.DOTALL)]
    shown = [command for _, command in leaves(whole_app()) if "Example: " in (command.help or "")]
    assert len(blocks) == len(shown)
    assert [block for block in blocks if not re.fullmatch(r"\$ affstore [^\n]+\n?", block)] == []


def test_the_reference_of_python_has_what_is_exported(site):
    page = (site / "reference" / "api" / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("FeatureStore", "read_video", "FrameWindows", "WindowSpec"))


def test_every_column_of_every_table_of_an_analysis_is_described(site, tmp_path):
    always, mood = np.ones(FRAMES, bool), np.full((FRAMES, 2), 0.5, np.float32)
    feeling = {"embedding": np.ones((FRAMES, 2), np.float32), "affect": np.full((FRAMES, 3), 0.5, np.float32)}
    store = commit(
        FeatureStore.create(str(tmp_path / "store")),
        source("one", FRAMES),
        *person("one", "left", always),
        voice("one"),
        artifact(Address("audio", "feelings", "one"), {**feeling, "present": always}, vectors=50, complaint=None),
        predicted("one", "mine", "tension", ("calm", "tense"), np.zeros((FRAMES, 1), np.int8)),
        predicted("one", "units", "au", ("AU1", "AU12"), np.ones((FRAMES, 2), np.int8)),
        predicted("one", "scale", "mood", ("up", "down"), mood),
    )
    networks = AnalysisNetworks("faces", "faces", "voices", "feelings", heads=("mine", "units", "scale"))
    write_analysis(store, ["one"], networks, tmp_path / "out", [])
    page = (site / "reference" / "columns" / "index.html").read_text(encoding="utf-8")
    for table in ("videos/one.csv", "summary.csv", "episodes.csv"):
        with (tmp_path / "out" / table).open(encoding="utf-8") as file:
            columns = next(csv.reader(file))
        about = re.split(r"<h2", page)[1 + ("videos/one.csv", "summary.csv", "episodes.csv").index(table)]
        cells = re.findall(r"<tr>\n<td>(.*?)</td>\n<td>(.+?)</td>", about)
        names = [name for names, _ in cells for name in re.findall("<code>(.*?)</code>", names)]
        # The classes and label spaces above stand for anybody's.
        forms = [
            re.sub("NAME$", r"\\w+", re.sub("^AUn", r"AU\\d+", name)).replace("SPACE", "(tension|mood)")
            for name in names
        ]
        assert [name for name in columns if not any(re.fullmatch(form, name) for form in forms)] == [], table
        assert [name for name in names if re.fullmatch("[a-z0-9_]+", name) and name not in columns] == [], table
        assert len(set(names)) == len(names)


def test_every_field_of_a_configuration_is_described(site):
    page = (site / "reference" / "experiments" / "index.html").read_text(encoding="utf-8")
    written = set(re.findall(r"<tr>\n<td><code>(\w+)</code></td>\n<td>.*?</td>\n<td>.+?</td>", page))
    for config in (RunConfig, LabelFolderConfig, PublishConfig, ExperimentConfig, HeadConfig):
        assert set(config.model_fields) <= written, config


def test_the_readme_says_in_one_table_what_was_run_and_counts_the_experiments_that_there_are():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("> **What has been run, and what has not**\n>\n")
    table = rest.partition("\n\n")[0].splitlines()
    # A row without its mark of a quotation ends the table on GitHub, and what follows is a line of bars.
    assert [row for row in table if not (row.startswith("> |") and row.count("|") == 3)] == []
    assert "`affstore demo`" in table[-1]
    assert f"| the {len(experiment_names())} experiments" in "\n".join(table)


def test_no_page_fetches_anything_when_it_is_read(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" href="http' not in text, page
    assert (site / "llms.txt").is_file()
