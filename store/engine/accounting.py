"""Every object of a store accounted for: what it is, which snapshots need it, and whether it is as it was written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import batched
from typing import Any, Literal

import icechunk
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from affstore.store.contract.errors import StoreError
from affstore.store.engine.ledger import (
    FOLDER,
    STATE,
    Ledger,
    contents,
    digests_of,
    read_ledger,
    restored_note,
    with_bit_turned_back,
)
from affstore.store.engine.objects import Objects, objects_of
from affstore.store.engine.places import open_repository, translate_errors
from affstore.store.engine.states import dropped_snapshots

ObjectState = Literal["noted", "self-checked", "not vouched for", "garbage", "foreign", "altered", "missing"]
"""`noted`: its bytes are those whose digest was noted. `self-checked`: a chunk or a note, with checksums of its own.
`not vouched for`: the engine needs it, and nobody noted its digest. `garbage`: no snapshot needs it; a run that was
killed left it, or one is writing it now; what it should hold is not known. `foreign`: neither affstore nor the engine
writes such objects."""

_KINDS = ("chunks", "manifests", "snapshots", "transactions", "overwritten")
_HEADER_BYTES = 39
_ID_BYTES = 12
_MOST_SEARCHED_BYTES = 128 << 10
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FORMER = ("refs/", "config.yaml")
"""What the engine's first format kept beside."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object below a store's place.

    Attributes:
        key: where it is.
        size: its bytes.
        state: what is known of it.
        snapshots: how many snapshots need it.
        tags: those that need it.
    """

    key: str
    size: int
    state: ObjectState
    snapshots: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accounting:
    """The objects of a store.

    Attributes:
        objects: by their keys, in order.
        lost: snapshots that were committed and that the engine's list does not have any more.
    """

    objects: Mapping[str, StoredObject] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    def of(self, state: ObjectState) -> list[StoredObject]:
        """Those of one state."""
        return [one for one in self.objects.values() if one.state == state]


def altered_objects(url: str) -> dict[str, str]:
    """The keys of the objects whose bytes are not those that were noted, and the digest that was.

    It needs no engine, so that it also works on a store that the engine cannot open.
    """
    objects = objects_of(url)
    if objects is None:
        return {}
    ledger, now = _consistent(objects, sizes := objects.sizes())
    found = {key: noted for key, noted in ledger.digests.items() if key in sizes and now.get(key, noted) != noted}
    if STATE in sizes and _state_of_list(now, ledger) == "altered":
        found[STATE] = ledger.last_state
    return found | dict.fromkeys(ledger.damaged, "")


def missing_objects(url: str) -> list[str]:
    """The keys of the objects that the engine's own list needs and that are not there.

    None of a store whose list the engine cannot read.
    """
    try:
        with translate_errors(url, "Reading"):  # the engine may also panic
            accounting = account_for(url, open_repository(url))
    except StoreError:
        return []
    return [one.key for one in accounting.of("missing")]


def restore_object(url: str, key: str, digest: str, dry_run: bool) -> bool:
    """Turn back the one bit of an altered object by its digest, if that is all that is wrong with it.

    Args:
        url: of the store.
        key: the object's.
        digest: as noted; empty for a note, which holds its own.
        dry_run: only find out.
    """
    objects = objects_of(url)
    if objects is None:
        return False
    content = objects.read(key)
    if not digest:
        restored = restored_note(content)
    else:
        restored = with_bit_turned_back(content, digest) if len(content) <= _MOST_SEARCHED_BYTES else None
    if restored is not None and not dry_run:
        objects.write(key, restored)
    return restored is not None


def account_for(url: str, repository: icechunk.Repository) -> Accounting:
    """Look at every object of a store.

    Raises:
        icechunk.IcechunkError: the engine cannot read its own lists.
    """
    objects = objects_of(url)
    if objects is None:
        return Accounting()
    info = repository.inspect_repo_info()  # first: whatever it names is there already, whoever writes meanwhile
    sizes = objects.sizes()
    ledger, now = _consistent(objects, sizes)
    needs = _Needs(repository, info, objects, sizes)
    found: dict[str, StoredObject] = {}
    for key in sorted({*sizes, *needs.masks} - {STATE}):
        state = _state(key, sizes, (ledger, now), needs)
        found[key] = StoredObject(key, sizes.get(key, 0), state, *needs.who(key))
    if STATE in sizes:
        found[STATE] = StoredObject(STATE, sizes[STATE], _state_of_list(now, ledger))
    # Read again: a commit that was noted meanwhile is in it.
    return Accounting(found, tuple(sorted(_lost(repository, ledger))))


def _lost(repository: icechunk.Repository, ledger: Ledger) -> set[str]:
    """Snapshots that were committed and that the engine's list should have; none once older history was let go."""
    info = repository.inspect_repo_info()
    if any("folded" in one["metadata"] for one in info["snapshots"]):
        return set()
    ids = {key.removeprefix("snapshots/") for key in ledger.digests if key.startswith("snapshots/")}
    return ids - {one["id"] for one in info["snapshots"]} - dropped_snapshots(repository)


def _consistent(objects: Objects, sizes: dict[str, int]) -> tuple[Ledger, dict[str, str]]:
    """The ledger, and the digests of all that it can speak of, as of one moment: a run may commit meanwhile."""
    for _ in range(5):
        state = digests_of(objects, [STATE] if STATE in sizes else [])
        ledger = read_ledger(objects, sizes)
        if not state or state[STATE] == ledger.last_state:
            break
        time.sleep(0.2)
        sizes.update(objects.sizes())
    return ledger, state | digests_of(objects, (key for key in sizes if key.startswith(_KINDS[1:])))


def _state(key: str, sizes: Mapping[str, int], known: tuple[Ledger, Mapping[str, str]], needs: _Needs) -> ObjectState:
    (ledger, now), kind = known, key.partition("/")[0]
    if key not in sizes:
        return "missing"
    if key.startswith(FOLDER):
        partial = key.endswith(".partial")
        return "garbage" if partial else "altered" if key in ledger.damaged else "self-checked"
    if kind not in _KINDS:
        return "not vouched for" if key.startswith(_FORMER) else "foreign"
    if kind == "chunks":
        return "self-checked" if needs.masks.get(key) else "garbage"
    if key in ledger.digests:
        return "noted" if now.get(key) == ledger.digests[key] else "altered"
    if kind == "overwritten":
        return "noted" if now.get(key) in ledger.states.values() else "not vouched for"
    return "not vouched for" if needs.masks.get(key) else "garbage"


def _state_of_list(now: Mapping[str, str], ledger: Ledger) -> ObjectState:
    """Of the one object that changes.

    A commit that could not note it any more left a newer state, and the last one that was noted among the overwritten.
    """
    if not ledger.last_state:
        return "not vouched for"
    if now[STATE] == ledger.last_state:
        return "noted"
    put_aside = {digest for key, digest in now.items() if key.startswith("overwritten/")}
    return "not vouched for" if ledger.last_state in put_aside and now[STATE] not in put_aside else "altered"


class _Needs:
    """Which snapshots need which objects, as bits of a number each."""

    def __init__(
        self, repository: icechunk.Repository, info: Mapping[str, Any], objects: Objects, sizes: Mapping[str, int]
    ) -> None:
        ids = [one["id"] for one in info["snapshots"]]
        self._bits = {id: 1 << number for number, id in enumerate(ids)}
        self._tags = {name: self._bits.get(id, 0) for name, id in info["tags"].items()}
        self.masks: dict[str, int] = {}
        for id, bit in self._bits.items():
            self.masks[f"snapshots/{id}"] = bit
            if f"transactions/{id}" in sizes:
                self.masks[f"transactions/{id}"] = bit
            for key in _manifests(repository, id):
                self.masks[key] = self.masks.get(key, 0) | bit
        self._of_chunks(objects, [key for key in self.masks if key.startswith("manifests/")], sizes)

    def who(self, key: str) -> tuple[int, tuple[str, ...]]:
        """How many snapshots, and which tags, need an object."""
        mask = self.masks.get(key, 0)
        return mask.bit_count(), tuple(sorted(name for name, bit in self._tags.items() if bit & mask))

    def _of_chunks(self, objects: Objects, manifests: Iterable[str], sizes: Mapping[str, int]) -> None:
        """A manifest names its chunks by their ids; each known id is looked for anywhere in its bytes."""
        chunks = {id_bytes(key.partition("/")[2]): key for key in sizes if key.startswith("chunks/")}
        beginnings = np.array([int.from_bytes(id[:8], "little") for id in chunks], np.uint64)
        for batch in batched(contents(objects, manifests), 1000):
            parts = [decoded(content) for _, content in batch]
            ends, text = np.cumsum([len(part) for part in parts]), b"".join(parts)
            for place in _places(text, beginnings):
                key = chunks.get(text[place : place + _ID_BYTES])
                if key is not None:
                    manifest = batch[int(np.searchsorted(ends, place, "right"))][0]
                    self.masks[key] = self.masks.get(key, 0) | self.masks[manifest]


def _places(text: bytes, beginnings: NDArray[np.uint64]) -> Iterator[int]:
    """Where eight bytes of a text are the beginning of an id."""
    for offset in range(8):
        words = np.frombuffer(text, "<u8", max(0, (len(text) - offset) // 8), offset) if len(text) >= offset + 8 else ()
        yield from (8 * int(number) + offset for number in np.flatnonzero(np.isin(words, beginnings)))


def _manifests(repository: icechunk.Repository, snapshot: str) -> list[str]:
    """The keys of a snapshot's manifests; none of one whose list cannot be read, which others report."""
    try:
        return [f"manifests/{one.id}" for one in repository.list_manifest_files(snapshot)]
    except icechunk.IcechunkError:
        return []


def decoded(content: bytes) -> bytes:
    """What is in an object of the engine behind its header; nothing where it cannot be unpacked."""
    try:
        packed = content[_HEADER_BYTES - 1 : _HEADER_BYTES] == b"\x01"
        return bytes(Zstd().decode(content[_HEADER_BYTES:])) if packed else content[_HEADER_BYTES:]
    except (RuntimeError, ValueError):
        return b""


def id_bytes(text: str) -> bytes:
    """An id as the engine's lists hold it; in keys it is Crockford's base 32."""
    number = 0
    for letter in text:
        number = number * 32 + max(0, _ALPHABET.find(letter))
    return (number >> (5 * len(text) - 8 * _ID_BYTES)).to_bytes(_ID_BYTES, "big") if len(text) == 20 else b""


def id_text(id: bytes) -> str:
    """An id as it is written in keys."""
    letters = -(-8 * len(id) // 5)
    number = int.from_bytes(id, "big") << (5 * letters - 8 * len(id))
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(letters)))
