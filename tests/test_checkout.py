"""The commit of the code that ran is part of the record, and decides nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import affstore
from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.flows.worker_checks import versions_here
from affstore.store.contract.errors import SpecError
from affstore.tasks import specs
from affstore.tasks.checkout import commit_of
from affstore.tasks.lineage.impact import impact
from affstore.tasks.lineage.reproduction import compared
from tests.factories import source, visual

NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
WHO = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
OLD, NEW = "12345678" + "a" * 32, "12345678" + "b" * 32
"""Commits that begin alike."""


def git(folder: Path, *words: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *WHO, *words], cwd=folder, capture_output=True, text=True, check=True, env=clean)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "file").write_text("1", encoding="utf-8")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@NEEDS_GIT
@pytest.mark.parametrize("how", ["branch", "packed", "detached", "branch/with/slashes", "tag of a tag"])
def test_the_commit_is_what_git_says(checkout, how):
    if how == "packed":
        git(checkout, "pack-refs", "--all")
        assert not list((checkout / ".git" / "refs" / "heads").iterdir())
    elif how == "detached":
        git(checkout, "checkout", "--quiet", "--detach")
    elif how == "branch/with/slashes":
        git(checkout, "checkout", "--quiet", "-b", how)
    elif how == "tag of a tag":
        git(checkout, "tag", "-a", "v1", "-m", "1")
        git(checkout, "checkout", "--quiet", "v1")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


@NEEDS_GIT
@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_of_a_worktree_is_its_own(checkout, packed):
    other = checkout.with_name("other")
    git(checkout, "worktree", "add", "--quiet", "-b", "other", str(other))
    (other / "file").write_text("2", encoding="utf-8")
    git(other, "commit", "--quiet", "-am", "second")
    if packed:
        git(checkout, "pack-refs", "--all")
    assert commit_of(other) == git(other, "rev-parse", "HEAD")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")
    assert commit_of(other) != commit_of(checkout)


@NEEDS_GIT
def test_where_nothing_was_committed_there_is_no_commit(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert commit_of(tmp_path) == ""


@pytest.mark.parametrize(
    "head", ["ref: refs/heads/none", "", "ref: HEAD", "ref:", "no hash", "ref: refs/heads", b"\xff\xfe"]
)
def test_what_is_no_checkout_has_no_commit(tmp_path, head):
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_bytes(head if isinstance(head, bytes) else head.encode())
    assert commit_of(tmp_path) == ""


def copied(folder: Path, *, checked_out: str = "") -> Path:
    """affstore's own modules in another place, with a checkout around them if a commit is given."""
    package = folder / "affstore"
    here = Path(affstore.__file__).parent
    package.mkdir(parents=True)
    shutil.copy(here / "__init__.py", package)
    for name in ("store", "tasks", "models", "flows"):
        (package / name).symlink_to((here / name).resolve())
    if checked_out:
        git_folder = folder.parent / ".git"
        git_folder.mkdir()
        (git_folder / "HEAD").write_text(f"{checked_out}\n", encoding="utf-8")
    return folder


def commit_said_by(path: Path) -> str:
    """The commit by an affstore that is imported from there, in a process of its own."""
    code = "import affstore.tasks.checkout as one; print(one.commit_here())"
    variables = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    return done.stdout.strip()


def installed(folder: Path, note: dict[str, object]) -> Path:
    """A folder of installed packages, with the note that an installer writes."""
    about = copied(folder) / "affstore-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: affstore\nVersion: 0.1.0\n", encoding="utf-8")
    (about / "direct_url.json").write_text(json.dumps(note), encoding="utf-8")
    return folder


def test_a_checkout_is_affstores_own_only_where_the_package_is_in_its_src(tmp_path):
    assert commit_said_by(copied(tmp_path / "a" / "src", checked_out=OLD)) == OLD
    assert commit_said_by(copied(tmp_path / "b" / "site-packages", checked_out=OLD)) == ""


def test_an_installer_that_took_it_from_a_repository_noted_the_commit(tmp_path):
    note = {"url": "https://example.org/affstore.git", "vcs_info": {"vcs": "git", "commit_id": NEW}}
    assert commit_said_by(installed(tmp_path / "vcs", note)) == NEW
    assert commit_said_by(installed(tmp_path / "folder", {"url": "file:///affstore", "dir_info": {}})) == ""
    assert commit_said_by(installed(tmp_path / "odd", {"vcs_info": {"commit_id": None}})) == ""


@pytest.fixture
def url(tmp_path) -> str:
    """A store whose videos were taken in by two commits of affstore, and by one that did not tell."""
    url = str(tmp_path / "store")
    store = FeatureStore.create(url)
    for video, commit in (("a", OLD), ("b", NEW), ("c", "")):
        code = {"affstore": "0.1.0"} | ({"commit": commit} if commit else {})
        draft = store.draft(code, f"run-{video}")
        parent = draft.put(source(video, 40)).as_parent()
        draft.put(replace(visual(video), parents=(parent,)))
        store.commit([draft], "extract: 1")
    return url


def test_impact_finds_what_a_commit_computed(url, capsys):
    found = impact(FeatureStore(url), NEW[:9].upper())
    assert (found.kind, {record.address.video for record in found.artifacts}) == ("commit", {"b"})
    assert impact(FeatureStore(url), OLD).as_document()["families"] == {"source": 1, "visual": 1}
    assert call(["impact", OLD[:12], "--store", url]) == 0
    assert f"2 artifacts stand on the commit '{OLD[:12]}'" in capsys.readouterr().out


def test_a_beginning_of_two_commits_is_refused(url):
    with pytest.raises(SpecError, match=r"begins several digests: commit 12345678a.*, commit 12345678b"):
        impact(FeatureStore(url), OLD[:8])


def test_a_trace_tells_the_commit(url, capsys):
    address = visual("a").address
    assert call(["trace", address.path, "--store", url]) == 0
    assert f"commit {OLD}" in " ".join(capsys.readouterr().out.split())


def test_a_commit_is_in_no_key_and_no_digest_and_excuses_no_other_number(url, tmp_path):
    other = FeatureStore.create(str(tmp_path / "other"))
    draft = other.draft({"affstore": "0.1.0"}, "run")
    for video in "abc":
        parent = draft.put(source(video, 40)).as_parent()
        draft.put(replace(visual(video), parents=(parent,)))
    other.commit([draft], "extract: 1")
    store = FeatureStore(url)
    assert content_digest(store) == content_digest(other.newest())
    record = replace(store.get(visual("a").address), code={**specs.package_versions(), "commit": OLD})
    arrays = store.read(record.address)
    assert compared(store, record, arrays, "cpu").verdict == "equal"
    arrays["embedding"] = arrays["embedding"] * (1 + 1e-6)
    assert "Device and versions are those of then" in compared(store, record, arrays, "cpu").reason
    assert "commit" not in versions_here()  # workers are compared by versions
