"""One page about a whole store, a publication or a run: offline, its graph walked by clicking, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from affstore import content_digest
from affstore.flows.provenance import marked
from affstore.flows.report.experiment_sections import three_decimals
from affstore.flows.report.pages import Cell, Script, Table, json_in_page, numbers, render
from affstore.store.contract.files import replacing
from affstore.store.contract.printable import printable, some
from affstore.store.contract.records import Record, least_trusted
from affstore.tasks.lineage.differences import ArtifactChange, Difference, score_text
from affstore.tasks.lineage.graph import leaves_of
from affstore.tasks.lineage.overview import Column, Cost, CoverageCell, Overview

_SHORT = 12
_WORDS = {"fresh": "✓", "none": "–"}


def write_store_report(found: Overview, path: Path) -> Path:
    """Write the page, whole or not at all; equal stores give equal bytes."""
    store = found.scope.store
    text = render(
        "store.html",
        title=found.scope.title,
        store=store.url,
        snapshot=store.snapshot,
        content=content_digest(store)[:16],
        notices=_notices(found),
        counts=_counts(found),
        columns=[_column_name(column) for column in found.columns],
        coverage=[_coverage_row(found, video, own) for video, own in found.coverage.items()],
        faults=_faults(found),
        metrics=_metrics(found.counted),
        drift_title=_drift_title(found),
        drift_counts=_drift_counts(found.drift),
        drift=_drift(found.drift),
        costs=_costs(found.costs),
        costs_note=_COSTS_NOTE,
        graph=json_in_page(_graph(found)),
        script=Script.of("store.js", "tables.js"),
    )
    with replacing(path) as new:
        new.write_bytes(text.encode("utf-8", "replace"))
    return path.resolve()


def _notices(found: Overview) -> list[str]:
    worst = least_trusted(record.provenance for record in found.counted)
    if worst in (None, "published"):
        return []
    return [f"Some of these numbers are of {marked(worst)} networks: they say nothing about the published models."]


# Coverage


def _column_name(column: Column) -> str:
    return column[1] or {"source": "video", "prediction": "predictions"}.get(column[0], column[0])


def _counts(found: Overview) -> str:
    counts = Counter(found.statuses[record.address.path].status for record in found.counted)
    missing = sum(cell.status == "missing" for own in found.coverage.values() for cell in own.values())
    kinds = [f"{count} {status}" for status, count in sorted(counts.items())]
    kinds += [f"{missing} missing"] if missing else []
    videos = sum(record.address.family == "source" for record in found.counted)
    return f"{len(found.counted)} artifacts, {videos} videos: {', '.join(kinds) or 'nothing'}."


def _coverage_row(found: Overview, video: str, own: Mapping[Column, CoverageCell]) -> dict[str, Any]:
    cells = [own.get(column, CoverageCell("none")) for column in found.columns]
    path = f"source/{video}" if f"source/{video}" in found.statuses else ""
    return {
        "video": video,
        "path": quote(path, safe=""),
        "whole": all(cell.status in ("fresh", "none") for cell in cells),
        "cells": [{"status": cell.status, "reason": cell.reason, "text": _cell_text(cell)} for cell in cells],
    }


def _cell_text(cell: CoverageCell) -> str:
    text = _WORDS.get(cell.status, cell.status)
    return f"{text} {cell.artifacts}" if cell.artifacts > 1 else text


def _faults(found: Overview) -> Table:
    """Why something is not fresh: a line for each reason, with the videos that have it."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for video, own in found.coverage.items():
        for column, cell in own.items():
            if cell.status not in ("fresh", "none"):
                reasons.setdefault((cell.status, _column_name(column), cell.reason), []).append(video)
    for record in found.counted:
        row = found.statuses[record.address.path]
        if not record.address.video and row.status != "fresh":
            reasons.setdefault((row.status, record.address.path, row.reason), [])
    rows = [
        (Cell(status, status), what, reason, *numbers([str(len(videos) or "")]), some(videos))
        for (status, what, reason), videos in sorted(reasons.items())
    ]
    return Table.of(("state", "what", "why", *numbers(["videos"]), "which"), rows)


# Metrics, drift, costs


def _metrics(records: Iterable[Record]) -> Table:
    rows = []
    for record in records:
        if record.address.family == "result":
            facts, scores = record.attributes, record.attributes["scores"]
            low, high = map(three_decimals, facts["interval"])
            value = Cell(three_decimals(scores["value"]), "number", note=f"[{low}, {high}]")
            name, _, protocol = record.address.producer.rpartition("@")
            link = Cell(name, link=f"at={quote(record.address.path, safe='')}")
            cells = (link, facts["task"], protocol, scores["headline"], value)
            rows.append((*cells, *numbers([str(scores.get("frames", ""))]), marked(record.provenance)))
    head = ("experiment", "task", "protocol", "measure", *numbers(["value", "frames"]), "weights")
    return Table.of(head, rows)


def _drift_title(found: Overview) -> str:
    before = found.scope.before
    if found.drift is None or before is None:
        return "There is no earlier generation in the history to compare with."
    tag = next((f"tag {tag}, " for tag, snapshot in before.tags().items() if snapshot == before.snapshot), "")
    return f"What changed since the generation before, {tag}snapshot {before.snapshot}."


def _drift_counts(drift: Difference | None) -> Table:
    kinds = ("added", "removed", "changed", "rewritten")
    counts = drift.counts().items() if drift else ()
    rows = [(family, *numbers(str(of[kind] or "") for kind in kinds)) for family, of in counts]
    return Table.of(("family", *numbers(kinds)), rows)


def _drift(drift: Difference | None) -> Table:
    """What changed and by how much; artifacts of one producer for which the same is to be said are one line."""
    rows = [
        (
            some([change.new.address.path for change in group]),
            "; ".join(group[0].reasons),
            "; ".join(_amounts(group[0])),
        )
        for group in (drift.alike() if drift else ())
    ]
    return Table.of(("artifact", "why", "by how much"), rows)


def _amounts(change: ArtifactChange) -> Iterator[str]:
    for name, (old, new) in change.scores.items():
        moved = f" ({new - old:+.4f})" if isinstance(old, float) and isinstance(new, float) else ""
        yield f"{name}: {score_text(old)} → {score_text(new)}{moved}"
    for one in change.arrays:
        yield (
            f"{one.array} {one.note}"
            if one.note
            else f"{one.array}: {one.rows} of {one.of} rows, at most {one.largest:.3g}"
        )


_COSTS_NOTE = (
    "Seconds are as the records say. The faces of a video and all networks on them share one pass, and each says how "
    "long that took: theirs must not be added up. Bytes are of the arrays before packing."
)


def _costs(costs: Iterable[Cost]) -> Table:
    head = ("family", "by", *numbers(["artifacts", "frames", "seconds", "ms a frame", "MB"]))
    return Table.of(head, [(cost.column[0], cost.column[1], *numbers(_amounts_of(cost))) for cost in costs])


def _amounts_of(cost: Cost) -> tuple[str, ...]:
    seconds = "" if cost.seconds is None else f"{cost.seconds:.1f}"
    per_frame = f"{1000 * cost.seconds / cost.frames:.2f}" if cost.seconds is not None and cost.frames else ""
    return (str(cost.artifacts), str(cost.frames or ""), seconds, per_frame, f"{cost.array_bytes / 1e6:.2f}")


# The graph


def _graph(found: Overview) -> dict[str, Any]:
    """Every artifact in a few numbers each: a thousand videos must fit into a page.

    A node is [group, video, subject, key, digest, time, parents, run, state, path]; the path only where it is not made
    of the parts.
    """
    groups, videos, runs = _Numbers(), _Numbers(), _Numbers()
    places = {record.address.path: place for place, record in enumerate(found.records)}
    gone = dict.fromkeys(p.path for r in found.records for p in r.parents if p.path not in places)
    places |= {path: len(found.records) + place for place, path in enumerate(gone)}
    nodes = []
    for record in found.records:
        address, state = record.address, found.statuses[record.address.path]
        group = groups.of((address.family, printable(address.producer).replace("/", "%2F")))
        video = videos.of(printable(address.video)) if address.video else -1
        said = "" if state.status == "fresh" else f"{state.status}: {printable(state.reason)}"
        parents = [places[parent.path] for parent in record.parents]
        facts = (
            record.key[:_SHORT],
            record.digest[:_SHORT],
            record.made_at,
            parents,
            runs.of(printable(record.run_id)),
        )
        nodes.append([group, video, address.subject, *facts, said])
    nodes += [
        [groups.of(("gone", "")), -1, "", "", "", "", [], -1, "not in this snapshot", printable(path)] for path in gone
    ]
    more = {place: list(_bytes_behind(record)) for place, record in enumerate(found.records)}
    start = next((r.address.path for r in found.records if r.address.family in ("result", "prediction")), "")
    return {
        "groups": groups.known(),
        "videos": videos.known(),
        "runs": runs.known(),
        "nodes": nodes,
        "more": {place: facts for place, facts in more.items() if facts},
        "start": printable(start),
    }


def _bytes_behind(record: Record) -> Iterator[tuple[str, str]]:
    """The bytes outside the store that an artifact was computed from."""
    for leaf in leaves_of(record):
        yield leaf.kind, f"{printable(leaf.name)}, sha256 {leaf.digest[:_SHORT]}"


class _Numbers:
    """Values by a number each, in the order in which they are met."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        """The number of a value."""
        return self._places.setdefault(value, len(self._places))

    def known(self) -> list[Any]:
        """The values in the order of their numbers."""
        return list(self._places)
