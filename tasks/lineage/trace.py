"""The way from a row back to bytes: prediction, head and its training data, features, weights, face, video, label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from affstore import FeatureStore
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address, Record, least_trusted
from affstore.store.engine.history import Commit, commit_of
from affstore.store.engine.reading import read_clock
from affstore.tasks.ingest.sources import file_at_hand
from affstore.tasks.lineage.graph import Leaf, LineageGraph, Link, learns_nothing, with_ancestors
from affstore.tasks.lineage.rows import Row
from affstore.tasks.lineage.run_note import read_note

_LINE_A_FRAME = "abaw"
"""The format of annotations that have a line a frame."""

_FIRST_DATA_LINE = 2
"""An annotation's line 1 is its header, and line 2 speaks of the first frame."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of the way.

    Attributes:
        name: unique in a trace: an artifact's path, `FAMILY/PRODUCER (COUNT) #ID` of several, or a leaf's digest.
        kind: `artifact`, `artifacts`, `video`, `annotation`, `crops` or `weights`.
        facts: what is known of it.
        parents: names of the nodes that it was computed from.
    """

    name: str
    kind: str
    facts: Mapping[str, Any]
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A row and all that it stands on.

    Attributes:
        row: what was traced.
        snapshot: of the store that says so.
        instant: of the row's frame: number, image, pts, time base and seconds; empty for a whole artifact.
        root: name of the row's own node.
        nodes: every step by its name, the row's own first.
        label: name of the node of what an annotator says of the row's frame; None without one.
        gaps: sentences that say where the way is broken.
        runs: every run that wrote something of it: when it was and on which machine; None where that is not known.
    """

    row: Row
    snapshot: str
    instant: Mapping[str, Any]
    root: str
    nodes: Mapping[str, Node]
    label: str | None = None
    gaps: tuple[str, ...] = field(default=())
    runs: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """The trace as plain values, for other programs."""
        return {
            "artifact": self.row.address.path,
            "snapshot": self.snapshot,
            "published": asdict(self.row.published) if self.row.published else None,
            "frame": dict(self.instant) or None,
            "label": self.label,
            "nodes": [
                {"name": node.name, "kind": node.kind, **node.facts, "parents": list(node.parents)}
                for node in self.nodes.values()
            ],
            "gaps": list(self.gaps),
            "runs": {run_id: dict(told) if told else None for run_id, told in self.runs.items()},
        }


def trace(store: FeatureStore, row: Row, runs: Path | None = None) -> Trace:
    """Follow a row back to the bytes that it came from.

    Args:
        store: at the snapshot that the row is in.
        row: as `find_row` gives it.
        runs: the folder of the store's runs, whose records say on which machine they were; it may be gone.
    """
    found = _Tracer(store, row).trace()
    names = {
        name
        for node in found.nodes.values()
        for name in (node.facts.get("run_id"), *node.facts.get("runs", ()))
        if name
    }
    return replace(found, runs={name: _run_facts(runs, name) if runs else None for name in sorted(names)})


def _run_facts(runs: Path, run_id: str) -> dict[str, Any] | None:
    """When a run was, how long, and on which machine; None where no note says so."""
    if Path(run_id).name != run_id:  # of a store that somebody else wrote: no way out of the folder
        return None
    note = read_note(runs / run_id)
    if note is None or note.machine is None:
        return None
    facts = {"began": note.began, "seconds": note.seconds, "command": note.command}
    return {**facts, "machine": dict(note.machine), "other_workers": note.other_workers}


class _Tracer:
    """Builds the nodes of one trace. Artifacts of one family and producer are one node where they are several."""

    def __init__(self, store: FeatureStore, row: Row) -> None:
        self._store, self._row = store, row
        self._nodes: dict[str, Node] = {}

    def trace(self) -> Trace:
        root = self._graph.records[self._row.address.path]
        name = self._node([root])
        label = self._label()
        nodes = {found: self._nodes[found] for found in (name, *(other for other in self._nodes if other != name))}
        gaps = tuple(self._graph.gaps(root))
        return Trace(self._row, self._store.snapshot, self._instant(), name, nodes, label, gaps)

    @cached_property
    def _graph(self) -> LineageGraph:
        row = self._store.get(self._row.address)
        beside = [Address("source", video=row.address.video)] if row.address.video else []
        if row.address.family == "prediction":
            beside.append(Address("label", str(row.attributes["task"]), row.address.video, row.address.subject))
        return LineageGraph(with_ancestors(self._store, [row, *self._store.find_all(beside)]))

    def _instant(self) -> dict[str, Any]:
        frame, video = self._row.frame, self._row.address.video
        if frame is None or self._source is None:
            return {}
        clock = read_clock(self._store, video)
        ends = int(clock.pts[frame + 1]) if frame + 1 < len(clock) else clock.end_pts
        return {
            "number": frame,
            "image": f"{frame + 1:05d}.jpg",
            "pts": int(clock.pts[frame]),
            "time_base": str(clock.time_base),
            "starts_s": float(clock.pts[frame] * clock.time_base),
            "ends_s": float(ends * clock.time_base),
        }

    @property
    def _source(self) -> Record | None:
        return self._graph.records.get(Address("source", video=self._row.address.video).path)

    def _label(self) -> str | None:
        """What an annotator says of the row's frame, where the store has it; no prediction depends on it."""
        row, record = self._row.address, self._graph.records[self._row.address.path]
        if self._row.frame is None or row.family != "prediction":
            return None
        path = Address("label", str(record.attributes["task"]), row.video, row.subject).path
        label = self._graph.records.get(path)
        return self._node([label]) if label is not None else None

    # Nodes

    def _node(self, records: Sequence[Record], links: Sequence[Link] = ()) -> str:
        """Make the node of artifacts of one family and producer, with all that they stand on; gives its name."""
        name = _name_of(records)
        if name not in self._nodes:
            self._nodes[name] = Node(name, "", {})  # in the order in which they are met
            facts = self._one(records[0]) if len(records) == 1 else self._several(records)
            parents = (*self._parents(records), *self._leaves(records))
            kind = "artifact" if len(records) == 1 else "artifacts"
            self._nodes[name] = Node(name, kind, facts | _states(links), parents)
        return name

    def _parents(self, records: Sequence[Record]) -> Iterator[str]:
        """The nodes of what artifacts were computed from; a source that others of them name is left to those."""
        groups: dict[tuple[str, str], dict[str, Link]] = {}
        for record in records:
            for link in self._graph.links(record):
                address = link.record.address if link.record else None
                place = (address.family, address.producer) if address else (link.parent.path, "")
                groups.setdefault(place, {}).setdefault(link.parent.path, link)
        direct = [link.record for group in groups.values() for link in group.values() if link.record is not None]
        behind = {parent.path for record in direct for parent in record.parents}
        for _, group in sorted(groups.items(), key=lambda item: _ORDER.get(item[0][0], len(_ORDER))):
            found = [link.record for link in group.values() if link.record is not None]
            if not found:
                yield from (self._missing(link) for link in group.values())
            elif found[0].address.family != "source" or not all(record.address.path in behind for record in found):
                yield self._node(found, tuple(group.values()))

    def _missing(self, link: Link) -> str:
        facts = {"key": link.parent.key, "digest": link.parent.digest, "state": "missing"}
        self._nodes[link.parent.path] = Node(link.parent.path, "artifact", facts)
        return link.parent.path

    def _leaves(self, records: Sequence[Record]) -> Iterator[str]:
        """The bytes behind artifacts: each weights file, and the video, crop folder or annotation of a single one."""
        leaves = {leaf.digest: leaf for record in records for leaf in self._graph.leaves(record)}
        for leaf in leaves.values():
            if leaf.kind == "weights" or len(records) == 1:
                name = f"{leaf.kind}:{leaf.digest}"
                self._nodes.setdefault(name, Node(name, leaf.kind, self._leaf_facts(leaf, records[0])))
                yield name

    def _leaf_facts(self, leaf: Leaf, record: Record) -> dict[str, Any]:
        if leaf.kind == "weights":
            return {"weights": leaf.name, "sha256": leaf.digest, "provenance": leaf.provenance or None}
        facts: dict[str, Any] = {"location": leaf.name, "sha256": leaf.digest}
        if leaf.kind == "video":
            facts |= {"bytes": record.attributes.get("bytes"), "at_hand": file_at_hand(record) is not None}
        if leaf.kind == "annotation":
            form = record.recipe.get("format", _LINE_A_FRAME)
            has_line = record.address.video == self._row.address.video and form == _LINE_A_FRAME
            facts |= {"format": form, **_annotation_facts(leaf, self._row.frame if has_line else None)}
        return facts

    def _one(self, record: Record) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "key": record.key,
            "digest": record.digest,
            "made_at": record.made_at,
            "run_id": record.run_id,
            "provenance": record.provenance,
            "made": dict(record.made),
            "code": dict(record.code),
        }
        if record.address.path == self._row.address.path or record.address.family in ("head", "result"):
            facts |= {"committed": _commit_facts(commit_of(self._store, record), record)}
        if record.address.family == "head":
            facts |= {"scores": record.attributes["scores"], "learns_nothing": learns_nothing(record)}
        if record.address.family == "prediction" and "chosen" in record.recipe.get("finish", {}):
            # Takes 70 ms to import, and few traces need it.
            from affstore.tasks.lineage.head_post_processing import post_processing_behind

            facts |= {"post_processing": post_processing_behind(self._store, record)}
        if record.address.family == "label":
            facts |= {"split": record.attributes["split"]}
        frame = self._row.frame
        if frame is not None and record.address.video == self._row.address.video and "frames" in record.attributes:
            values = self._values(record, frame)
            facts |= {"at_frame": values} if values else {}
        return facts

    def _several(self, records: Sequence[Record]) -> dict[str, Any]:
        """What is known of many artifacts of one family and producer together."""
        facts: dict[str, Any] = {
            "count": len(records),
            "videos": len({record.address.video for record in records}),
            "provenance": least_trusted(record.provenance for record in records),
            "runs": sorted({record.run_id for record in records}),
        }
        splits = [record.attributes["split"] for record in records if "split" in record.attributes]
        if splits:
            facts |= {"splits": {split: splits.count(split) for split in sorted(set(splits))}}
        members = []
        for record in records:
            files = [leaf for leaf in self._graph.leaves(record) if leaf.kind != "weights"]
            bytes_of = {"bytes_sha256": files[0].digest, "location": files[0].name} if files else {}
            members.append({"artifact": record.address.path, "key": record.key, "digest": record.digest, **bytes_of})
        return facts | {"members": members}

    def _values(self, record: Record, frame: int) -> dict[str, Any]:
        """The small arrays of an artifact at one frame; embeddings are left out."""
        wanted = [name for name in self._store.array_names(record.address) if name not in _TOO_WIDE]
        arrays = self._store.read(record.address, wanted, slice(frame, frame + 1))
        values = {name: array[0].tolist() for name, array in arrays.items()}
        decision = "prediction" if "prediction" in values else "value" if "known" in values else ""
        if decision:
            values["says"] = _in_words(record, values[decision], values.get("known"))
        return values


_ORDER = {
    name: place for place, name in enumerate(("prediction", "head", "visual", "audio", "face", "label", "source"))
}
_TOO_WIDE = ("embedding", "logits", "pts", "time_s")


def _name_of(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return records[0].address.path
    own = hashlib.sha256("\n".join(sorted(f"{one.address.path} {one.key}" for one in records)).encode()).hexdigest()[:8]
    return f"{records[0].address.place} ({len(records)}) #{own}"


def _states(links: Sequence[Link]) -> dict[str, Any]:
    """How many of the artifacts behind a node are not what they were when the next one was computed from them."""
    changed = [link.parent.path for link in links if link.state != "current"]
    return {"changed_since": changed} if changed else {}


def _commit_facts(commit: Commit | None, record: Record) -> dict[str, Any] | None:
    """Where an artifact was committed; the snapshot before is the state that it was computed from.

    That is so of the commit of the run that made it alone: a rollback, a copy or an import brings what was made before.
    """
    if commit is None:
        return None
    made_there = bool(commit.run_id) and commit.run_id == record.run_id
    return {
        "snapshot": commit.snapshot,
        "from_snapshot": commit.parent if made_there else None,
        "time": commit.time,
        "message": commit.message,
    }


def _annotation_facts(leaf: Leaf, frame: int | None) -> dict[str, Any]:
    """The line of an annotation file that speaks of a frame, read again where the file is as it was."""
    path = Path(leaf.name)
    at_hand = path.is_file() and digest_file(path) == leaf.digest
    if frame is None:
        return {"at_hand": at_hand}
    line = frame + _FIRST_DATA_LINE
    text = None
    if at_hand:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = next(islice(file, line - 1, None), "").strip() or None
    return {"at_hand": at_hand, "line": line, "text": text}


def _in_words(record: Record, values: Iterable[Any], known: Iterable[bool] | None) -> str:
    """A decision or a label as a person reads it."""
    names, numbers = list(record.attributes["labels"]), list(values)
    sure = list(known) if known is not None else [True] * len(numbers)
    if len(numbers) == 1 and len(names) > 1:
        return str(names[int(numbers[0])]) if sure[0] else "not known"
    if all(isinstance(number, int) for number in numbers):
        told = [name for name, number, is_known in zip(names, numbers, sure, strict=True) if number and is_known]
        return ", ".join(told) or ("none" if any(sure) else "not known")
    told = [
        f"{name} {np.round(number, 4):g}" if is_known else f"{name} not known"
        for name, number, is_known in zip(names, numbers, sure, strict=True)
    ]
    return ", ".join(told)
