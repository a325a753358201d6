"""The documentation says what is there."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import yaml

import affstore
from affstore.flows.offers import KINDS
from affstore.flows.report.readme_tables import with_tables
from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.labels import AFFECTNET_8, EXPR

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_nothing_but_affstore_is_installed():
    ours = {package for package, owners in packages_distributions().items() if "affstore" in owners}
    assert {package for package in ours if not package.startswith("__editable__")} == {"affstore"}


def test_the_tables_of_the_readme_are_what_the_registries_hold():
    assert with_tables(README) == README, "run `python -m affstore.flows.report.readme_tables README.md`"
    assert set(re.findall(r"<!-- list (\w+)", README)) == set(KINDS)


def test_architecture_fits_on_a_page():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_error_is_drawn_in_the_tree():
    import affstore.store.contract.errors as errors

    def below(kind):
        return {kind.__name__, *(name for sub in kind.__subclasses__() for name in below(sub))}

    ours = {name for name in below(AffstoreError) if hasattr(errors, name)}
    assert all(name in errors.__doc__ for name in ours)


def test_each_deployment_names_a_flow_that_exists():
    document = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in document["deployments"]:
        module, _, attribute = deployment["entrypoint"].rpartition(".")
        assert getattr(importlib.import_module(module), attribute).name == attribute.replace("_", "-")
        assert (ROOT / deployment["parameters"]["config"]).is_file()


def with_doctests() -> list[str]:
    folders = ("store", "models", "tasks", "flows")
    paths = [
        ROOT / "src" / "affstore" / "__init__.py",
        *(path for name in folders for path in (ROOT / name).rglob("*.py")),
    ]
    found = [path for path in paths if ">>>" in path.read_text(encoding="utf-8")]
    modules = [path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("src/affstore/") for path in found]
    return sorted("affstore." + name.replace("/", ".").removesuffix(".__init__") for name in modules)


@pytest.mark.parametrize("module", with_doctests())
def test_examples_in_docstrings_give_what_they_say(module, example_store, monkeypatch):
    monkeypatch.chdir(Path(example_store).parent)
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", affstore.__all__)
def test_every_exported_name_has_an_example_and_is_named_by_the_package(name):
    assert ">>>" in getattr(affstore, name).__doc__
    assert f"`{name}`" in affstore.__doc__


def test_the_package_exports_what_it_can_give_and_nothing_else():
    assert dir(affstore) == sorted(affstore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'video_reader'"):
        affstore.video_reader  # noqa: B018


EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(example, example_store, monkeypatch, capsys):
    path = str(ROOT / "examples" / example)
    monkeypatch.setattr(sys, "argv", [path, example_store])
    runpy.run_path(path, run_name="__main__")
    assert "embedding" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs_in_a_process_of_its_own(example, example_store):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), example_store], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "embedding" in done.stdout


@pytest.fixture(scope="module")
def example_store(tmp_path_factory):
    from affstore import FeatureStore
    from tests.factories import commit, label, prediction, source, visual

    url = str(tmp_path_factory.mktemp("examples") / "affstore-data")
    faces = visual("interview", extractor="emotieffnet_b0", width=1280)
    names = AFFECTNET_8.names
    logits = np.zeros((40, len(names)), np.float32)
    faces = replace(faces, arrays={**faces.arrays, "logits": logits}, attributes={**faces.attributes, "classes": names})
    happy = np.where(np.arange(40) < 30, 4, np.nan)[:, None]
    artifacts = (
        source("interview"),
        faces,
        label("interview", EXPR, happy),
        prediction("interview", EXPR, np.eye(8)[[0] * 40]),
    )
    commit(FeatureStore.create(url), *artifacts)
    return url
