"""Whether a store holds what was written into it: digests of records, arrays, sources and weights computed again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from affstore import FeatureStore
from affstore.models.faces.crop_pictures import CropPictures
from affstore.models.faces.specs import DetectorSpec, resolve
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, MediaError, StoreError, WeightsError, WeightsMissingError
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.printable import some
from affstore.store.contract.records import Address, Record
from affstore.store.engine.accounting import (
    Accounting,
    ObjectState,
    StoredObject,
    account_for,
    altered_objects,
    missing_objects,
)
from affstore.store.engine.chain import LinkState
from affstore.store.engine.history import CheckedCommit, check_history
from affstore.store.engine.places import translate_errors
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks.lineage.graph import Leaf, LineageGraph, leaves_of

Fault = Literal["altered", "missing", "orphaned", "unexplained"]
"""What can be wrong: bytes are not those that were written; a file is not there; an artifact was computed from one that
is not there; an artifact names nothing that it was computed from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        fault: what kind of fault.
        what: an artifact's path, `snapshot ID`, or a file.
        reason: a sentence.
    """

    fault: Fault
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what was found.

    Attributes:
        snapshot: of the store; empty if it cannot be opened.
        artifacts: how many versions of artifacts were read whole: those of the snapshot, and earlier ones.
        array_bytes: of their arrays, unpacked.
        snapshots: how many commits of the history were read.
        files: how many videos, annotations, crop folders, imported files and weights were digested again, or sought.
        unproven: how many commits no chain proves, how many objects no digest vouches for, how many files could not be
            looked for, and how many deletions were interrupted, by the reason.
        objects: every object of the store's place.
        findings: what is wrong, in order.
    """

    snapshot: str = ""
    artifacts: int = 0
    array_bytes: int = 0
    snapshots: int = 0
    files: int = 0
    unproven: Mapping[str, int] = field(default_factory=dict)
    objects: tuple[StoredObject, ...] = ()
    findings: tuple[Finding, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The verification as plain values, for other programs."""
        return asdict(self)

    def objects_of(self, state: ObjectState) -> list[StoredObject]:
        """The objects of one state."""
        return [one for one in self.objects if one.state == state]


def verify_place(url: str, at: str | None, weights: WeightsFolder | None = None, deep: bool = False) -> Verification:
    """Verify a store by its address; also one that cannot be opened because its objects are damaged or gone.

    Raises:
        StoreError: it cannot be opened, and no damage is known that would explain it.
    """
    try:
        store = FeatureStore(url, at)
    except StoreError as error:
        damaged = [*map(_altered_object, altered_objects(url)), *map(_missing_object, missing_objects(url))]
        if not damaged:
            raise
        return Verification(findings=(_unreadable("store", error), *damaged))
    return verify(store, weights, deep)


def verify(store: FeatureStore, weights: WeightsFolder | None = None, deep: bool = False) -> Verification:
    """Compute every digest of a store again, follow every link between its artifacts, and account for every object.

    Args:
        store: an open store. Every artifact of its snapshot, and every version of its history, is read whole.
        weights: the folder whose parameters are digested again with `deep`.
        deep: whether videos, annotation files, crop folders, files of features and weights are read again; what is
            not there any more is missing.
    """
    findings: list[Finding] = []
    checked = _read_all(store, findings)
    records = {path: one.record for path, one in checked.items() if one.record is not None}
    findings += _links(LineageGraph(records.values()), set(checked))
    history = _history(store, findings)
    earlier = list(_earlier(store, history))
    findings += [one.finding for one in (*checked.values(), *earlier) if one.finding is not None]
    objects = _accounting(store, findings)
    files = list(_files(list(records.values()), weights)) if deep else []
    findings += [finding for finding in files if finding is not None]
    unproven = {reason: sum(commit.state == state for commit in history) for state, reason in _UNPROVEN.items()}
    unproven |= {_UNNOTED: len(objects.of("not vouched for"))}
    if deep:
        unproven |= {_UNPLACED: sum(_is_unplaced(leaf) for one in records.values() for leaf in leaves_of(one))}
    unproven |= {_INTERRUPTED: len(Tombstones.of(store).unfinished)}
    return Verification(
        store.snapshot,
        len(checked) + len(earlier),
        sum(one.array_bytes for one in (*checked.values(), *earlier)),
        len(history),
        len(files),
        {reason: count for reason, count in unproven.items() if count},
        tuple(objects.objects.values()),
        tuple(dict.fromkeys(findings)),
    )


def _read_all(store: FeatureStore, findings: list[Finding]) -> dict[str, CheckedArtifact]:
    """Every artifact of a snapshot read whole, by its path."""
    try:
        store.check_list()
        addresses = store.addresses()
        with suppress(StoreError):  # of a damaged one; each is looked at below
            store.records()  # at once, and kept: asked for one by one they take half of the time
    except StoreError as error:
        findings.append(_unreadable(f"snapshot {store.snapshot}", error))
        return {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        checked = threads.map(lambda address: check_artifact(store, address), addresses)
        return dict(zip((address.path for address in addresses), checked, strict=True))


def _history(store: FeatureStore, findings: list[Finding]) -> list[CheckedCommit]:
    try:
        history = list(check_history(store))
    except StoreError as error:
        findings.append(_unreadable("history", error))
        return []
    findings += [finding for commit in history if (finding := _of_commit(commit)) is not None]
    return history


def _earlier(store: FeatureStore, history: list[CheckedCommit]) -> Iterator[CheckedArtifact]:
    """The versions of artifacts that the snapshot does not hold, each read where it was written."""
    known: set[str] = set()
    tags = {snapshot: tag for tag, snapshot in store.tags().items()}
    for commit in history:
        old = {id: address for id, address in commit.versions.items() if id not in known}
        known |= old.keys()
        old = {id: address for id, address in old.items() if not store.holds(address, id)}
        if old:
            then = FeatureStore(store.url, tags.get(commit.snapshot, commit.snapshot))
            for address in old.values():
                yield check_artifact(then, address, f" of snapshot {commit.snapshot}")


def _accounting(store: FeatureStore, findings: list[Finding]) -> Accounting:
    try:
        with translate_errors(store.url, "Reading"):
            accounting = account_for(store.url, store.repository)
            damaged = [(one, _users(store, one.key)) for one in (*accounting.of("altered"), *accounting.of("missing"))]
    except StoreError as error:
        findings.append(_unreadable("list of snapshots", error))
        findings += map(_altered_object, altered_objects(store.url))
        return Accounting()
    findings += [
        _altered_object(one.key, users) if one.state == "altered" else _missing_object(one.key, users)
        for one, users in damaged
    ]
    lost = "It was committed, and the engine's list of snapshots does not have it any more."
    findings += [Finding("missing", f"snapshot {snapshot}", lost) for snapshot in accounting.lost]
    return accounting


def _users(store: FeatureStore, key: str) -> str:
    """The artifacts of the newest state that need a manifest, as far as it can still be read, for a sentence."""
    kind, _, id = key.partition("/")
    if kind != "manifests":
        return ""
    try:
        ids = {one["node_id"] for one in store.repository.inspect_manifest(id)["arrays"]}
        paths = {
            node["path"] for node in store.repository.inspect_snapshot(store.snapshot)["nodes"] if node["id"] in ids
        }
    except Exception:  # noqa: BLE001 - what is damaged may break the engine anywhere; the key is named all the same
        return ""
    return f" It leads to {', '.join(sorted(path.strip('/') for path in paths))}." if paths else ""


def _altered_object(key: str, users: str = "") -> Finding:
    return Finding("altered", key, f"Its bytes are not those that were written.{users}")


def _missing_object(key: str, users: str = "") -> Finding:
    return Finding("missing", key, f"A snapshot needs it, and it is not there.{users}")


_UNNOTED = "objects whose digests nobody noted when they were written"
_UNPLACED = "files of features that were imported by an affstore that did not note where they are"
_INTERRUPTED = "deletions were interrupted; run `affstore forget` again with the name of the video"
_UNPROVEN: Mapping[LinkState, str] = {
    "unchained": "commits made before commits were chained",
    "folded": "commits that came first when older history was let go on purpose",
}
_BROKEN_LINKS: Mapping[LinkState, tuple[Fault, str]] = {
    "altered": (
        "altered",
        "Its link of the chain of commits is not the digest of what it holds and of the link before.",
    ),
    "shortened": ("missing", "What was committed before it is gone, and nobody said that it would be let go."),
}


def _of_commit(commit: CheckedCommit) -> Finding | None:
    what = f"snapshot {commit.snapshot}"
    if commit.error is not None:
        return _unreadable(what, commit.error)
    broken = _BROKEN_LINKS.get(commit.state) if commit.state else None
    return Finding(broken[0], what, broken[1]) if broken else None


@dataclass(frozen=True, slots=True)
class CheckedArtifact:
    """An artifact that was read whole: its record if that can be read, its arrays' size, and what is wrong."""

    record: Record | None
    array_bytes: int
    finding: Finding | None = None


def check_artifact(store: FeatureStore, address: Address, when: str = "") -> CheckedArtifact:
    """One artifact read whole: its record against its checksum, its key, and its arrays against their digest."""
    record = None
    try:
        record = store.get(address)
        arrays = store.read(address)
    except AffstoreError as error:
        return CheckedArtifact(record, 0, _unreadable(f"{address.path}{when}", error))
    size = sum(array.nbytes for array in arrays.values())
    if key_of(record.recipe) != record.key:
        reason = f"The key of '{address}' is not the digest of its recipe; somebody wrote its record by other means."
        return CheckedArtifact(record, size, Finding("altered", f"{address.path}{when}", reason))
    return CheckedArtifact(record, size)


def _unreadable(what: str, error: AffstoreError) -> Finding:
    """The finding of what the engine cannot read; what follows `context:` in its words names its own functions."""
    reason = str(error).partition(" context:")[0]
    return Finding("missing" if "is gone" in reason else "altered", what, reason)


def _links(graph: LineageGraph, there: set[str]) -> Iterator[Finding]:
    for record in graph.records.values():
        path = record.address.path
        missing = [f"'{parent.path}'" for parent in record.parents if parent.path not in there]
        if missing:
            yield Finding("orphaned", path, f"{some(missing, 1)}, which it was computed from, is not there any more.")
        if not (record.parents or leaves_of(record) or "imported" in record.made):
            yield Finding("unexplained", path, "Its record names nothing that it was computed from.")


def _files(records: list[Record], weights: WeightsFolder | None) -> Iterator[Finding | None]:
    """The files that the store's numbers came from, each digested once; None for one that is as it was."""
    known: set[str] = set()
    for leaf, record in _leaves(records).items():
        if leaf.kind != "weights":
            yield _file(leaf, record)
        elif weights is not None and leaf.digest not in known:
            known.add(leaf.digest)
            yield _weights(leaf, weights)


def _leaves(records: list[Record]) -> dict[Leaf, Record]:
    """The bytes outside the store that can be read again, and an artifact that was computed from them."""
    in_use = (record for record in records if record.address.family != "quarantine")
    return {leaf: record for record in in_use for leaf in leaves_of(record) if not _is_unplaced(leaf)}


def _is_unplaced(leaf: Leaf) -> bool:
    """Whether a file of features was imported by an affstore that noted its name only."""
    return leaf.kind == "features" and not Path(leaf.name).is_absolute()


def _weights(leaf: Leaf, weights: WeightsFolder) -> Finding | None:
    what = f"weights {leaf.name}"
    where, how = f"in '{weights.root}'", "`affstore weights list` says how to get them"
    try:
        if leaf.name == DetectorSpec().name:
            where, how = "those of the package mtcnn that is installed", "install the release that found the faces"
            here = resolve(DetectorSpec()).weights_sha256 == leaf.digest
        else:
            here = bool(weights.load(leaf.digest))
    except WeightsMissingError:
        here = False
    except WeightsError as error:
        return Finding("altered", what, str(error))
    reason = (
        f"The parameters '{leaf.name}' ({leaf.digest[:12]}) are not {where}. What is stored can be read without, but "
        f"not computed again: {how}."
    )
    return None if here else Finding("missing", what, reason)


_OUTSIDE: Mapping[str, str] = {"crops": "crop folder", "features": "file of features", "annotation": "annotation"}


def _file(leaf: Leaf, record: Record) -> Finding | None:
    path, kind = Path(leaf.name), _OUTSIDE.get(leaf.kind, leaf.kind)
    try:
        if leaf.kind == "crops":
            digest = CropPictures(path, int(record.attributes["frames"])).digest_alone()
        else:
            digest = digest_file(path)
    except (OSError, MediaError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        return Finding("missing", leaf.name, f"The {kind} '{leaf.name}' cannot be read: {cause}.")
    if digest == leaf.digest:
        return None
    return Finding("altered", leaf.name, f"The {kind} '{leaf.name}' has other bytes than when it was added.")
