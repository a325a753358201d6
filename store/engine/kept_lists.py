"""Lists of what a local store's snapshots hold, kept in `STORE.lists` beside it: a snapshot never changes.

The engine takes a quarter of a second to list 33,000 nodes, which is most of what a question about a few records takes.
They lie beside the store, not with a user, so that whoever forgets a video removes every list that names it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from affstore.store.contract.files import replacing
from affstore.store.contract.records import Address
from affstore.store.engine.places import is_local, local_folder

_WORTH = 1_000
"""Artifacts from which on a list is kept; shorter ones are read as fast from the engine."""

_MOST = 8
"""Lists that are kept; the oldest are let go. One of 6,600 artifacts takes 0.4 MB."""


def kept_list(url: str, snapshot: str) -> tuple[Address, ...] | None:
    """Every address of a snapshot, in order; None where no whole list of it is kept."""
    if not is_local(url):
        return None
    try:
        digest, _, text = _file(url, snapshot).read_bytes().partition(b"\n")
        if digest.decode() != _digest(snapshot, text):
            return None
        return tuple(Address(*parts) for parts in json.loads(text.decode()))
    except (OSError, ValueError, TypeError):
        return None


def keep_list(url: str, snapshot: str, addresses: Sequence[Address]) -> None:
    """Keep the list of a snapshot, if it is long; where nothing can be written, none is kept."""
    if not is_local(url) or len(addresses) < _WORTH:
        return
    text = json.dumps([(one.family, one.producer, one.video, one.subject) for one in addresses]).encode()
    file = _file(url, snapshot)
    with suppress(OSError):
        with replacing(file) as new:
            new.write_bytes(b"%s\n%s" % (_digest(snapshot, text).encode(), text))
        # A video may have been forgotten meanwhile: the snapshots that had it were removed before their lists were.
        if not (local_folder(url) / "snapshots" / snapshot).exists():
            file.unlink()
        for old in sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[:-_MOST]:
            old.unlink()


def drop_lists(url: str) -> list[Path]:
    """Remove every list of a store; what cannot be removed is returned."""
    if not is_local(url):
        return []
    shutil.rmtree(_folder(url), ignore_errors=True)
    return sorted(_folder(url).glob("*"))


def _folder(url: str) -> Path:
    folder = local_folder(url)
    return folder.with_name(f"{folder.name}.lists")


def _file(url: str, snapshot: str) -> Path:
    return _folder(url) / f"{snapshot}.json"


def _digest(snapshot: str, text: bytes) -> str:
    """Of a list and whose it is; a damaged one, or one under another's name, is not believed."""
    return hashlib.sha256(snapshot.encode() + b"\n" + text).hexdigest()
