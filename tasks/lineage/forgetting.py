"""Forget a video: remove what was computed from it from the store, its history and its runs' folder, and prove it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affstore import FeatureStore
from affstore.store.engine.erasing import Garbage, erase, find_in_objects
from affstore.store.engine.tombstones import Tombstones
from affstore.store.engine.writers import alone_in
from affstore.tasks.ingest.file_digests import FileDigests
from affstore.tasks.lineage.erasure import Erasure
from affstore.tasks.lineage.mentions import mentioning, needles, remove_mentions


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a deletion.

    Attributes:
        garbage: what was let go and removed from the store.
        objects: what of the store names the video all the same; none, or the deletion is not whole.
        files: files beside the store that name it and could not be removed.
    """

    garbage: Garbage
    objects: tuple[str, ...]
    files: tuple[Path, ...]


def forget(store: FeatureStore, erasure: Erasure, runs: Path) -> Forgotten:
    """Carry out a deletion. Killed at any moment, it is finished by the next one.

    Args:
        store: the newest state.
        erasure: what has to go.
        runs: the folder of the store's runs.

    Raises:
        ConflictError: another run is writing; nothing was changed.
    """
    with alone_in(store.url):
        lost = dict(erasure.tags or {}) | {tag: (erasure.tags or {}).get(tag, 0) for tag in erasure.named_tags}
        unnamed = {tag: count for tag, count in lost.items() if tag not in erasure.named_tags}
        # First of all, so that whoever is killed after this can be told from whoever never began.
        Tombstones.of(store).with_forgotten(erasure.digests, unnamed).write(store)
        garbage = erase(store, (erasure.addresses or {}).get(store.snapshot, frozenset()), lost)
        with FileDigests() as known:
            known.forget(erasure.digests)
        files = remove_mentions(runs, mentioning(runs, erasure), erasure.heads) if runs.is_dir() else []
        found = find_in_objects(store.url, needles(erasure), needles(erasure, in_text=False))
        objects = (*(f"the tag {tag}" for tag in erasure.named_tags), *found)
        Tombstones.of(store).finished().write(store)
    return Forgotten(garbage, objects, tuple(files))


def finish(store: FeatureStore) -> Garbage:
    """Finish a deletion that was interrupted after nothing named the video any more."""
    with alone_in(store.url):
        garbage = erase(store, frozenset(), ())
        Tombstones.of(store).finished().write(store)
    return garbage
