"""One row of the papers on the page: what was chosen, what the paper and its code say, numbers, and the figures."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affstore.flows.report.pages import Markup, markup, notice, numbers, table
from affstore.flows.report.report_data import PROTOCOLS, class_names, counted, judged
from affstore.store.contract.labels import SpaceKind
from affstore.tasks.experiments import ExperimentOutcome, ExperimentResult

if TYPE_CHECKING:
    from affstore.flows.report.figure_parts import Picture


def section(outcome: ExperimentOutcome, pictures: Sequence[Picture]) -> Markup:
    """What stands behind a row of the table, folded until it is asked for."""
    row = outcome.row
    status = " Computed by the papers' code; no table has it." if row.status == "notebook" else ""
    cell = f" Cell {markup(row.cell)}; see docs/papers.md." if row.cell else ""
    place = f"{markup(row.source)}, task {row.task}.{status}{cell}"
    parts = [
        # Inside the folded part, so that following a link to it unfolds it.
        f'<p id="{markup(row.producer)}"><code>{markup(row.name)}</code>, {place}</p>',
        *(notice(text) for text in _notices(outcome)),
        f"<p>{markup(row.note)}</p>" if row.note else "",
        _chosen(outcome.shown),
        *_numbers(outcome.shown),
        _figures(pictures),
    ]
    summary = markup(f"{row.title} ({row.source}): {_brief(outcome)}")
    return Markup(f'<details class="row"><summary>{summary}</summary>{"".join(parts)}</details>')


def measured(shown: ExperimentResult | None, measure: str) -> float | None:
    """A result's value of a measure; None where it has none."""
    if shown is None:
        return None
    return shown.scores.value if measure == shown.scores.headline else shown.scores.details.get(measure)


def three_decimals(value: float) -> str:
    """A number as every table shows it."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−") if math.isfinite(value) else "–"


def _brief(outcome: ExperimentOutcome) -> str:
    said = [
        f"{one.scores.headline} {three_decimals(one.scores.value)}, {PROTOCOLS[one.protocol]}" for one in outcome.shown
    ]
    return "; ".join([*said, *(["failed"] if outcome.status == "failed" else [])])


def _notices(outcome: ExperimentOutcome) -> Iterable[str]:
    if outcome.status == "failed":
        yield f"This row failed: {outcome.reason}"
    if any(shown.provenance == "untrained" for shown in outcome.shown):
        yield "A network on the way had untrained parameters: the numbers say nothing about the paper's."
    if any(shown.provenance == "unofficial" for shown in outcome.shown):
        yield "A network on the way had weights that are not known to be the published file's."
    if any(shown.seen for shown in outcome.shown):
        yield "The head was trained on the very videos it is scored on here: the number says nothing."
    if outcome.row.files:
        yield "The paper's number is on the challenge's test set; ours is on the validation videos."


def _chosen(results: Sequence[ExperimentResult]) -> Markup:
    names = list(dict.fromkeys(name for shown in results for name in shown.chosen))
    if not names:
        return Markup("")
    head = ("chosen or given", *(PROTOCOLS[shown.protocol] for shown in results))
    rows = [(_readable(name), *(_value(shown.chosen.get(name)) for shown in results)) for name in names]
    return table(head, rows)


def _readable(name: str) -> str:
    known = {"smooth_frames": "frames averaged on either side", "thresholds": "thresholds of the action units"}
    return known.get(name, name)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(part) for part in value)
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else three_decimals(value)
    return str(value)


def _numbers(results: Sequence[ExperimentResult]) -> Iterable[str]:
    """The numbers behind the bars and the matrices, as tables."""
    shown = [one for one in results if one.videos]
    if not shown:
        return
    space = shown[0].row.space
    if space.kind in (SpaceKind.INTENSITIES, SpaceKind.VALUES):
        return
    names, counts = class_names(shown[0]), _annotated(shown[0])
    head = ["", *numbers(["frames annotated", *(f"F1, {PROTOCOLS[one.protocol]}" for one in shown)])]
    rows = [
        [name, *numbers([f"{count:,}", *(three_decimals(_f1(one, name)) for one in shown)])]
        for name, count in zip(names, counts, strict=True)
    ]
    yield table(head, rows)
    yield f"<p>{shown[0].scores.frames:,} frames of {len(shown[0].videos):,} videos were scored.</p>"
    if space.kind is SpaceKind.CLASSES:
        yield from (_matrix(one) for one in shown)


def _f1(shown: ExperimentResult, name: str) -> float:
    return shown.scores.details.get(f"F1 {name}", math.nan)


def _matrix(shown: ExperimentResult) -> str:
    names = class_names(shown)
    rows = [[name, *numbers(f"{count:,}" for count in line)] for name, line in zip(names, counted(shown), strict=True)]
    title = f"The confusion matrix in numbers of frames, {PROTOCOLS[shown.protocol]}"
    return f"<details><summary>{title}</summary>{table(['annotated', *numbers(names)], rows)}</details>"


def _annotated(shown: ExperimentResult) -> list[int]:
    """In how many scored frames each class or unit is annotated."""
    if shown.row.space.kind is SpaceKind.CLASSES:
        return counted(shown).sum(axis=1).tolist()
    return judged(shown)[1].astype(np.int64).sum(axis=0).tolist()


def _figures(pictures: Sequence[Picture]) -> str:
    return "".join(_figure(picture) for picture in pictures)


def _figure(picture: Picture) -> str:
    width, height = picture.size_px
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    image = f'<img src="{source}" width="{width}" height="{height}" alt="{markup(picture.alt)}">'
    return f"<figure>{image}<figcaption>{markup(picture.caption)}</figcaption></figure>"
