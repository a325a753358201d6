"""Where what belongs to runs, and not to the store, is kept: reports, notes, Prefect's database."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from affstore.store.contract.files import cache_folder
from affstore.store.engine.places import is_local, local_folder

_LONGEST = 60
"""So many letters of a URL are in the name of its folder: a prefix may be longer than a name can be."""


def runs_folder(store_url: str) -> Path:
    """Where what belongs to runs, and not to the store, is kept: beside a local store, else in the cache folder."""
    if is_local(store_url):
        folder = local_folder(store_url)
        return folder.with_name(f"{folder.name}.runs")
    name = "".join(character if character.isalnum() else "-" for character in store_url).strip("-")
    url = store_url.rstrip("/")  # with and without a slash at its end it is one store's
    return cache_folder() / f"{name[:_LONGEST]}-{hashlib.sha256(os.fsencode(url)).hexdigest()[:8]}.runs"
