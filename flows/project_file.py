"""The store that a project's file names, so that its commands need no `--store`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.printable import excerpt

NAME = "affstore.toml"
_VARIABLE = "AFFSTORE_STORE"
_WITHOUT = ("--store", "-s", "--help", "-h", "--version")
"""Words of commands that need no file's store, so that a fault in one does not stop them."""


@contextmanager
def project_store(words: Sequence[str]) -> Iterator[None]:
    """Let the nearest `affstore.toml`, here or in a folder above, name the store where nothing else does.

    Args:
        words: of the command, which may name a store, or ask for help or the version.

    Raises:
        SpecError: the file says something else.
    """
    is_needless = os.environ.get(_VARIABLE) or any(word.split("=")[0] in _WITHOUT for word in words)
    store = None if is_needless else _nearest(Path.cwd())
    if store is None:
        yield
        return
    os.environ[_VARIABLE] = store
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)


def _nearest(folder: Path) -> str | None:
    file = next((path for one in (folder, *folder.parents) if (path := one / NAME).is_file()), None)
    if file is None:
        return None
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        from affstore.flows.yaml_files import reading_fault  # slow to import, and only needed here

        raise SpecError(
            f"'{file}' cannot be read: {reading_fault(error)}. Write `store = \"PLACE\"` into it."
        ) from error
    for field in document:
        if field != "store":
            raise UnknownNameError.of(f"field of '{file}'", field, ["store"])
    store = document.get("store")
    if not isinstance(store, str) or not store:
        raise SpecError(f"'{file}' should say `store = \"PLACE\"`; found {excerpt(store)}.")
    return store if "://" in store or store.startswith("memory:") else str(file.parent / os.path.expanduser(store))
