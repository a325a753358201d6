"""One page that says what a run did: offline, no script, no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.run import RunResult

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.quarantined, .failed { color: #a40000; } .cached { color: #666; }
.notice { background: #fff4d6; padding: .6rem 1rem; border-left: 4px solid #d9a300; }
code { font-size: 90%; }
"""


def write_report(result: RunResult, folder: Path) -> Path:
    """Write `folder/report.html`: scores beside chance, what was published, and every video's outcome with its reason.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(_page(result), encoding="utf-8")
    return page.resolve()


def _page(result: RunResult) -> str:
    bench = result.request.bench
    parts = [
        f"<h1>affstore run {html.escape(bench.run_id)}</h1>",
        f"<p>Store <code>{html.escape(bench.store_url)}</code>, snapshot <code>{result.snapshot}</code>"
        + (f", tagged <code>{html.escape(result.tag)}</code>" if result.tag else "")
        + ".</p>",
        _notice(result),
        "<h2>Scores on the validation videos</h2>",
        _scores(result),
        "<h2>Published</h2>",
        _list(str(path) for path in result.published),
        "<h2>Outcomes</h2>",
        _outcomes(result),
        "<h2>Code</h2>",
        _list(f"{name} {version}" for name, version in sorted(bench.code.items())),
    ]
    title = f"affstore run {html.escape(bench.run_id)}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def untrained_networks(result: RunResult) -> list[str]:
    """The networks of a run that ran with untrained parameters."""
    return [spec.name for spec in result.request.profile.extractors if not spec.weights.trained]


def _notice(result: RunResult) -> str:
    untrained = untrained_networks(result)
    if not untrained:
        return ""
    return (
        f'<p class="notice">Untrained parameters were used for {html.escape(", ".join(untrained))}: '
        "the numbers below say nothing about the published models.</p>"
    )


def _scores(result: RunResult) -> str:
    head = ("experiment", "measure", "frame by frame", "smoothed", "by chance", "frames", "videos")
    rows = [
        (
            evaluation.experiment,
            evaluation.smoothed.headline,
            f"{evaluation.frame_by_frame.value:.3f}",
            f"{evaluation.smoothed.value:.3f}",
            f"{evaluation.by_chance.value:.3f}",
            str(evaluation.smoothed.frames),
            str(evaluation.videos),
        )
        for evaluation in result.evaluations
    ]
    return _table(head, rows, numbers_from=2) if rows else "<p>Nothing was scored.</p>"


def _outcomes(result: RunResult) -> str:
    order = {"quarantined": 0, "failed": 1, "done": 2, "cached": 3}
    sorted_outcomes = sorted(result.outcomes, key=lambda o: (order[o.status], o.stage, o.subject))
    rows = [(o.stage, o.subject, o.status, o.reason) for o in sorted_outcomes]
    return _table(("stage", "what", "outcome", "reason"), rows) if rows else "<p>There was nothing to do.</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(_cell(text, i, numbers_from) for i, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, column: int, numbers_from: int | None) -> str:
    number = numbers_from is not None and column >= numbers_from
    kind = "number" if number else text if text in ("quarantined", "failed", "cached") else ""
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"


def _list(items: Iterable[str]) -> str:
    found = "".join(f"<li><code>{html.escape(item)}</code></li>" for item in items)
    return f"<ul>{found}</ul>" if found else "<p>Nothing.</p>"
