"""What stands on weights, a video, an annotation, a package's version, a run or a snapshot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SpecError, nearest
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import video_name
from affstore.store.contract.records import Address, Record
from affstore.store.engine.history import changes_by, commits
from affstore.tasks.lineage.graph import LineageGraph, by_family

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
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
        kind: `weights`, `video`, `annotation`, `crops`, `package`, `run`, `snapshot`, `producer` or `artifact`.
        snapshot: of the store that says so.
        direct: the artifacts that it had a part in without another one between.
        artifacts: those and all that was computed from them.
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
            digest; an annotation file or crop folder; `PACKAGE==VERSION`; a run; a snapshot or tag, for what its commit
            wrote; an extractor or experiment; or an artifact.

    Raises:
        NotFoundError: nothing in the store stands on anything called so.
        SpecError: several things are called so.
    """
    graph = LineageGraph(store.records())
    kind, direct = _direct(store, graph, what)
    found = _standing(graph, direct)
    return Impact(what, kind, store.snapshot, tuple(direct), tuple(found), tuple(_publications(store, graph, what)))


def _standing(graph: LineageGraph, direct: Sequence[Record]) -> list[Record]:
    reached = graph.downstream(direct) | {record.address.path: record for record in direct}
    return [reached[path] for path in sorted(reached)]


def _publications(store: FeatureStore, newest: LineageGraph, what: str) -> Iterator[Publication]:
    graphs = {store.snapshot: (store, newest)}
    for tag, snapshot in store.tags().items():
        if snapshot not in graphs:
            tagged = FeatureStore(store.url, tag)
            graphs[snapshot] = (tagged, LineageGraph(tagged.records()))
        tagged, graph = graphs[snapshot]
        try:
            _, direct = _direct(tagged, graph, what)
        except NotFoundError:
            continue
        found = _standing(graph, direct)
        experiments = {r.address.producer for r in found if r.address.family in ("prediction", "result")}
        yield Publication(tag, snapshot, len(found), tuple(sorted(experiments)))


def _direct(store: FeatureStore, graph: LineageGraph, what: str) -> tuple[str, list[Record]]:
    """What something is, and the artifacts that it had a part in."""
    for find in (_by_package, _by_path, _by_snapshot, _by_run, _by_video, _by_name, _by_digest, _by_file):
        kind, found = find(store, graph, what) if what else ("", [])
        if found:
            return kind, sorted(found, key=lambda record: record.address)
    raise NotFoundError(f"Nothing in the store at '{store.url}' stands on '{what}'. {_hint(graph, what)}")


_Found = tuple[str, list[Record]]


def _by_package(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    named = _PACKAGE.fullmatch(what)
    if named is None:
        return "package", []
    found = [record for record in graph.records.values() if record.code.get(named[1]) == named[2]]
    if not found:
        known = ", ".join(_versions(graph, named[1])) or "no version of it"
        raise NotFoundError(f"No artifact in the store at '{store.url}' was made with {what}; it knows {known}.")
    return "package", found


def _versions(graph: LineageGraph, package: str) -> list[str]:
    return sorted({f"{package}=={r.code[package]}" for r in graph.records.values() if package in r.code})


def _by_path(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    return "artifact", [graph.records[what]] if what in graph.records else []


def _by_snapshot(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    """What a commit wrote and is still there as it wrote it."""
    snapshot = store.tags().get(what, what)
    commit = next((one for one in commits(store) if one.snapshot == snapshot), None)
    if commit is None:
        return "snapshot", []
    then = FeatureStore(store.url, snapshot)
    written = [then.get(address) for address in changes_by(store, commit).written]
    found = [record for record in written if _same(graph.records.get(record.address.path), record)]
    if not found:
        raise NotFoundError(
            f"The commit of snapshot {snapshot} wrote {len(written)} artifacts, and none of them is in the store as it "
            "was then: nothing stands on it any more."
        )
    return "snapshot", found


def _same(now: Record | None, then: Record) -> bool:
    return now is not None and (now.key, now.digest, now.made_at) == (then.key, then.digest, then.made_at)


def _by_run(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    return "run", [record for record in graph.records.values() if record.run_id == what]


def _by_video(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    wanted = video_name(what)
    sources = [record for record in graph.records.values() if record.address.family == "source"]
    called = {video_name(record.address.video): record for record in sources}
    called = {video_name(a): record for record in sources for a in record.attributes["aliases"]} | called
    return "video", [called[wanted]] if wanted in called else []


def _by_name(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    """By the name of weights, or of an extractor, a detector, a head or an experiment."""
    records = graph.records.values()
    named = [r for r in records if any(leaf.kind == "weights" and leaf.name == what for leaf in graph.leaves(r))]
    produced = [record for record in records if record.address.producer == what]
    return ("producer", produced) if produced else ("weights", named)


def _by_digest(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    if not _DIGEST.fullmatch(what.lower()):
        return "weights", []
    return _matching(graph, what, lambda digest: digest.startswith(what.lower()))


def _matching(graph: LineageGraph, what: str, fits: Callable[[str], bool]) -> _Found:
    """The artifacts with a digest that fits: of bytes outside the store, of the arrays, or the key."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in graph.records.values():
        digests: set[tuple[str, str]] = {(leaf.kind, leaf.digest) for leaf in graph.leaves(record)}
        digests |= {("artifact", record.digest), ("artifact", record.key)}
        for kind, digest in digests:
            if fits(digest):
                found.setdefault((kind, digest), []).append(record)
    if len({digest for _, digest in found}) > 1:
        several = ", ".join(f"{kind} {digest[:16]}" for kind, digest in sorted(found))
        raise SpecError(f"'{what}' begins several digests: {several}. Give more of it.")
    kind, digest = max(found, default=("artifact", ""))
    return kind, found.get((kind, digest), [])


def _by_file(store: FeatureStore, graph: LineageGraph, what: str) -> _Found:
    """By a file or folder: where the store found it, else its bytes if it is here, else its name."""
    path, whole = Path(what), os.path.realpath(what)
    kind, records = _located(graph, lambda location: location == whole)
    if not records and path.is_file():
        digest = digest_file(path)
        kind, records = _matching(graph, what, lambda other: other == digest)
    if not records and what == path.name:
        kind, records = _located(graph, lambda location: Path(location).name == what)
    return kind, records


def _located(graph: LineageGraph, fits: Callable[[str], bool]) -> _Found:
    found: dict[str, list[Record]] = {}
    for record in graph.records.values():
        for leaf in graph.leaves(record):
            if leaf.kind != "weights" and fits(leaf.name):
                found.setdefault(leaf.kind, []).append(record)
    return next(iter(found.items()), ("video", []))


def _hint(graph: LineageGraph, what: str) -> str:
    versions = _versions(graph, what)
    if versions:
        return f"It is a package: name a version, as {versions[-1]}."
    records = graph.records.values()
    weights = {leaf.name for record in records for leaf in graph.leaves(record) if leaf.kind == "weights"}
    known = weights | {r.address.producer for r in records} | {r.address.video for r in records} | set(graph.records)
    near = nearest(what, sorted(known - {""}))
    if near:
        return f"Did you mean '{near}'?"
    return "Name weights, a video, an annotation file, PACKAGE==VERSION, a run, a snapshot, or an artifact."


def counts_of(records: Iterable[Record]) -> Mapping[Address, tuple[int, int]]:
    """How many artifacts there are of each family and producer, and of how many videos."""
    found: dict[Address, list[str]] = {}
    for record in records:
        video = "" if record.address.family == "quarantine" else record.address.video
        found.setdefault(Address(record.address.family, record.address.producer), []).append(video)
    return {place: (len(videos), len(set(videos) - {""})) for place, videos in sorted(found.items())}
