"""What a store, a publication or a run covers, what it cost, and what changed since the generation before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from affstore import FeatureStore
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.records import Address, Record
from affstore.store.engine.history import Commit, commits
from affstore.store.engine.sizes import array_bytes
from affstore.tasks.lineage.differences import Difference, difference
from affstore.tasks.plan_rows import Freshness, PlanRow
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile

Status = Literal["fresh", "missing", "stale", "quarantined", "none"]
"""As a plan says; `none` for labels that nobody gave."""

Column = tuple[str, str]
"""A family and a producer; all experiments are one column."""

_MOST_COMPARED = 200
"""Artifacts whose numbers are compared; of more, only scores and reasons are told."""

_STAGES: Mapping[str, str] = {"face": "pictures", "visual": "pictures", "audio": "sound", "label": "annotate"}
"""The stage in whose quarantine the reason stands why a video lacks artifacts of a family."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a report is about.

    Attributes:
        title: in words.
        store: at the state that is reported.
        before: the state of the generation before; None where there is none.
        run_id: the run whose artifacts are counted; empty for all.
    """

    title: str
    store: FeatureStore
    before: FeatureStore | None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class CoverageCell:
    """What a video has of one column.

    Attributes:
        status: the worst of its artifacts.
        reason: why it is not fresh.
        artifacts: how many there are.
    """

    status: Status
    reason: str = ""
    artifacts: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one producer took.

    Attributes:
        column: its family and name.
        artifacts: how many it made.
        frames: of all of them.
        seconds: that they say they took; None where none says so. The networks of one pass each say how long it took.
        array_bytes: of their arrays, unpacked.
    """

    column: Column
    artifacts: int
    frames: int
    seconds: float | None
    array_bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that a report says.

    Attributes:
        scope: what it is about.
        records: of the state that is reported.
        counted: those that the scope is about.
        statuses: of every artifact, by its path.
        columns: of the coverage, in order.
        coverage: what each video has of each column.
        costs: by producer.
        drift: what changed since the generation before; None without one.
    """

    scope: Scope
    records: Sequence[Record]
    counted: Sequence[Record]
    statuses: Mapping[str, PlanRow]
    columns: tuple[Column, ...]
    coverage: Mapping[str, Mapping[Column, CoverageCell]]
    costs: tuple[Cost, ...]
    drift: Difference | None


def scope_of(url: str, what: str = "", at: str | None = None) -> Scope:
    """What a text means: a tag, a run, or without one the whole store.

    Raises:
        NotFoundError: there is no such tag or run, or the tag was retracted.
        SpecError: the tag is of another state than `at`.
    """
    store = FeatureStore(url, at)
    if what in store.tags():
        if at is not None and store.tags()[what] != store.snapshot:
            raise SpecError(f"The tag '{what}' and --at '{at}' name two states of the store. Leave one of them out.")
        store = store.state(what)
    history = list(commits(store))
    if not what:
        return Scope(f"affstore: {url}", store, _earlier(store, history))
    if what in store.tags():
        return Scope(f"affstore publication {what}", store, _earlier(store, history))
    own = [commit for commit in history if commit.run_id == what]
    if not own:
        store.check_not_retracted(what)
        known = {*store.tags(), *(commit.run_id for commit in history if commit.run_id)}
        raise NotFoundError.of(url, "tag and no run", what, known, "`affstore log` lists runs and tags.")
    before = _opened(store, history, own[-1].parent)
    return Scope(f"affstore run {what}", FeatureStore(url, own[0].snapshot), before, what)


def _earlier(store: FeatureStore, history: Sequence[Commit]) -> FeatureStore | None:
    """The newest tagged state before this one; without one, the state before the newest run; None before the first."""
    tagged = set(store.tags().values()) - {store.snapshot}
    newest = history[0].run_id
    fallback = next((commit.snapshot for commit in history[1:] if commit.run_id != newest), "")
    snapshot = next((commit.snapshot for commit in history if commit.snapshot in tagged), fallback)
    return _opened(store, history, snapshot)


def _opened(store: FeatureStore, history: Sequence[Commit], snapshot: str | None) -> FeatureStore | None:
    """An earlier state; None for the engine's first snapshot, which is no feature store yet."""
    known = {commit.snapshot for commit in history if commit.parent is not None}
    return store.state(snapshot) if snapshot in known else None


def overview(scope: Scope) -> Overview:
    """Look at a state of a store as its records tell it; arrays are read only where numbers are compared."""
    records = scope.store.records()
    counted = [record for record in records if scope.run_id in ("", record.run_id)]
    asked_by_parents_alone = Profile(DetectorSpec(), TrackingSpec(), ())
    statuses = {row.address.path: row for row in plan(records, asked_by_parents_alone)}
    columns = _columns(counted)
    return Overview(
        scope,
        records,
        counted,
        statuses,
        columns,
        _coverage(counted, columns, statuses),
        _costs(counted, array_bytes(scope.store)),
        _drift(scope),
    )


def column_of(address: Address) -> Column:
    """The column of coverage that an artifact of a video counts in."""
    return (address.family, "" if address.family in ("source", "prediction") else address.producer)


def _columns(records: Iterable[Record]) -> tuple[Column, ...]:
    order = ("source", "face", "visual", "audio", "label", "prediction")
    found = {column_of(record.address) for record in records if record.address.family in order}
    return tuple(sorted(found, key=lambda column: (order.index(column[0]), column[1])))


def _coverage(
    records: Sequence[Record], columns: Sequence[Column], statuses: Mapping[str, PlanRow]
) -> dict[str, dict[Column, CoverageCell]]:
    rows: dict[str, dict[Column, list[PlanRow]]] = {}
    refused: dict[tuple[str, str], str] = {}
    for record in records:
        address = record.address
        if address.family == "quarantine":
            refused[address.producer, str(record.attributes["name"])] = str(record.attributes["reason"])
        elif address.video:
            rows.setdefault(address.video, {}).setdefault(column_of(address), []).append(statuses[address.path])
    reasons = {(stage, Path(name).stem): reason for (stage, name), reason in refused.items()} | refused
    covered = {
        video: {column: _cell(column, own.get(column, []), reasons, video) for column in columns}
        for video, own in rows.items()
    }
    of_videos = {(stage, video) for video in rows for stage in _STAGES.values()}
    for (stage, name), reason in refused.items():
        if (stage, name) not in of_videos and (stage, Path(name).stem) not in of_videos:
            covered[name] = {("source", ""): CoverageCell("quarantined", f"{stage}: {reason}")}
    return dict(sorted(covered.items()))


_WORST: tuple[Freshness, ...] = ("quarantined", "stale", "missing", "fresh")


def _cell(column: Column, rows: Sequence[PlanRow], reasons: Mapping[tuple[str, str], str], video: str) -> CoverageCell:
    if rows:
        worst = min(rows, key=lambda row: _WORST.index(row.status))
        return CoverageCell(worst.status, worst.reason, len(rows))
    reason = reasons.get((_STAGES.get(column[0], ""), video))
    if reason:
        return CoverageCell("quarantined", reason)
    return (
        CoverageCell("none", "no labels were given")
        if column[0] == "label"
        else CoverageCell("missing", "not computed")
    )


def _costs(records: Sequence[Record], sizes: Mapping[Address, int]) -> tuple[Cost, ...]:
    groups: dict[Column, list[Record]] = {}
    for record in records:
        if record.address.family != "quarantine":
            several = record.address.family in ("head", "result", "prediction")
            groups.setdefault((record.address.family, "" if several else record.address.producer), []).append(record)
    return tuple(
        Cost(
            column,
            len(group),
            sum(int(record.attributes.get("frames", 0)) for record in group),
            _seconds(group),
            sum(sizes.get(record.address, 0) for record in group),
        )
        for column, group in sorted(groups.items())
    )


def _seconds(records: Iterable[Record]) -> float | None:
    known = [float(record.made["elapsed_s"]) for record in records if record.made.get("elapsed_s") is not None]
    return sum(known) if known else None


def _drift(scope: Scope) -> Difference | None:
    if scope.before is None:
        return None
    found = difference(scope.before, scope.store)
    if sum(change.has_other_numbers for change in found.changed) > _MOST_COMPARED:
        return found
    return difference(scope.before, scope.store, numbers=True)
