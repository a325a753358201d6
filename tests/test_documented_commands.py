"""Every command that README and the commands' help show is run as it stands there, on small data, in one folder.

The commands that take minutes even on small data are run with `--dry-run`, and whole in the slow suite; `analyze` and
README's configuration in test_documented_runs.py. Of those that need the network or published weights the documented
offline form is run: see `OFFLINE`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affstore import FeatureStore
from affstore.flows.cli import call, whole_app
from affstore.flows.commands.demo import CONFIGURATION as DEMO_RUN
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.extractors.face.emotieffnet import B0 as EFFICIENTNET_B0
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.weights import architectures
from affstore.models.weights.untrained import draw
from affstore.store.contract.labels import task_space
from affstore.store.contract.records import Artifact
from affstore.store.engine.generations import begin, drop, generations
from affstore.tasks.lineage.head_files import write_head
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.specs import HeadRun, Input, WorkerContext
from affstore.tasks.training.train import train
from affstore.testing.artifacts import commit, source
from tests.test_signature import write_keys

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "adr" not in path.parts
}
FIRST_HOUR = PAGES.pop("docs/first_hour.md")
"""It goes from step to step on data of its own; see test_first_hour.py."""
OTHER_FEATURES = PAGES.pop("docs/howto/other_features.md")
"""So does this one; see test_heads_on_imported_features.py."""
GENERATIONS = PAGES.pop("docs/howto/generations.md")
"""And this one; see test_generation_runs.py."""

UNTRAINED = ("--weights", "untrained", "--engine", "openvino", "--precision", "float32")
"""The documented way to run networks without the published weights; the engine is named, as choosing takes a minute."""

OFFLINE = {
    "add": UNTRAINED,
    "experiment": UNTRAINED,
    "quarantine retry": UNTRAINED,
    "weights pull": ("--dry-run",),
    "analyze": ("--dry-run",),
    "weights import": ("--any-digest",),
}
"""What is added to a command that would need the network or what comes from it."""

SLOW = ("demo", "experiment", "run")
"""Commands that take minutes on the smallest corpus."""

CODES = {"plan": (0, 10), "add": (0, 3), "quarantine retry": (0, 3), "demo": (0, 3), "experiment": (0, 3)}
"""Exit codes that are all well, where there are others than 0; small data are not enough for every head."""


def blocks(language: str, *texts: str) -> list[str]:
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def leaves(of, path: tuple[str, ...] = ()):
    """Every command and subcommand, with its help."""
    for name in of:
        if not name.startswith("-"):
            yield (*path, name), of[name]
            yield from leaves(of[name], (*path, name))


def examples() -> list[str]:
    found = []
    for _, command in leaves(whole_app()):
        text = " ".join((command.help or "").split())
        found += re.findall(r"Example: (affstore .*?)(?= Parameters -|$)", text)
    return found


LINES = [
    line[2:].split("  #")[0].strip()
    for block in blocks("console", README, *PAGES.values())
    for line in block.splitlines()
    if line[:2] == "$ "
]
WRITTEN = [part.strip() for line in (*LINES, *examples()) for part in line.split("||")]
COMMANDS = list(dict.fromkeys(line.removeprefix("affstore ") for line in WRITTEN if line.startswith("affstore ")))
OTHERS = list(dict.fromkeys(line for line in WRITTEN if not line.startswith("affstore ")))


def kind_of(command: str) -> str:
    """The command or subcommand that a line calls."""
    words = command.split()
    two = tuple(words[:2])
    return " ".join(two) if two in {path for path, _ in leaves(whole_app())} else words[0]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder that holds what the commands name: videos (one broken), labels, crops, pages, weights."""
    folder = tmp_path_factory.mktemp("stranger")
    write_corpus(folder / "my_videos", CorpusSpec(only=("video2", "12-24-320x240"), episode_s=0.5))
    shutil.move(folder / "my_videos" / "annotations", folder / "annotations")
    shutil.copytree(folder / "my_videos", folder / "affwild2")
    shutil.copytree(folder / "annotations", folder / "affwild2" / "annotations")
    (folder / "my_videos" / "broken.mp4").write_bytes(b"no video" * 100)
    (folder / "my_labels").mkdir()
    (folder / "my_labels" / "video2.csv").write_text("start,end,label\n0,1,Happiness\n", encoding="utf-8")
    (folder / "my_analysis").mkdir()
    (folder / "my_analysis" / "index.html").write_text("<title>An analysis</title>", encoding="utf-8")
    for name in ("my_crops", "affwild2_cropped"):
        for picture in range(1, 4):
            path = folder / name / "video2" / f"{picture:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((112, 112, 3), 40 * picture, np.uint8))
    configuration = folder / "deploy" / "configs" / "affwild2.yaml"
    configuration.parent.mkdir(parents=True)
    written = (ROOT / "deploy" / "configs" / "affwild2.yaml").read_text(encoding="utf-8")
    sources = re.compile(r"^sources:\n(?:  - .*\n)*", re.MULTILINE)
    assert sources.search(written)
    small = sources.sub("sources: [/data/affwild2]\nweights: untrained\n", written)
    configuration.write_text(small.replace("/data/affwild2", str(folder / "affwild2")), encoding="utf-8")
    weights = folder / "Downloads" / "enet_b0_8_best_vgaf.pt"
    weights.parent.mkdir()
    network = architectures.build(EFFICIENTNET_B0, 8)
    network.load_state_dict(draw(architectures.layout(EFFICIENTNET_B0, 8), seed=3), assign=True)
    network.classifier = torch.nn.Sequential(network.classifier)
    torch.save(network, weights)
    return folder


@pytest.fixture
def typed(here, monkeypatch, capsys):
    """Runs a command in the folder as if it were typed there; returns what it printed."""
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))

    def typed(command: str, *more: str) -> str:
        kind = kind_of(command)
        typed = [word.replace("~", str(here)) for word in shlex.split(command)]
        words = [found for word in typed for found in sorted(glob(word)) or [word]]
        needs_one = kind in ("generation promote", "generation drop")
        with open_generation(here, words[2]) if needs_one else nullcontext():
            code = call([*words, *(word for word in OFFLINE.get(kind, ()) if word not in words), *more])
        said = capsys.readouterr()
        assert code in CODES.get(kind, (0,)), said.err
        return said.out

    return typed


@contextmanager
def open_generation(here: Path, name: str) -> Iterator[None]:
    """A generation of the store that holds a video of its own."""
    store = FeatureStore(str(here / "affstore-data"))
    commit(begin(store, name), source("of-the-generation"))
    yield
    if name in {one.name for one in generations(store)}:
        drop(store, name)


def with_head(store):
    """The head `expr-mlp`: it learns nothing, so that it takes no time."""
    head = HeadRun("expr-mlp", (Input("emotieffnet_b0", "logits"),), PretrainedSpec("expr-mlp", "expr"))
    fitted = train(WorkerContext(store.url, "run", Path("weights")), head)
    assert fitted.draft is not None, fitted.reason
    store.commit([fitted.draft], "a head")
    return FeatureStore(store.url)


def with_prediction(store):
    """A prediction of the demo's experiment for one face, which `add` alone does not make."""
    (face,) = store.records("visual", video="video2")
    frames, names = face.attributes["frames"], task_space("expr").names
    raw = np.full((frames, len(names)), 1 / len(names), np.float32)
    arrays = {
        "raw": raw,
        "smoothed": raw,
        "prediction": np.zeros((frames, 1), np.int8),
        "present": np.ones(frames, bool),
    }
    address = replace(face.address, family="prediction", producer="expr-mlp")
    known = {"frames": frames, "task": "expr", "labels": list(names)}
    return commit(store, Artifact(address, {"of": face.key}, arrays, known, (face.as_parent(),)))


@pytest.fixture(scope="module", autouse=True)
def own_weights(tmp_path_factory, weights_folder):
    """Weights records of its own: commands that are shown import some, which other tests know to be missing.

    Parameters and converted networks, whose names are their digests, are the session's.
    """
    folder = tmp_path_factory.mktemp("weights")
    for part in ("parameters", "converted"):
        (weights_folder / part).mkdir(exist_ok=True)
        (folder / part).symlink_to(weights_folder / part)
    (folder / "records").mkdir()
    for record in weights_folder.glob("records/*.untrained-*.json"):
        shutil.copy(record, folder / "records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFSTORE_WEIGHTS", str(folder))
        yield


@pytest.fixture(scope="module", autouse=True)
def store(here, own_weights, server):
    """What README's first `add` makes, also under the name of the demo's store, and a configuration beside it."""
    adds = [command for command in COMMANDS if command.startswith("add my_videos/")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert call([*shlex.split(adds[0]), *UNTRAINED]) == 3  # one of its files is broken
        assert call(["add", "annotations", *UNTRAINED]) in (0, 3)  # some are of videos that are not here
    (here / "affstore-demo").mkdir()
    (here / "affstore-demo" / "store").symlink_to(here / "affstore-data")
    run = DEMO_RUN.replace("weights:", "engine: openvino\nprecision: float32\nweights:")
    (here / "affstore-demo" / "demo.yaml").write_text(run.replace("corpus", str(here / "affwild2")), encoding="utf-8")
    published = here / "affstore-demo" / "published" / "published-1"
    published.mkdir(parents=True)
    header = ",".join(("image_location", *task_space("expr").names))
    (published / "expr-mlp.txt").write_text(f"{header}\n", encoding="ascii")
    made = with_prediction(with_head(FeatureStore(str(here / "affstore-data"))))
    snapshot = made.snapshot
    write_head(made, "expr-mlp", here / "expr-mlp.safetensors", "CC0-1.0", "generated faces")
    write_note(published, [(published / "expr-mlp.txt", "expr-mlp")], snapshot)
    frames = made.records("source", video="video2")[0].attributes["frames"]
    (here / "gaze.csv").write_text("\n".join(["yaw,pitch", *["0.1,0.2"] * frames]), encoding="utf-8")
    write_keys(here, "key", Ed25519PrivateKey.generate())


def test_every_command_is_shown_in_a_help_and_every_help_shows_one():
    for path, command in leaves(whole_app()):
        assert "Example: affstore " + " ".join(path[:1]) in " ".join((command.help or "").split()), path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_works(command, typed):
    typed(command, *(("--dry-run",) if kind_of(command) in SLOW else ()))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", [command for command in COMMANDS if kind_of(command) in SLOW])
def test_a_command_that_is_shown_and_takes_minutes_works(command, typed):
    typed(command)


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_typed_before_there_is_a_command_works(line):
    words = shlex.split(line)
    if words[0] == "make":
        # Making it for real installs gigabytes; the command at its end is among those above.
        planned = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert "pip install" in planned
        assert {"demo": "bin/affstore demo", "test": "pytest"}[words[1]] in planned
    else:
        assert line == "source .venv/bin/activate"
        assert re.search(r"^VENV \?= \.venv$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert LINES.index(line) < min(LINES.index(other) for other in LINES if other.startswith("affstore"))
        assert shutil.which("affstore", path=str(Path(sys.executable).parent))


def test_an_extra_that_is_named_exists_and_is_installed_from_the_clone():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for path in (ROOT / "README.md", *(ROOT / "models").rglob("*.py"), *(ROOT / "flows").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install ['\"]?affstore", text), path
        assert set(re.findall(r"-e '\.\[(\w+)\]'", text)) <= set(extras), path


def notebooks() -> Iterator[Any]:
    """Each notebook's cells of code, one after the other."""
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield pytest.param("\n".join(code), id=path.name)


SHOWN = [*blocks("python", README, *PAGES.values()), *notebooks()]


@pytest.mark.parametrize("block", SHOWN)
def test_the_python_that_is_shown_runs(block, here, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(here)
    exec(block, {"__name__": "__main__"})


@pytest.mark.slow
@pytest.mark.parametrize("block", SHOWN)
def test_the_python_that_is_shown_runs_in_a_process_of_its_own(block, here, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    done = subprocess.run([sys.executable, "-c", block], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_notebooks_are_kept_without_their_outputs():
    for path in (ROOT / "examples").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells), path


def test_a_file_or_command_that_the_text_names_is_there():
    known = {" ".join(path) for path, _ in leaves(whole_app())}
    for text in (
        README,
        FIRST_HOUR,
        OTHER_FEATURES,
        GENERATIONS,
        *PAGES.values(),
        *(command.help or "" for _, command in leaves(whole_app())),
    ):
        for span in re.findall(r"`affstore ([a-z ]+)", text):
            assert any(span.strip().startswith(name) for name in known), span
    for link in re.findall(r"\]\(([\w./]+)\)", README):
        assert (ROOT / link).exists(), link
