"""Video files, and what the store already knows of their bytes and their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from affstore import FeatureStore
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import video_name
from affstore.store.contract.records import Address, Record
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks import recipes
from affstore.tasks.ingest.sources import place_of

Verdict = Literal["new", "known", "alias", "moved", "name_conflict", "forgotten", "refused", "unfit"]
_WRITING = ("new", "alias", "moved")


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A video file, and what the store already knows of its bytes and its name.

    Attributes:
        path: the file.
        name: what it will be called.
        sha256: of its bytes.
        verdict: `new` bytes; `known` bytes under a known name; `alias`, known bytes under a new name; `moved`, known
            but elsewhere on the disk; `name_conflict`, a known name with other bytes; `forgotten`, bytes that somebody
            asked to have erased; `refused` before, with the same name and bytes; `unfit`, a name no store can hold.
        stored_as: the name under which the store has these bytes.
        reason: why it cannot be taken in.
        lifts: what is in quarantine for this file, and leaves it once the file is taken in.
    """

    path: Path
    name: str
    sha256: str
    verdict: Verdict = "new"
    stored_as: str = ""
    reason: str = ""
    lifts: tuple[Address, ...] = ()

    @property
    def file(self) -> str:
        """The file's path as text."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What is tried although the store knows better.

    Attributes:
        replace_existing: a known name with other bytes is a new version of its video.
        retry: what is in quarantine with the same name and bytes is tried again.
        rehash: every file is read for its digest, also one that has not changed since it was read before.
    """

    replace_existing: bool = False
    retry: bool = False
    rehash: bool = False


class IncomingFiles:
    """The files of one call, decided in rounds.

    Of files that want one name, or that have the same bytes, one is decided at a time: a name is taken when a file has
    turned out to be a video, and the bytes of one that did not are not tried again.
    """

    def __init__(
        self, store: FeatureStore, files: Iterable[IncomingFile], options: IngestOptions = IngestOptions()
    ) -> None:
        """Compare files with a store.

        Args:
            store: as it is now.
            files: in order, `new` or `unfit`.
            options: what is tried all the same.
        """
        self._known = _Known(store, options)
        self._waiting = [self._known.marked(file) for file in files]
        digests_by_name: dict[str, set[str]] = defaultdict(set)
        for incoming in self._waiting:
            if self._known.with_verdict(incoming).verdict not in ("refused", "unfit"):
                digests_by_name[incoming.name].add(incoming.sha256)
        self._known.contested = {name for name, digests in digests_by_name.items() if len(digests) > 1}

    def next_round(self) -> list[IncomingFile]:
        """The files that can be decided now, none of which depends on the outcome of another; none at the end."""
        now: list[IncomingFile] = []
        later: list[IncomingFile] = []
        busy: set[str] = set()
        for file in self._waiting:
            incoming = self._known.with_verdict(file)
            touched = {file.name, file.sha256, incoming.stored_as}
            if busy & touched:
                later.append(file)
                continue
            now.append(incoming)
            if incoming.verdict in _WRITING:
                busy |= touched - {""}
        self._waiting = later
        return now

    def note(
        self, files_of_round: Iterable[IncomingFile], ingested: Iterable[str], quarantined: Iterable[str] = ()
    ) -> None:
        """Note the outcome of a round for later rounds.

        A copy of a file that is neither is decided as if that file had not been there: nothing is known of its bytes.

        Args:
            files_of_round: those that were decided on.
            ingested: `file` of those that are in the store now.
            quarantined: `file` of those that could not be used.
        """
        taken, refused = set(ingested), set(quarantined)
        for incoming in files_of_round:
            if incoming.file in taken:
                self._known.note_taken(incoming)
            elif incoming.file in refused:
                self._known.note_refused(incoming)


def incoming_files(
    store: FeatureStore, files: Iterable[IncomingFile], options: IngestOptions = IngestOptions()
) -> list[IncomingFile]:
    """What would become of files if all that are new turned out to be videos."""
    rounds, found = IncomingFiles(store, files, options), list[IncomingFile]()
    while decided := rounds.next_round():
        rounds.note(decided, [incoming.file for incoming in decided])
        found += decided
    return found


class _Known:
    """The bytes and names of a store, and of the files that were decided before."""

    def __init__(self, store: FeatureStore, options: IngestOptions) -> None:
        self.contested: set[str] = set()
        self._options = options
        self._by_sha: dict[str, Record] = {}
        self._video_of: dict[str, str] = {}
        self._holder: dict[str, tuple[str, str]] = {}
        """Of each name, the digest and the place of what has it."""
        self._stored: set[str] = set()
        for record in store.records("source"):
            sha256, video = record.attributes["sha256"], record.address.video
            self._by_sha[sha256], self._video_of[sha256] = record, video
            self._stored.add(video_name(video))
            for name in (*record.attributes["aliases"], video):
                self._holder[video_name(name)] = (sha256, record.attributes["location"])
        self._tombstones = Tombstones.of(store)
        self._forgotten: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._quarantined: dict[str, list[Address]] = defaultdict(list)
        for record in store.records("quarantine"):
            if record.address.producer == "ingest":
                self._quarantined[record.attributes["location"]].append(record.address)
            if not options.retry:
                self._refused[record.key] = record.attributes["reason"]

    def marked(self, incoming: IncomingFile) -> IncomingFile:
        """A file, with what is in quarantine for it."""
        return replace(incoming, lifts=tuple(self._quarantined.get(place_of(incoming.path), ())))

    def with_verdict(self, incoming: IncomingFile) -> IncomingFile:
        """The arrival with its verdict."""
        before = self._refused.get(_refusal_key(incoming))
        if before is not None:
            return replace(incoming, verdict="refused", reason=before)
        if incoming.verdict == "unfit":
            return incoming
        holder, _ = self._holder.get(incoming.name, ("", ""))
        if holder == incoming.sha256:
            return self._known_here(incoming)
        if not holder:
            stored_as = self._video_of.get(incoming.sha256, "")
            return replace(incoming, verdict="alias", stored_as=stored_as) if stored_as else self._unknown(incoming)
        replaces = self._options.replace_existing and incoming.name in self._stored - self.contested
        if replaces and incoming.sha256 not in self._video_of:
            return self._unknown(replace(incoming, name=self._video_of[holder]))
        return replace(incoming, verdict="name_conflict", reason=self._name_conflict(incoming))

    def note_refused(self, incoming: IncomingFile) -> None:
        """Note that a file could not be used."""
        if incoming.verdict in ("new", "unfit"):
            reason = incoming.reason or "Another file of this call has the same bytes and could not be used."
            self._refused[_refusal_key(incoming)] = reason

    def note_taken(self, incoming: IncomingFile) -> None:
        """Note that a file is in the store now."""
        name = video_name(incoming.name)
        if incoming.verdict == "new":
            before, _ = self._holder.get(name, ("", ""))
            if before not in ("", incoming.sha256):
                self._forget(before)
            self._video_of[incoming.sha256] = incoming.name
            self._by_sha.pop(incoming.sha256, None)
        if incoming.verdict in ("new", "alias"):
            self._holder[name] = (incoming.sha256, incoming.file)

    def _unknown(self, incoming: IncomingFile) -> IncomingFile:
        """Bytes that the store does not have: new ones, unless it had them."""
        if incoming.sha256 not in self._forgotten:
            self._forgotten[incoming.sha256] = self._tombstones.date_of(incoming.sha256)
        date = self._forgotten[incoming.sha256]
        if not date:
            return incoming
        reason = (
            f"'{incoming.file}' holds a video that was forgotten on request on {date}, so it is not taken in. "
            f"`affstore forget --allow FILE` lifts that."
        )
        return replace(incoming, verdict="forgotten", reason=reason)

    def _forget(self, sha256: str) -> None:
        """The bytes that another version has replaced, and what they were also called."""
        self._video_of.pop(sha256, None)
        self._by_sha.pop(sha256, None)
        self._holder = {name: holder for name, holder in self._holder.items() if holder[0] != sha256}

    def _known_here(self, incoming: IncomingFile) -> IncomingFile:
        """Known bytes under a name that they have."""
        stored, video = self._by_sha.get(incoming.sha256), self._video_of[incoming.sha256]
        incoming = replace(incoming, stored_as=video)
        if stored is None:  # it was taken in a moment ago
            return replace(incoming, verdict="known")
        if stored.key != key_of(recipes.source(incoming.sha256)) and incoming.name == video_name(video):
            return replace(incoming, name=video)  # the same file, decoded in another way than today
        return replace(incoming, verdict="known" if still_there(stored, incoming.path) else "moved")

    def _name_conflict(self, incoming: IncomingFile) -> str:
        holder, place = self._holder[incoming.name]
        conflict = f"The name '{incoming.name}' of '{incoming.file}' is that of '{place}', which has other bytes. "
        if self._options.replace_existing and incoming.name in self.contested:
            return conflict + (
                "Several files of this call have that name, so nothing is replaced: give the one that is the new "
                "version, or keep them all with --names folder."
            )
        if self._options.replace_existing:
            known = self._video_of.get(incoming.sha256)
            why = (
                f"the store has its bytes as '{known}'"
                if known
                else f"that name is an alias of '{self._video_of[holder]}'"
            )
            return conflict + f"It replaces nothing, as {why}. Rename the file, or keep both with --names folder."
        if place == place_of(incoming.path):
            return (
                f"'{incoming.file}' has other bytes than when it was added as '{incoming.name}'. Give --replace to "
                "take it as the new version of that video, or rename it to keep both."
            )
        return conflict + (
            "Rename the file, keep both with --names folder, or give --replace if it is a corrected version of the "
            "same video."
        )


def _refusal_key(incoming: IncomingFile) -> str:
    return key_of(recipes.quarantine("ingest", incoming.name, incoming.sha256))


def still_there(stored: Record, path: Path) -> bool:
    """Whether the noted place is the one given, or holds a file of the video's size, so no other version of it."""
    noted = stored.attributes["location"]
    if noted == place_of(path):
        return True
    try:
        facts = Path(noted).stat()
    except OSError:
        return False
    return S_ISREG(facts.st_mode) and facts.st_size == stored.attributes["bytes"]
