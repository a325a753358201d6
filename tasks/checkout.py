"""The git commit of the code that runs: of the checkout that it lies in, or that it was installed from, without git."""

from __future__ import annotations

import importlib.metadata
import json
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import affstore

_PACKAGE = Path("src", "affstore", "__init__.py")
"""Where the package is in its checkout; in one of another project, as an environment within it, it is elsewhere."""

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LINKS = 5
"""References that may name one another before a hash."""


@cache
def commit_here() -> str:
    """The commit of this process's affstore, looked up once; empty where nothing tells it.

    Files of a checkout may have been changed since its commit: without git, that cannot be said.
    """
    file = Path(affstore.__file__ or "").absolute()
    return _of_checkout(file) or _installed_from("affstore", file)


def _of_checkout(file: Path) -> str:
    """The commit that is checked out where a module lies, if that is affstore's own checkout."""
    root = file.parents[len(_PACKAGE.parts) - 1] if len(file.parents) >= len(_PACKAGE.parts) else file.parent
    return commit_of(root) if file == root / _PACKAGE else ""


def commit_of(folder: Path) -> str:
    """The commit that is checked out in a folder; empty if it is no checkout, or has no commit yet."""
    try:
        git = _git_folder(folder)
        shared = git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
        return _followed((git, common), (git / "HEAD").read_text(encoding="utf-8").strip())
    except (OSError, ValueError):  # the latter: a file that is no text
        return ""


def _git_folder(folder: Path) -> Path:
    """Of a worktree or a submodule, `.git` is a file that names it."""
    found = folder / ".git"
    return folder / found.read_text(encoding="utf-8").partition("gitdir:")[2].strip() if found.is_file() else found


def _followed(folders: tuple[Path, Path], value: str) -> str:
    """The hash that a reference stands for: a branch's is in a file of its own, or in the list of packed ones."""
    for _ in range(_LINKS):
        if _HASH.fullmatch(value):
            return value
        name = value.partition("ref:")[2].strip()
        if not name:
            break
        value = next((text for folder in folders if (text := _text(folder / name))), "") or _packed(folders[1], name)
    return ""


def _packed(folder: Path, name: str) -> str:
    lines = (line.split(" ") for line in _text(folder / "packed-refs").splitlines())
    return next((words[0] for words in lines if words[1:] == [name]), "")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _installed_from(package: str, file: Path) -> str:
    """The commit that a module was installed from, which its installer noted (PEP 610) if it came from a repository."""
    with suppress(importlib.metadata.PackageNotFoundError, OSError, ValueError, LookupError, TypeError):
        installed = importlib.metadata.distribution(package)
        note = installed.read_text("direct_url.json")
        if note and Path(str(installed.locate_file(f"{package}/__init__.py"))).samefile(file):
            found = str(json.loads(note)["vcs_info"]["commit_id"])
            return found if _HASH.fullmatch(found) else ""
    return ""
