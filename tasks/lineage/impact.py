"""What stands on weights, a video, an annotation, a package's version, a git commit, a run or a snapshot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SchemaError, SpecError, nearest
from affstore.store.contract.keys import digest_file
from affstore.store.contract.printable import some
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import families
from affstore.store.engine.history import changes_by, commits
from affstore.store.engine.reading import find_address, find_source
from affstore.tasks.lineage.graph import Leaf, LineageGraph, by_family, leaves_of

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_NAMED = 6
"""Files that one name stands for, of which a message tells the places."""
_PACKAGE = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


@dataclass(frozen=True, slots=True)
class Publication:
    """A tagged snapshot, and what of it stands on something.

    Attributes:
        tag: its name.
        snapshot: that it names.
        artifacts: how many of the snapshot's artifacts stand on it.
        experiments: those whose predictions or results do.
    """

    tag: str
    snapshot: str
    artifacts: int
    experiments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """Everything that stands on something.

    Attributes:
        what: as it was named.
        kind: `weights`, `video`, `annotation`, `crops`, `package`, `commit`, `run`, `snapshot`, `producer` or
            `artifact`.
        snapshot: of the store that says so.
        direct: the artifacts that it had a part in without another one between.
        artifacts: those and all that was computed from them, or with what was chosen in a result among them.
        publications: the tagged snapshots that hold some such artifact.
    """

    what: str
    kind: str
    snapshot: str
    direct: tuple[Record, ...]
    artifacts: tuple[Record, ...]
    publications: tuple[Publication, ...]

    def as_document(self) -> dict[str, Any]:
        """The impact as plain values, for other programs."""
        return {
            "what": self.what,
            "kind": self.kind,
            "snapshot": self.snapshot,
            "families": by_family(self.artifacts),
            "direct": [record.address.path for record in self.direct],
            "artifacts": [
                {"artifact": r.address.path, "key": r.key, "digest": r.digest, "made_at": r.made_at, "run_id": r.run_id}
                for r in self.artifacts
            ],
            "publications": [
                {"tag": p.tag, "snapshot": p.snapshot, "artifacts": p.artifacts, "experiments": list(p.experiments)}
                for p in self.publications
            ],
        }


def impact(store: FeatureStore, what: str) -> Impact:
    """Find everything that stands on something.

    Args:
        store: an open store.
        what: name or SHA-256 of weights (8 letters are enough, as for every digest); a video, by name, alias, file or
            digest; an annotation file or crop folder; `PACKAGE==VERSION`; a git commit of affstore; a run; a snapshot
            or tag, for what its commit wrote; an extractor or experiment, alone or as FAMILY/NAME; or an artifact.

    Raises:
        NotFoundError: nothing in the store stands on anything called so, or it is a tag that was retracted.
        SpecError: several things are called so.
    """
    kind, direct = _direct(store, what)
    publications = tuple(_publications(store, direct, what, kind))
    return Impact(what, kind, store.snapshot, tuple(direct), tuple(_standing(store, direct)), publications)


_STAGES: Mapping[str, int] = {"source": 0, "face": 1, "label": 1, "visual": 2, "audio": 2}
"""When artifacts of a family are made: from ones of the same video that were made before. All others come last, and may
be made from any."""
_LAST = 3


def _standing(store: FeatureStore, direct: Sequence[Record]) -> list[Record]:
    """Those artifacts, all that was computed from them and what these chose numbers for; what cannot be is not read."""
    first = min(_STAGES.get(record.address.family, _LAST) for record in direct)
    videos = {record.address.video for record in direct}
    later = {family: stage for family in families() if (stage := _STAGES.get(family, _LAST)) > min(first, _LAST - 1)}
    known = {record.address for record in direct}
    may = [one for one in store.addresses(*later) if later[one.family] == _LAST or one.video in videos]
    others = [one for one in may if one not in known]
    graph = LineageGraph([*direct, *store.find_all(others)])
    further = graph.downstream(direct) if others else {}
    reached = further | {record.address.path: record for record in direct}
    tuned = _tuned_by(store, reached, graph.records.values())
    reached |= {record.address.path: record for record in tuned} | graph.downstream(tuned)
    return [reached[path] for path in sorted(reached)]


def _tuned_by(store: FeatureStore, reached: Mapping[str, Record], records: Iterable[Record]) -> list[Record]:
    """The predictions that hold what was chosen in results; their records have the numbers, and no link to these."""
    of: dict[str, list[Record]] = {}
    if any(record.address.family == "result" for record in reached.values()):
        for record in records:
            if record.address.family == "prediction" and record.address.path not in reached:
                of.setdefault(record.address.producer, []).append(record)
    if not of:
        return []
    # These take 50 ms to import, and are seldom needed.
    from affstore.tasks.lineage.head_post_processing import holds_what_was_chosen
    from affstore.tasks.lineage.stored_heads import result_of

    found = []
    for producer, predictions in of.items():
        result = result_of(store, producer)
        if result is not None and result.address.path in reached:
            found += [one for one in predictions if holds_what_was_chosen(one, result)]
    return found


def _publications(store: FeatureStore, newest: Sequence[Record], what: str, kind: str) -> Iterator[Publication]:
    for tag, snapshot in store.tags().items():
        tagged, direct = store, newest
        if snapshot != store.snapshot:
            tagged = store.state(tag)
            try:
                _, direct = _direct(tagged, what, kind)
            except NotFoundError:
                continue
        found = _standing(tagged, direct)
        experiments = {r.address.producer for r in found if r.address.family in ("prediction", "result")}
        yield Publication(tag, snapshot, len(found), tuple(sorted(experiments)))


def _direct(store: FeatureStore, what: str, meant: str = "") -> tuple[str, list[Record]]:
    """What something is, and the artifacts that it had a part in; of what is called so, only one kind if it is meant.

    Raises:
        NotFoundError: nothing is called so.
        SpecError: several things are.
    """
    named: dict[str, list[Record]] = {}
    for find in (find for kind, find in _BY_NAME.items() if meant in ("", kind)):
        kind, found = find(store, what) if what else ("", [])
        if found:
            named[kind] = sorted(found, key=lambda record: record.address)
    if len(named) > 1 and len({tuple(record.address for record in found) for found in named.values()}) > 1:
        raise _several(store, what, named)
    if named:
        return next(iter(named.items()))
    for find in _BY_BYTES:
        kind, found = find(store, what) if what else ("", [])
        if found and meant in ("", kind):
            return kind, sorted(found, key=lambda record: record.address)
    store.check_not_retracted(what)
    raise NotFoundError(f"Nothing in the store at '{store.url}' stands on '{what}'. {_hint(store, what)}")


def _several(store: FeatureStore, what: str, named: Mapping[str, Sequence[Record]]) -> SpecError:
    """The error for a name of several things, with names that each only one of them has."""
    ways = []
    for kind, found in named.items():
        places = {record.address.place.path for record in found}
        own = {"snapshot": [store.tags().get(what, what)], "producer": sorted(places)}
        ways.append(f"the {kind} {' or '.join(own.get(kind, [record.address.path for record in found]))}")
    return SpecError(
        f"'{what}' stands for {len(ways)} things in the store at '{store.url}': {', '.join(ways)}. Name one so."
    )


_Found = tuple[str, list[Record]]


def _by_package(store: FeatureStore, what: str) -> _Found:
    named = _PACKAGE.fullmatch(what)
    if named is None:
        return "package", []
    found = [record for record in store.mentioning(named[1]) if record.code.get(named[1]) == named[2]]
    if not found:
        known = ", ".join(_versions(store.records(), named[1])) or "no version of it"
        raise NotFoundError(f"No artifact in the store at '{store.url}' was made with {what}; it knows {known}.")
    return "package", found


def _versions(records: Iterable[Record], package: str) -> list[str]:
    return sorted({f"{package}=={record.code[package]}" for record in records if package in record.code})


def _by_path(store: FeatureStore, what: str) -> _Found:
    try:
        return "artifact", store.find_all([find_address(store, what)])
    except SchemaError:
        return "artifact", []


def _by_snapshot(store: FeatureStore, what: str) -> _Found:
    """What a commit wrote and is still there as it wrote it."""
    snapshot = store.tags().get(what, what)
    commit = next((one for one in commits(store) if one.snapshot == snapshot), None)
    if commit is None:
        return "snapshot", []
    then = store.state(snapshot)
    written = then.find_all(changes_by(store, commit).written)
    now = {record.address: record for record in store.find_all(record.address for record in written)}
    found = [now[record.address] for record in written if _same(now.get(record.address), record)]
    if not found:
        raise NotFoundError(
            f"The commit of snapshot {snapshot} wrote {len(written)} artifacts, and none of them is in the store as it "
            "was then: nothing stands on it any more."
        )
    return "snapshot", found


def _same(now: Record | None, then: Record) -> bool:
    return now is not None and (now.key, now.digest, now.made_at) == (then.key, then.digest, then.made_at)


def _by_video(store: FeatureStore, what: str) -> _Found:
    """By a video's name or an alias."""
    try:
        return "video", [find_source(store, what)]
    except NotFoundError:
        return "video", []


def _by_producer(store: FeatureStore, what: str) -> _Found:
    """By the name of an extractor, a detector, a head or an experiment, alone or behind its family's."""
    named = (
        one
        for one in store.addresses()
        if one.producer and what in (one.producer, one.place.path, f"{one.family}/{one.producer}")
    )
    return "producer", store.find_all(named)


def _by_run(store: FeatureStore, what: str) -> _Found:
    return "run", [record for record in store.mentioning(what) if record.run_id == what]


def _by_weights(store: FeatureStore, what: str) -> _Found:
    found = store.mentioning(what)
    return "weights", [r for r in found if any(leaf.kind == "weights" and leaf.name == what for leaf in leaves_of(r))]


def _by_digest(store: FeatureStore, what: str) -> _Found:
    return _matching(store, what, what.lower()) if _DIGEST.fullmatch(what.lower()) else ("weights", [])


def _matching(store: FeatureStore, what: str, begin: str) -> _Found:
    """The artifacts with a digest that begins so: of bytes outside the store, of the arrays, the key, or the commit."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in store.mentioning(begin):
        digests: set[tuple[str, str]] = {(leaf.kind, leaf.digest) for leaf in leaves_of(record)}
        digests |= {("artifact", record.digest), ("artifact", record.key), ("commit", record.code.get("commit", ""))}
        for kind, digest in digests:
            if digest.startswith(begin):
                found.setdefault((kind, digest), []).append(record)
    if len({digest for _, digest in found}) > 1:
        several = ", ".join(f"{kind} {digest[:16]}" for kind, digest in sorted(found))
        raise SpecError(f"'{what}' begins several digests: {several}. Give more of it.")
    kind, digest = max(found, default=("artifact", ""))
    return kind, found.get((kind, digest), [])


def _by_file(store: FeatureStore, what: str) -> _Found:
    """By a file or folder: where the store found it, else its bytes if it is here, else its name."""
    path, whole = Path(what), os.path.realpath(what)
    kind, records = _located(store, whole, lambda location: location == whole)
    if not records and path.is_file():
        kind, records = _matching(store, what, digest_file(path))
    if not records and what == path.name:
        kind, records = _located(store, what, lambda location: Path(location).name == what)
    return kind, records


def _located(store: FeatureStore, text: str, fits: Callable[[str], bool]) -> _Found:
    """The artifacts that were read from the one file or folder whose place fits."""
    found: dict[Leaf, list[Record]] = {}
    for record in store.mentioning(text):
        for leaf in leaves_of(record):
            if leaf.kind != "weights" and fits(leaf.name):
                found.setdefault(leaf, []).append(record)
    if len({leaf.digest for leaf in found}) > 1:
        several = [f"{leaf.kind} '{leaf.name}' (sha256 {leaf.digest[:16]})" for leaf in found]
        raise SpecError(
            f"'{text}' stands for {len(several)} files in the store at '{store.url}': {some(several, _NAMED)}. "
            "Name one by its path or digest."
        )
    records = {record.address: record for own in found.values() for record in own}
    return next(iter(found)).kind if found else "video", list(records.values())


_BY_NAME: Mapping[str, Callable[[FeatureStore, str], _Found]] = {
    "package": _by_package,
    "artifact": _by_path,
    "snapshot": _by_snapshot,
    "producer": _by_producer,
    "video": _by_video,
}
_BY_BYTES = (_by_run, _by_weights, _by_digest, _by_file)
"""These look through every record's bytes, so only where nothing is called so."""


def _hint(store: FeatureStore, what: str) -> str:
    records = store.records()
    versions = _versions(records, what)
    if versions:
        return f"It is a package: name a version, as {versions[-1]}."
    known = {leaf.name for record in records for leaf in leaves_of(record) if leaf.kind == "weights"}
    for address in store.addresses():
        known |= {address.producer, address.video, address.path}
    near = nearest(what, sorted(known - {""}))
    if near:
        return f"Did you mean '{near}'?"
    return (
        "Name weights, a video, an annotation file, PACKAGE==VERSION, a git commit, a run, a snapshot, or an artifact."
    )


def counts_of(records: Iterable[Record]) -> Mapping[Address, tuple[int, int]]:
    """How many artifacts there are of each family and producer, and of how many videos."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in records:
        one = record.address
        found.setdefault((one.family, one.producer), []).append("" if one.family == "quarantine" else one.video)
    return {Address(*place): (len(videos), len(set(videos) - {""})) for place, videos in sorted(found.items())}
