"""Video files, and what the store already knows of their bytes and their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from affstore import FeatureStore
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Record
from affstore.tasks import recipes

Verdict = Literal["new", "known", "alias", "moved", "taken", "refused"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A video file, and what the store already knows of its bytes and its name.

    Attributes:
        path: the file.
        name: what it will be called.
        sha256: of its bytes.
        verdict: `new` bytes; `known` bytes under a known name; `alias`, known bytes under a new name; `moved`, known
            but elsewhere on the disk; `taken`, a known name with other bytes; `refused` before, with the same name
            and bytes.
        held_as: the name under which the store has these bytes, or a quarantine address.
        reason: why it was refused before.
    """

    path: Path
    name: str
    sha256: str
    verdict: Verdict
    held_as: str = ""
    reason: str = ""


def arrivals(
    store: FeatureStore, files: Iterable[tuple[Path, str, str]], replace_taken: bool = False, retry: bool = False
) -> list[Arrival]:
    """Compare files `(path, name, sha256)` with the store, and with each other.

    Of two files of one call with the same bytes the second is an alias of the first; of two with the same name and
    other bytes the second is refused.

    Args:
        store: the store as it is now.
        files: what arrives, in order.
        replace_taken: take a known name with other bytes as a new version of that video.
        retry: try again what was quarantined with the same name and bytes.
    """
    known = _Known(store, retry)
    found = []
    for path, name, sha256 in files:
        arrival = known.judge(Arrival(path, name, sha256, "new"))
        if arrival.verdict == "taken" and replace_taken and name in known.stored:
            arrival = replace(arrival, verdict="new")
        known.note(arrival)
        found.append(arrival)
    return found


class _Known:
    """The bytes and names of a store, and of the files before this one."""

    def __init__(self, store: FeatureStore, retry: bool) -> None:
        sources = store.records("source")
        self.stored = {record.address.video: record for record in sources}
        self._by_sha = {record.attributes["sha256"]: record for record in sources}
        self._name_of = {sha: record.address.video for sha, record in self._by_sha.items()}
        self._names = {name for record in sources for name in (record.address.video, *record.attributes["aliases"])}
        self._refused = {} if retry else {record.key: record for record in store.records("quarantine")}

    def judge(self, arrival: Arrival) -> Arrival:
        """The arrival with its verdict."""
        before = self._refused.get(key_of(recipes.quarantine("ingest", arrival.name, arrival.sha256)))
        if before is not None:
            return replace(arrival, verdict="refused", reason=before.attributes["reason"])
        held_as = self._name_of.get(arrival.sha256)
        if held_as is None:
            return replace(arrival, verdict="taken" if arrival.name in self._names else "new")
        return replace(arrival, verdict=self._verdict_on_known_bytes(arrival), held_as=held_as)

    def note(self, arrival: Arrival) -> None:
        """Let later files of the same call know of this one."""
        if arrival.verdict in ("new", "alias"):
            self._name_of.setdefault(arrival.sha256, arrival.name)
            self._names.add(arrival.name)

    def _verdict_on_known_bytes(self, arrival: Arrival) -> Verdict:
        held = self._by_sha.get(arrival.sha256)
        if held is None or arrival.name not in (held.address.video, *held.attributes["aliases"]):
            return "taken" if arrival.name in self._names else "alias"
        if held.key != key_of(recipes.source(arrival.sha256)) and arrival.name == held.address.video:
            return "new"  # the same file, decoded in another way than today
        return "known" if _still_there(held, arrival.path) else "moved"


def _still_there(held: Record, path: Path) -> bool:
    """Whether the noted place still holds a file, or is the one given."""
    location = held.attributes["location"]
    return bool(location == str(path.resolve()) or Path(location).is_file())
