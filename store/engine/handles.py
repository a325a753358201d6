"""Handles that a process keeps open, so that the engine's list of what a store holds is read once a commit.

The list is some 3.6 kB a video: opening a store of 2,400 videos reads it in 0.4 s, and a task does so several times.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress

from affstore.store.contract.errors import StoreError
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import whole_url

_KEPT = 4
"""A run works on one store, or copies between two; some commands use a scratch store for each artifact."""

_Place = tuple[int, str, str, str, str]

_handles: OrderedDict[_Place, FeatureStore] = OrderedDict()
_lock = threading.Lock()


def kept_open(url: str, at: str | None = None, generation: str = "") -> FeatureStore:
    """A store as it is now, or at an earlier state, by the handle of this process.

    Args:
        url: of the store.
        at: a tag, snapshot or time; None for the newest state.
        generation: whose newest state that is; empty for what readers see.

    Raises:
        NotFoundError: there is no store there, or no such state or generation.
        NewerSchemaError: a newer affstore wrote it.
    """
    # A handle is no good in a forked child, where another server answers to the bucket's name, or in another working
    # folder: it has a relative address as it was given, and so have its drafts and locks.
    place = (os.getpid(), os.environ.get("AWS_ENDPOINT_URL", ""), whole_url(url), url, generation)
    with _lock:
        handle = _handles.get(place)
        if handle is not None:
            _handles.move_to_end(place)
    if handle is not None:
        with suppress(StoreError):  # opening it again says what is wrong, if anything is
            return handle.state(at) if at is not None else _kept(place, handle.newest())
    handle = _kept(place, FeatureStore(url, generation or None))
    return handle.state(at) if at is not None else handle


def _kept(place: _Place, handle: FeatureStore) -> FeatureStore:
    """The handle, which from now on is the one of its place."""
    with _lock:
        _handles[place] = handle
        _handles.move_to_end(place)
        while len(_handles) > _KEPT:
            _handles.popitem(last=False)
    return handle
