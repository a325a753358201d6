"""Forget a video: remove what was computed from it from the store, its history and its runs' folder, and prove it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.store.contract.errors import ConflictError, SpecError
from affstore.store.engine.copying import Copy, plan_copy
from affstore.store.engine.erasing import Garbage, erase, find_in_objects
from affstore.store.engine.generations import check_none_open
from affstore.store.engine.kept_lists import drop_lists
from affstore.store.engine.places import is_local
from affstore.store.engine.rewriting import remove_rest, rewrite
from affstore.store.engine.tombstones import Tombstones
from affstore.store.engine.writers import alone_in
from affstore.tasks.ingest.file_digests import FileDigests
from affstore.tasks.lineage.erasure import Erasure, interrupted, plan_erasure
from affstore.tasks.lineage.mentions import mentioning, needles, remove_mentions

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a deletion.

    Attributes:
        erasure: what had to go; more than was planned, if others committed meanwhile.
        garbage: what was let go and removed from the store.
        objects: what of the store names the video all the same; none, or the deletion is not whole.
        files: files beside the store that name it and could not be removed.
    """

    erasure: Erasure
    garbage: Garbage
    objects: tuple[str, ...]
    files: tuple[Path, ...]


def check_no_generation(store: FeatureStore) -> None:
    """See that no generation is open, in which what has to go would stay.

    Raises:
        ConflictError: one is; the message names all of them.
    """
    check_none_open(store, "Nothing can be forgotten")


def is_rewritten(store: FeatureStore, erasure: Erasure) -> bool:
    """Whether a deletion writes the whole store anew: the engine keeps the name of a tag called by the video."""
    return bool(erasure.named_tags) and is_local(store.url)


def forget(store: FeatureStore, erasure: Erasure, runs: Path) -> Forgotten:
    """Carry out a deletion. Killed at any moment, it is finished by the next one.

    Args:
        store: the newest state.
        erasure: what has to go; of a deletion whose videos the store does not know any more, the names to look for.
        runs: the folder of the store's runs.

    Raises:
        ConflictError: another run is writing, or a generation is open, and nothing was changed; or others commit to a
            bucket all the time.
    """
    with alone_in(store.url):
        check_no_generation(store)
        for _ in range(_TRIES):
            now = store.newest()
            more = {*interrupted(now)} - {*erasure.digests}  # of another deletion, begun since this one was planned
            if more or now.snapshot != store.snapshot:  # or others computed more from the videos
                store, erasure = now, _again(now, {*erasure.digests, *more}, erasure)
            with suppress(ConflictError):
                return _carried_out(store, erasure, runs)
    raise ConflictError(
        f"Nothing was erased from the store at '{store.url}' yet: others commit there all the time. Run the command "
        "again when they have ended; the deletion counts as begun."
    )


def _again(store: FeatureStore, digests: Collection[str], planned: Erasure) -> Erasure:
    """A deletion planned anew; one of which only names are left to look for stays as it is."""
    return plan_erasure(store, sorted(digests)) if digests else planned


def _carried_out(store: FeatureStore, erasure: Erasure, runs: Path) -> Forgotten:
    if is_local(store.url):
        remove_rest(store.url)
    counts, addresses = erasure.tags or {}, erasure.addresses or {}
    lost = {*counts, *erasure.named_tags}
    unnamed = {tag: count for tag, count in counts.items() if tag not in erasure.named_tags}
    # First of all, so that whoever is killed after this can be told from whoever never began.
    begun = Tombstones.change(store, lambda known: known.with_forgotten(erasure.digests, unnamed)).unfinished
    # Before the store itself, for as long as it has the videos it knows by what names to look for them.
    files = remove_mentions(runs, mentioning(runs, erasure), erasure.heads) if runs.is_dir() else []
    with FileDigests() as known:
        known.forget(erasure.digests)
    if rewritten := is_rewritten(store, erasure):
        garbage = rewrite(store, addresses, store.tags().keys() - lost)
    else:
        garbage = erase(store, addresses.get(store.snapshot, frozenset()), lost)
    files += drop_lists(store.url)
    now = FeatureStore(store.url)
    found = find_in_objects(store.url, needles(erasure), needles(erasure, in_text=False))
    objects = (*(f"the tag {tag}" for tag in erasure.named_tags if not rewritten), *found)
    if not objects and not files:
        Tombstones.change(now, lambda known: known.finished(begun))
    return Forgotten(erasure, garbage, objects, tuple(files))


def plan_copy_without(store: FeatureStore, erasure: Erasure) -> Copy:
    """A copy without videos, which refuses their bytes as a store does that has forgotten them.

    A tag must not name other content than it did: where its state loses something, the tag is noted as retracted, and
    what is left of the state is tagged `TAG-reduced`.
    """
    known, counts = store.tags(), erasure.tags or {}
    tags = {tag: f"{tag}-reduced" if tag in counts else tag for tag in known if tag not in erasure.named_tags}
    taken = next((name for tag, name in tags.items() if name != tag and name in known), None)
    if taken:
        raise SpecError(f"The store has a tag '{taken}' already, which the copy needs for what is left of another.")
    retracted = {tag: count for tag, count in counts.items() if tag in tags}
    plan = plan_copy(store, erasure.addresses, tags)
    tombstones = plan.tombstones.with_forgotten(erasure.digests, retracted)
    tombstones = tombstones.finished(tombstones.unfinished)
    return replace(plan, tombstones=tombstones) if erasure.digests else plan
