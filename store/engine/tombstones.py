"""What a store remembers of what was forgotten: enough to refuse the same bytes, and nothing about a person.

A tombstone is a slow hash (scrypt) of a video's SHA-256 with a salt of the store. The digest itself would tell whoever
has the video that it was here; this tells so too, but only one candidate at a time, and no list of known digests can be
looked up in it. Tombstones are metadata of the repository and not of a snapshot, so that no rollback loses them.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import icechunk

from affstore.store.contract.errors import ConflictError, StoreError
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.ledger import note_update
from affstore.store.engine.places import committer_lock, is_local, is_memory, translate_errors

_NAME = "affstore"
_TRIES = 10
_SETTLED_S = 2.0
"""After which it is looked at again: much longer than anybody takes between reading and writing."""
_COST = {"n": 1 << 14, "r": 8, "p": 1}


@lru_cache(maxsize=10_000)
def _hashed(sha256: str, salt: str) -> str:
    """Takes 0.1 s; what is changed again within `Tombstones.change` must not take that again."""
    return hashlib.scrypt(sha256.encode(), salt=bytes.fromhex(salt), dklen=32, **_COST).hex()


@dataclass(frozen=True, slots=True)
class Retraction:
    """A publication that is withdrawn because it contained a video that was forgotten.

    Attributes:
        tag: its name; it is there no more.
        date: when.
        artifacts: how many of its artifacts had to go.
    """

    tag: str
    date: str
    artifacts: int


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What a store remembers.

    Attributes:
        salt: of the hashes.
        dates: by hash, when bytes were forgotten.
        retracted: publications that were withdrawn.
        unfinished: hashes of what deletions were begun for that have not ended.
    """

    salt: str
    dates: Mapping[str, str]
    retracted: tuple[Retraction, ...] = ()
    unfinished: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: FeatureStore) -> Tombstones:
        """What a store remembers today, whatever snapshot it is opened at."""
        found = store.repository_metadata().get(_NAME) or {}
        retracted = tuple(Retraction(**one) for one in found.get("retracted", ()))
        salt = found.get("salt") or secrets.token_hex(16)
        dates, unfinished = found.get("tombstones", {}), found.get("unfinished") or ()
        # Earlier versions noted only that there was an unfinished one.
        return cls(salt, dates, retracted, frozenset(dates if unfinished is True else unfinished))

    def date_of(self, sha256: str) -> str:
        """When bytes were forgotten; an empty text if they were not."""
        return self.dates.get(self._hash(sha256), "") if self.dates else ""

    def began_with(self, digests: Iterable[str]) -> list[str]:
        """Those of some digests whose deletion was begun and has not ended, sorted."""
        return sorted(digest for digest in digests if self.unfinished and self._hash(digest) in self.unfinished)

    def with_forgotten(self, digests: Iterable[str], tags: Mapping[str, int]) -> Tombstones:
        """The same with more, whose deletion is unfinished."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        dates = {self._hash(digest): today for digest in digests}
        known = {one.tag for one in self.retracted}
        retracted = [Retraction(tag, today, count) for tag, count in tags.items() if tag not in known]
        unfinished = self.unfinished | dates.keys()
        return Tombstones(self.salt, {**dates, **self.dates}, (*self.retracted, *retracted), unfinished)

    def without(self, sha256: str) -> Tombstones:
        """The same without bytes, which may be added again."""
        own = self._hash(sha256)
        dates = {found: date for found, date in self.dates.items() if found != own}
        return Tombstones(self.salt, dates, self.retracted, self.unfinished - {own})

    def finished(self, ended: Collection[str]) -> Tombstones:
        """The same, once nothing is left of what some deletions were about, by their hashes."""
        return replace(self, unfinished=self.unfinished.difference(ended))

    def as_metadata(self) -> dict[str, Any]:
        """The same as a repository's metadata has it."""
        document = {
            "salt": self.salt,
            "tombstones": dict(self.dates),
            "retracted": [asdict(one) for one in self.retracted],
            "unfinished": sorted(self.unfinished),
        }
        return {_NAME: document}

    @classmethod
    def change(cls, store: FeatureStore, how: Callable[[Tombstones], Tombstones]) -> Tombstones:
        """Change those of a store, as they are at that moment; gives what is stored then.

        In a bucket, which has no lock, two may change them at once, and what one wrote may be written over. So it is
        looked at again a moment later, and changed again until the change is there.

        Args:
            store: whose they are.
            how: gives the changed ones; of what is changed already, the same.

        Raises:
            StoreError: the store is of a format that cannot hold them.
            ConflictError: others change them all the time.
        """
        if store.repository.spec_version < icechunk.SpecVersion.current():
            raise StoreError(
                f"The store at '{store.url}' is of an older format, which has no place for what was forgotten. Run "
                "`affstore upgrade` first; nothing was changed."
            )
        is_locked = is_local(store.url) or is_memory(store.url)
        with translate_errors(store.url, "Writing to"), committer_lock(store.url):
            how(cls.of(store))  # so that all hashes are known, and little time passes between reading and writing
            for _ in range(_TRIES):
                before = cls.of(store)
                after = how(before)
                if after == before:
                    return before
                repository = store.repository.reopen()
                repository.update_metadata(after.as_metadata())
                note_update(store.url, repository)
                if is_locked:
                    return after
                time.sleep(_SETTLED_S)
        raise ConflictError(
            f"What the store at '{store.url}' remembers of what was forgotten could not be changed: others change it "
            "all the time. Run the command again."
        )

    def _hash(self, sha256: str) -> str:
        return _hashed(sha256, self.salt)
