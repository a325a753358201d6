"""Where what belongs to runs, and not to the store, is kept: reports, notes, Prefect's database."""

from __future__ import annotations

from pathlib import Path

from affstore.store.contract.files import cache_folder
from affstore.store.engine.places import is_local, local_folder


def runs_folder(store_url: str) -> Path:
    """Where what belongs to runs, and not to the store, is kept: beside a local store, else in the cache folder."""
    if is_local(store_url):
        folder = local_folder(store_url)
        return folder.with_name(f"{folder.name}.runs")
    name = "".join(character if character.isalnum() else "-" for character in store_url).strip("-")
    return cache_folder() / f"{name}.runs"
