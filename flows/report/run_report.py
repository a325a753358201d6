"""One page that says what a run did: offline, no script, no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.provenance import marked, warnings
from affstore.flows.report.pages import Cell, Table, render

if TYPE_CHECKING:
    from affstore.flows.request import RunResult

_MARKED = ("quarantined", "failed", "cached")


def write_report(result: RunResult, folder: Path) -> Path:
    """Write `folder/report.html`: scores beside chance, what was published, and every video's outcome with its reason.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(_page(result), encoding="utf-8")
    return path.resolve()


def _page(result: RunResult) -> str:
    context = result.request.context
    return render(
        "run.html",
        title=f"affstore run {context.run_id}",
        store=context.store_url,
        snapshot=result.snapshot,
        tag=result.tag,
        notices=warnings(result.request.profile.provenance),
        scores=_scores(result),
        published=[str(path) for path in result.published],
        outcomes=_outcomes(result),
        code=[f"{name} {version}" for name, version in sorted(context.code.items())],
    )


def _scores(result: RunResult) -> Table:
    head = ("experiment", "measure", "frame by frame", "smoothed", "by chance", "frames", "videos", "weights")
    rows = [
        (
            evaluation.experiment,
            evaluation.smoothed.headline,
            Cell(f"{evaluation.frame_by_frame.value:.3f}", "number"),
            Cell(f"{evaluation.smoothed.value:.3f}", "number"),
            Cell(f"{evaluation.by_chance.value:.3f}", "number"),
            Cell(str(evaluation.smoothed.frames), "number"),
            Cell(str(evaluation.videos), "number"),
            marked(evaluation.provenance),
        )
        for evaluation in result.evaluations
    ]
    return Table.of(head, rows)


def _outcomes(result: RunResult) -> Table:
    order = {"quarantined": 0, "failed": 1, "done": 2, "cached": 3}
    outcomes = sorted(result.outcomes, key=lambda o: (order[o.status], o.stage, o.subject))
    rows = [(o.stage, o.subject, Cell(o.status, o.status if o.status in _MARKED else ""), o.reason) for o in outcomes]
    return Table.of(("stage", "what", "outcome", "reason"), rows)
