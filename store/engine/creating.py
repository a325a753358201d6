"""How an empty store is made, by one of the processes that may try to at the same time."""

from __future__ import annotations

import time
from contextlib import suppress
from uuid import uuid4

import icechunk
import zarr

from affstore.store.contract.schema import families, layout_version
from affstore.store.engine.chain import Content, commit_linked
from affstore.store.engine.ledger import note_update
from affstore.store.engine.places import (
    check_writable,
    committer_lock,
    exists,
    is_local,
    open_repository,
    settings,
    storage_of,
    translate_errors,
)
from affstore.store.engine.states import BRANCH, IDENTITY, is_unfinished

_CREATION_S = 20
"""How long a repository that another process is creating is waited for."""
_HALF_CREATED = (icechunk.AlreadyExistsError, icechunk.RepositoryNotFoundError, icechunk.ConflictError)


def create_repository(url: str) -> None:
    """Make an empty store where there is none.

    Raises:
        StoreUnavailableError: the place cannot be written.
    """
    check_writable(url)
    with translate_errors(url, "Creating"), committer_lock(url):
        repository = _repository_at(url)
        session = repository.writable_session(BRANCH)
        # Nothing but the engine's first snapshot: nobody has begun to use the repository.
        is_new = len(list(repository.ancestry(snapshot_id=session.snapshot_id))) == 1
        if is_new and not is_unfinished(repository):
            root = zarr.create_group(session.store, attributes={"affstore": {"layout": layout_version()}})
            for name in families():
                root.create_group(name)
            # On an object store several may get here at once; the first one's commit is the one that counts.
            with suppress(icechunk.ConflictError):
                commit_linked(url, repository, session, Content("an empty affstore"))
                repository.update_metadata({IDENTITY: uuid4().hex})
                note_update(url, repository)


def _repository_at(url: str) -> icechunk.Repository:
    """Create a repository, or open the one that is there or that another process is creating now."""
    deadline = time.monotonic() + _CREATION_S
    while True:
        try:
            if exists(url):
                return open_repository(url)
            return icechunk.Repository.create(storage_of(url), settings())
        except icechunk.IcechunkError as error:
            # Half of a repository is there: its creator is at work, or this is no place for one.
            half = isinstance(error, _HALF_CREATED) or "clean prefixes" in str(error)
            if is_local(url) or not half or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
