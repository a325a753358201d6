"""Plugins through the command line: `examples/plugin` is installed as a distribution, and broken ones beside it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from affstore.models.demo.corpus import CorpusSpec, write_corpus

pytestmark = pytest.mark.timeout(1800)

PLUGIN = Path(__file__).resolve().parents[1] / "examples" / "plugin"

CALLS = """
import contextlib, io, json, sys
from affstore.flows.cli import call
from affstore.flows.environment import prepare

prepare()
ended = []
for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = call(arguments)
    ended.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
sys.stdout.flush()
import os
os._exit(0)
"""


RUN = """
store: store
sources: [corpus]
extractors: [small_face]
weights: untrained
engine: torch
precision: float32
label_spaces:
  mood: {kind: classes, names: [calm, tense]}
labels: [{folder: subtitles, format: subtitles, space: mood, split: train}]
experiments: [{name: ridge, task: expr, head: ridge, inputs: [small_face], changes: {alpha: 2.0}}]
"""


class Shell:
    """A machine on which distributions are installed, and where commands are typed."""

    def __init__(self, site: Path) -> None:
        self.site = site

    def type(self, *commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
        """Run commands one after the other: what each ended with, and what it printed."""
        paths = os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])])
        given = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CALLS],
            input=given,
            env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]

    def install(self, distribution: str, group: str, code: str, **entries: str) -> None:
        """Install a distribution of one module with entry points in a group."""
        module = distribution.replace("-", "_")
        self.site.mkdir(exist_ok=True)
        (self.site / f"{module}.py").write_text(textwrap.dedent(code))
        info = self.site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {module}:{thing}\n" for name, thing in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Shell:
    """The example, installed by pip as its users would."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(folder / "source")], check=True)
    return Shell(folder / "site")


@pytest.fixture(scope="module")
def ended(plugin, server, tmp_path_factory):
    """What the example's kinds do in one session of commands, by the command's first words."""
    folder = tmp_path_factory.mktemp("session")
    write_corpus(folder / "corpus", CorpusSpec(only=("video2", "12-24-320x240"), episode_s=0.5))
    (folder / "subtitles").mkdir()
    (folder / "subtitles" / "video2.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\ncalm\n", encoding="utf-8")
    (folder / "run.yaml").write_text(RUN, encoding="utf-8")
    store, untrained = folder / "store", ("--weights", "untrained", "--engine", "torch", "--precision", "float32")
    jobs = ("--runner", "local-jobs", "--runner-option", f"spool={folder / 'spool'}", "--json")
    commands = {
        "add": ("add", folder / "corpus" / "videos" / "video2.avi", "-e", "small_face", "-s", store, *untrained, *jobs),
        "run": ("run", folder / "run.yaml", "--json"),
        "list": ("list", "runners", "--json"),
        "show": ("show", "label/mood/video2/main", "-s", store, "--json"),
        "export": ("export", folder / "tables", "-s", store, "--to", "csv", "--family", "visual", "--json"),
        "coverage": ("coverage", "-s", store, "--json"),
        "help": ("--help",),
        "option": ("add", "x", "--runner", "local-jobs", "--runner-option", "spol=x"),
    }
    return dict(zip(commands, plugin.type(*commands.values()), strict=True))


@pytest.mark.slow
def test_a_plugin_s_runner_is_listed_with_the_distribution_that_brought_it(ended):
    listed = {one["name"]: one for one in json.loads(ended["list"][1])}
    assert listed["local-jobs"]["origin"] == "affstore-example 0.1.0"
    assert listed["threads"]["origin"] == "affstore"


@pytest.mark.slow
def test_a_plugin_s_runner_runs_the_pipeline_in_processes_of_its_own(ended):
    code, out, err = ended["add"]
    assert code == 0, err
    assert {one["stage"]: one["status"] for one in json.loads(out)["outcomes"]} == {"ingest": "done", "extract": "done"}
    code, out, err = ended["run"]
    assert code == 0, err
    known = [
        one["status"] for one in json.loads(out)["outcomes"] if one["what"] == "video2" and one["stage"] == "extract"
    ]
    assert known == ["cached"], "threads find the same keys"


@pytest.mark.slow
def test_a_plugin_s_label_format_is_read_into_a_space_of_one_s_own(ended):
    code, out, err = ended["show"]
    assert code == 0, err
    assert json.loads(out)["arrays"]["value"].startswith("int8")


@pytest.mark.slow
def test_a_plugin_s_head_is_fitted_and_scored_in_an_experiment(ended):
    (row,) = json.loads(ended["run"][1])["experiments"]
    assert row["status"] == "done"
    assert 0 < row["results"][0]["value"] <= 1


@pytest.mark.slow
def test_an_option_that_a_plugin_s_runner_does_not_know_is_refused_with_the_nearest(ended):
    assert ended["option"][0] == 2
    assert "No option of the runner 'local-jobs' is called 'spol'. Did you mean 'spool'?" in ended["option"][2]


@pytest.mark.slow
def test_a_plugin_s_exporter_writes_a_row_a_frame(ended):
    code, out, err = ended["export"]
    assert code == 0, err
    file = json.loads(out)["written"][-1]
    rows = list(csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    assert len(rows) > 5
    assert sum(name.startswith("embedding_") for name in rows[0]) == 32


@pytest.mark.slow
def test_a_plugin_s_command_is_in_the_help_and_works(ended):
    assert "coverage" in ended["help"][1]
    code, out, err = ended["coverage"]
    assert code == 0, err
    assert json.loads(out)[0]["share"] > 0.5


RUNNER = """
from affstore.flows.runners.base import RUNNERS, RunnerKind, RunnerOptions


class Kind(RunnerKind):
    {contract}
    name = description = "mine"
    Options = RunnerOptions

    def parallelism(self, options):
        raise NotImplementedError

    def start(self, options):
        raise NotImplementedError


RUNNER = Kind()
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Shell:
    """Distributions that cannot be used, each in its own way."""
    shell = Shell(tmp_path_factory.mktemp("broken") / "site")
    shell.install("raises", "affstore.commands", "import nothing_of_that_name", sing="COMMAND")
    shell.install("raises-too", "affstore.runners", "raise RuntimeError('no licence')", licensed="RUNNER")
    shell.install("old", "affstore.runners", RUNNER.format(contract="contract = 0"), old="RUNNER")
    shell.install("silent", "affstore.runners", RUNNER.format(contract="pass"), silent="RUNNER")
    shell.install("a-class", "affstore.runners", RUNNER.format(contract="contract = 1"), a_class="Kind")
    for name in ("first", "second"):
        shell.install(name, "affstore.runners", RUNNER.format(contract="contract = 1"), twice="RUNNER")
    return shell


def test_plugins_that_cannot_be_used_are_named_with_their_reason_and_the_rest_works(broken):
    listed, sang, help_, twice, threads = broken.type(
        ("list", "runners"),
        ("sing",),
        ("--help",),
        ("add", "x", "--runner", "twice"),
        ("list", "runners", "--json"),
    )
    assert listed[0] == 0
    for sentence in (
        "'licensed' of raises-too 1.0 cannot be used: it raised RuntimeError when it was imported: no licence.",
        "'old' of old 1.0 cannot be used: it follows contract 0; this affstore has contract 1 for runners.",
        "'silent' of silent 1.0 cannot be used: it does not say which contract it follows",
        "'a-class' of a-class 1.0 cannot be used: it is the class Kind, not an object of affstore.flows.runners.base",
        "Two runners are called 'twice': one of first 1.0 and one of second 1.0.",
    ):
        assert sentence in listed[1] + listed[2]
    assert sang[0] == 2
    assert "'sing' of raises 1.0 cannot be used: it raised ModuleNotFoundError" in sang[2]
    assert help_[0] == 0
    assert "sing" not in help_[1].split()
    assert twice[0] == 2
    assert "Rename one, or uninstall the package that brings it." in twice[2]
    assert {one["name"] for one in json.loads(threads[1]) if not one["problem"]} >= {"dask", "threads"}


@pytest.mark.slow
def test_doctor_names_each_plugin_that_cannot_be_used(broken):
    ((code, said, _),) = broken.type(("doctor", "--json"))
    assert len([one for one in json.loads(said) if one["check"] == "plugins"]) == 6
    assert code == 1


@pytest.mark.slow
def test_the_example_s_own_tests_pass(plugin):
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    paths = os.pathsep.join([str(plugin.site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        tests, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False, cwd=plugin.site
    )
    assert done.returncode == 0, done.stdout[-3000:]
