"""One page that says what a run did: offline, from no network."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.report.experiment_report import RunFacts, write_experiment_report
from affstore.flows.report.faces import faces_of
from affstore.flows.report.pages import Cell, Table
from affstore.store.contract.printable import lasting
from affstore.tasks.lineage.run_note import Circumstances

if TYPE_CHECKING:
    from affstore.flows.request import RunResult

_MARKED = ("quarantined", "failed", "cached")


def write_report(result: RunResult, when: Circumstances, videos: Collection[str] | None) -> Path:
    """Write `report.html`: every experiment with its figures, what was published, and every outcome with its reason.

    Args:
        result: what the run did.
        when: it was, how long, and where.
        videos: those that the run was about, of some of which faces are shown; all of the store's if None.

    Returns:
        The page.
    """
    request = result.request
    context, store = request.context, request.context.store()
    facts = RunFacts(
        title=f"affstore run {context.run_id}",
        store=context.store_url,
        snapshot=result.snapshot,
        tag=result.tag,
        weights=request.profile.provenance,
        corpus=sorted({str(Path(r.attributes["location"]).parent) for r in store.records("source")}),
        code=context.code,
        brief=request.brief,
        notes=request.notes,
        published=[str(path) for path in result.published],
        outcomes=_outcomes(result),
        circumstances=_circumstances(when),
        faces=faces_of(store, videos),
    )
    return write_experiment_report(result.experiments, request.report_folder, facts)


def _circumstances(found: Circumstances) -> str:
    begun = found.begun_at.replace("T", " ").removesuffix("+00:00")
    others = "; tasks ran in other processes, which may be on other machines" if found.other_workers else ""
    return f"Begun {begun} UTC, took {lasting(found.seconds)}, on {found.machine}{others}."


def _outcomes(result: RunResult) -> Table:
    order = {"quarantined": 0, "failed": 1, "postponed": 2, "done": 3, "cached": 4}
    outcomes = sorted(result.outcomes, key=lambda o: (order[o.status], o.stage, o.subject))
    rows = [(o.stage, o.subject, Cell(o.status, o.status if o.status in _MARKED else ""), o.reason) for o in outcomes]
    return Table.of(("stage", "what", "outcome", "reason"), rows)
