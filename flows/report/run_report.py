"""One page that says what a run did: offline, no script, no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.provenance import marked, warnings
from affstore.flows.report.pages import Cell, Markup, items, markup, notice, page, table

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
    parts = [
        f"<p>Store <code>{markup(context.store_url)}</code>, snapshot <code>{result.snapshot}</code>"
        + (f", tagged <code>{markup(result.tag)}</code>" if result.tag else "")
        + ".</p>",
        *_notices(result),
        "<h2>Scores on the validation videos</h2>",
        _scores(result),
        "<h2>Published</h2>",
        items(str(path) for path in result.published),
        "<h2>Outcomes</h2>",
        _outcomes(result),
        "<h2>Code</h2>",
        items(f"{name} {version}" for name, version in sorted(context.code.items())),
    ]
    return page(f"affstore run {context.run_id}", parts)


def _notices(result: RunResult) -> list[str]:
    return [notice(text) for text in warnings(result.request.profile.provenance)]


def _scores(result: RunResult) -> str:
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
    return table(head, rows) if rows else Markup("<p>Nothing was scored.</p>")


def _outcomes(result: RunResult) -> str:
    order = {"quarantined": 0, "failed": 1, "done": 2, "cached": 3}
    outcomes = sorted(result.outcomes, key=lambda o: (order[o.status], o.stage, o.subject))
    rows = [(o.stage, o.subject, Cell(o.status, o.status if o.status in _MARKED else ""), o.reason) for o in outcomes]
    return table(("stage", "what", "outcome", "reason"), rows) if rows else Markup("<p>There was nothing to do.</p>")
