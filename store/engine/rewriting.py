"""Write a local store anew in its own place, for what the engine itself never erases."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from affstore.store.contract.errors import StoreUnavailableError
from affstore.store.contract.files import exchange_folders
from affstore.store.contract.records import Address
from affstore.store.engine.copying import copy_store, plan_copy
from affstore.store.engine.erasing import Garbage
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.objects import objects_of
from affstore.store.engine.places import local_folder


def rewrite(store: FeatureStore, left_out: Mapping[str, Collection[Address]], tags: Collection[str]) -> Garbage:
    """Copy what stays of a local store beside it, and let the copy take its place in one step.

    Whoever is killed can call it again: the store is the old one or the new one. Nobody else may write meanwhile.

    Args:
        store: the newest state.
        left_out: by snapshot, the addresses that go.
        tags: that stay.

    Raises:
        StoreUnavailableError: there is no room, or the file system cannot exchange two folders; nothing was changed.
    """
    folder, beside = local_folder(store.url), _beside(store.url)
    remove_rest(store.url)
    sizes, snapshots = _sizes(store.url), len(store.history())
    copy_store(plan_copy(store, left_out, {tag: tag for tag in tags}), str(beside))
    try:
        exchange_folders(folder, beside)
    except OSError as error:
        remove_rest(store.url)
        raise StoreUnavailableError(
            f"The store at '{store.url}' cannot be written anew in its place: {error.strerror or error}. Copy it to "
            "another place with `affstore copy --without VIDEO`, and remove this one; it is as it was."
        ) from error
    remove_rest(store.url)
    left = _sizes(store.url)
    return Garbage(snapshots, len(sizes.keys() - left.keys()), sum(sizes.values()) - sum(left.values()))


def remove_rest(url: str) -> None:
    """Remove what a rewriting that was killed left beside a local store: a part of the new one, or the old one."""
    beside = _beside(url)
    shutil.rmtree(beside, ignore_errors=True)
    for mark in ("lock", "writers"):
        beside.with_name(f"{beside.name}.{mark}").unlink(missing_ok=True)


def _beside(url: str) -> Path:
    folder = local_folder(url)
    return folder.with_name(f".{folder.name}.affstore-rewriting")


def _sizes(url: str) -> Mapping[str, int]:
    objects = objects_of(url)
    return objects.sizes() if objects else {}
