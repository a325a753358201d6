"""Bring a store that an older affstore wrote to today's layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import icechunk
import zarr

from affstore.store.contract.schema import layout_version
from affstore.store.engine.chain import Content
from affstore.store.engine.committing import commit_session, session_at, until_first
from affstore.store.engine.draft import write_record
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.generations import check_none_open
from affstore.store.engine.ledger import note_update
from affstore.store.engine.places import committer_lock, open_repository, translate_errors
from affstore.store.engine.writers import alone_in


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade has to do, or has done.

    Attributes:
        layout: of the store before.
        artifacts: to write anew.
        array_bytes: of their arrays, unpacked.
        engine_format: whether the repository of the engine is brought to its newest format, too.
    """

    layout: int
    artifacts: int
    array_bytes: int
    engine_format: bool

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.layout < layout_version() or self.engine_format


def plan_upgrade(url: str) -> Upgrade:
    """What `upgrade` would do; nothing is written.

    Raises:
        StoreError: there is no store, or it is damaged.
        ConflictError: a generation is open, whose artifacts would stay as they are.
    """
    store = FeatureStore(url)
    addresses = [] if store.layout >= layout_version() else store.addresses()
    with translate_errors(url, "Reading"):
        arrays = [array for address in addresses for _, array in store.group(address).arrays()]
        old_format = open_repository(url).spec_version < icechunk.SpecVersion.current()
    todo = Upgrade(store.layout, len(addresses), sum(array.nbytes for array in arrays), old_format)
    if todo.is_needed:
        check_none_open(store, "The store cannot be upgraded")
    return todo


def upgrade(url: str) -> Upgrade:
    """Write every artifact of the newest snapshot anew, with checksums, in one commit; keys and digests stay.

    Tags and earlier snapshots stay as they are and can be read. Whoever is killed leaves the old state or the new one.

    Raises:
        StoreError: an artifact is damaged, by its name; nothing was changed.
        ConflictError: a run is writing, others commit to a bucket all the time, or a generation is open; nothing was
            changed.
    """
    todo = plan_upgrade(url)
    with translate_errors(url, "Upgrading"), alone_in(url), committer_lock(url):
        until_first(url, lambda: _rewritten(url))
        if todo.engine_format:
            icechunk.upgrade_icechunk_repository(open_repository(url), dry_run=False)
            note_update(url, open_repository(url))
    return todo


def _rewritten(url: str) -> None:
    """Commit every artifact of the newest state anew, where that is of an older layout."""
    store = FeatureStore(url)
    if store.layout < layout_version():
        session = session_at(store.repository, store.branch, store.snapshot)
        for record in store.records():
            own = cast(dict[str, Any], store.group(record.address).attrs["affstore"])
            write_record(session.store, record, store.read(record.address), own["version"])
        zarr.open_group(session.store, mode="a").attrs["affstore"] = {"layout": layout_version()}
        written = frozenset(address.path for address in store.addresses())
        commit_session(url, store.repository, session, Content(f"layout {layout_version()}", written=written))
