"""The documentation site builds without a warning, offline, and its reference says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from affstore.flows.commands import COMMANDS

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


def test_the_reference_of_python_has_what_is_exported(site):
    page = (site / "reference" / "api" / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("FeatureStore", "read_video", "FrameWindows", "WindowSpec"))


def test_no_page_fetches_anything_when_it_is_read(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" href="http' not in text, page
    assert (site / "llms.txt").is_file()
