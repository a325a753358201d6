"""The core without the optional packages: what it does without them, and what it says where one is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from affstore import FeatureStore
from affstore.flows.execution import with_server_and_runner
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.watch import Watcher
from affstore.store.contract import extras
from affstore.store.contract.errors import SpecError
from affstore.store.contract.extras import EXTRAS, require_extra
from affstore.store.contract.labels import EXPR

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ("--weights", "untrained", "--engine", "openvino", "--precision", "float32")
EXTRACTOR = "mt_emotimobilefacenet"

BLOCKED = ("tensorflow", "keras", "lightautoml", "dask", "distributed", "dask_jobqueue", "matplotlib")
SITE = f"""
import sys
from importlib.machinery import PathFinder

class CoreFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {BLOCKED} else super().find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        hidden = (context.name or "").replace("-", "_") in {BLOCKED}
        return iter(()) if hidden else PathFinder.find_distributions(context)

sys.meta_path[sys.meta_path.index(PathFinder)] = CoreFinder
"""
"""Read by Python when it starts, so that Prefect's server lacks the packages too."""


@pytest.fixture(scope="module")
def core_only(server, tmp_path_factory):
    """Runs commands in a process that cannot import what the extras bring, and its children cannot either."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "AFFSTORE_STORE": str(folder / "store")}

    def run(*commands):
        code = f"from affstore.flows.cli import call; print([call(command) for command in {list(commands)}])"
        done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
        return done.stdout.splitlines()[-1], done.stderr

    return folder, run


def write_video(path, frames: int) -> None:
    """A face that does not move."""
    picture = cv2.resize(np.ascontiguousarray(astronaut()[:400, 50:350, ::-1]), (240, 320))
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (240, 320))
    for _ in range(frames):
        film.write(picture)
    film.release()


@pytest.fixture(scope="module")
def extracted(core_only):
    """A store with one face of six frames."""
    folder, run = core_only
    write_video(folder / "video.mp4", 6)
    networks = ["--extractor", EXTRACTOR, *ENGINE]
    return run(
        ["add", "video.mp4", *networks],
        ["plan", *networks],
        ["status"],
        ["show", "video"],
        ["export", "out", "--to", "parquet"],
    )


def test_the_core_takes_in_extracts_plans_shows_and_exports_without_the_extras(core_only, extracted):
    codes, errors = extracted
    assert codes == "[0, 0, 0, 0, 0]", errors
    assert "Traceback" not in errors
    assert list((core_only[0] / "out").rglob("*.parquet"))


@pytest.mark.slow
def test_a_run_without_tensorflow_and_matplotlib_scores_heads_that_need_neither(core_only, extracted):
    folder, run = core_only
    write_video(folder / "other.mp4", 4)
    for split, name, classes in (("Validation_Set", "video", "000111"), ("Train_Set", "other", "0011")):
        labels = folder / "labels" / "EXPR_Recognition_Challenge" / split / f"{name}.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("\n".join([",".join(EXPR.names), *classes]) + "\n")
    (folder / "run.yaml").write_text(
        f"store: store\nsources: [video.mp4, other.mp4, labels]\nextractors: [{EXTRACTOR}]\nweights: untrained\n"
        "engine: openvino\nprecision: float32\nexperiments:\n"
        f"  - {{name: perceptron, task: expr, inputs: [{EXTRACTOR}]}}\n"
        f"  - {{name: network, task: expr, head: pretrained, inputs: [{EXTRACTOR}.logits]}}\n"
    )
    codes, errors = run(["run", "run.yaml"])
    assert codes == "[3]", errors
    assert "Traceback" not in errors
    assert FeatureStore(str(folder / "store")).addresses("result"), errors
    pages = [path.read_text(encoding="utf-8") for path in (folder / "store.runs").glob("*/report.html")]
    (page,) = [page for page in pages if "perceptron" in page]
    assert "The experiment &#39;perceptron&#39; needs tensorflow, not installed here." in page
    assert "There are no figures: they need matplotlib, which the extra `heads` installs." in page
    assert "<figure" not in page


def test_a_run_on_dask_says_which_extra_to_install(monkeypatch):
    monkeypatch.setitem(EXTRAS, "cluster", ("no_such_package",))
    with pytest.raises(SpecError, match=r"The runner 'dask' needs no_such_package.*'\.\[cluster\]'"):
        RunnerSpec.of("dask").start().__enter__()


def test_a_missing_extra_is_said_before_a_server_is_started(monkeypatch):
    monkeypatch.setitem(EXTRAS, "cluster", ("no_such_package",))
    with pytest.raises(SpecError, match="needs no_such_package"):
        with_server_and_runner(SimpleNamespace(), RunnerSpec.of("dask"), Watcher(), pytest.fail, None)


def test_an_extra_that_is_installed_is_not_asked_for():
    for extra in EXTRAS:
        require_extra(extra, "This test")


def test_a_missing_package_of_an_extra_is_named(monkeypatch):
    monkeypatch.setitem(EXTRAS, "heads", ("tensorflow", "no_such_package"))
    with pytest.raises(SpecError, match=r"This test needs no_such_package, not installed here.*'\.\[heads\]'"):
        require_extra("heads", "This test")


def test_the_extras_are_those_of_the_installation():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        named = " ".join(declared[extra]).replace("-", "_")
        assert all(package in named for package in packages)
        assert extra in declared["all"][0]


def test_a_script_in_a_folder_with_models_and_tasks_of_its_own_uses_both(tmp_path):
    for name in ("models", "tasks", "store", "flows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"WHOSE = 'the script has its own {name}'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import affstore, models, tasks, store, flows\n"
        "affstore.FeatureStore.create('memory:own')\n"
        "print(models.WHOSE, tasks.WHOSE, store.WHOSE, flows.WHOSE, sep='; ')\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count("the script has its own") == 4, done.stderr


def test_an_experiment_whose_package_is_missing_says_so_and_the_others_run(monkeypatch):
    from affstore.flows.config.run_config import checked
    from affstore.flows.runnable import runnable

    monkeypatch.setattr(extras, "is_installed", lambda package: package != "lightautoml")
    common = {"task": "expr", "inputs": [EXTRACTOR]}
    heads = [{"name": "mine", **common, "head": "mlp"}, {"name": "theirs", **common, "head": "lightautoml"}]
    config = checked({"store": "memory:extras", "weights": "untrained", "experiments": heads}, "test")
    found = runnable(config, FeatureStore.create(config.store))
    assert [one.name for one in found.experiments] == ["mine"]
    (refused,) = found.refused
    assert refused.experiment.name == "theirs"
    assert refused.reason.startswith("The experiment 'theirs' needs lightautoml, not installed here.")
