"""Handles that a process keeps open, so that the engine's list of what a store holds is read once a commit.

The list is some 3.6 kB a video: opening a store of 2,400 videos reads it in 0.4 s, and a task does so several times.
"""

from __future__ import annotations

import os
import threading

from affstore.store.contract.errors import StoreError
from affstore.store.engine.feature_store import FeatureStore

_handles: dict[tuple[int, str, str], FeatureStore] = {}
_lock = threading.Lock()


def kept_open(url: str, at: str | None = None) -> FeatureStore:
    """A store as it is now, or at a tag, snapshot or time, by the handle of this process.

    Raises:
        NotFoundError: there is no store there, or no such tag, snapshot or time in its history.
        NewerSchemaError: a newer affstore wrote it.
    """
    # A handle is no good in a forked child, nor where another server answers to the bucket's name.
    place = (os.getpid(), os.environ.get("AWS_ENDPOINT_URL", ""), url)
    with _lock:
        handle = _handles.get(place)
        if handle is not None:
            try:
                return handle.state(at)
            except StoreError:
                _handles.pop(place, None)  # opening anew says what is wrong, if anything is
        _handles[place] = FeatureStore(url)
        return _handles[place].state(at) if at is not None else _handles[place]
