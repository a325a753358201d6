"""One page that says what a run did: offline, from no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.report.experiment_report import write_experiment_report
from affstore.flows.report.pages import Cell, Table

if TYPE_CHECKING:
    from affstore.flows.request import RunResult

_MARKED = ("quarantined", "failed", "cached")


def write_report(result: RunResult) -> Path:
    """Write `report.html`: every experiment with its figures, what was published, and every outcome with its reason.

    Returns:
        The page.
    """
    request = result.request
    context, store = request.context, request.context.store()
    about = {
        "store": context.store_url,
        "snapshot": result.snapshot,
        "weights": request.profile.provenance,
        "corpus": sorted({str(Path(r.attributes["location"]).parent) for r in store.records("source")}),
        "notes": list(request.notes),
        "code": dict(context.code),
    }
    more = {
        "title": f"affstore run {context.run_id}",
        "tag": result.tag,
        "published": [str(path) for path in result.published],
        "outcomes": _outcomes(result),
    }
    return write_experiment_report(result.experiments, request.report_folder, about, more)


def _outcomes(result: RunResult) -> Table:
    order = {"quarantined": 0, "failed": 1, "postponed": 2, "done": 3, "cached": 4}
    outcomes = sorted(result.outcomes, key=lambda o: (order[o.status], o.stage, o.subject))
    rows = [(o.stage, o.subject, Cell(o.status, o.status if o.status in _MARKED else ""), o.reason) for o in outcomes]
    return Table.of(("stage", "what", "outcome", "reason"), rows)
