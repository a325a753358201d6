"""One experiment on the page: what was chosen, what the paper and its code say, numbers, and the figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from affstore.flows.report.pages import Table, numbers
from affstore.flows.report.report_data import PROTOCOLS, class_names, confusion_counts
from affstore.models.evaluation.metrics import HEADLINES, MEASURES
from affstore.store.contract.labels import SpaceKind
from affstore.tasks.experiments import Experiment, ExperimentOutcome, ExperimentResult

if TYPE_CHECKING:
    from affstore.flows.report.figure_parts import Picture

_MATRIX = "The confusion matrix in numbers of frames, {}"
_MEASURES = "All measures, {}"


@dataclass(frozen=True, slots=True)
class Section:
    """The part of the page about one experiment, folded until a reader opens it.

    Attributes:
        summary: what is seen while it is folded.
        anchor: what links to it name.
        name: the experiment's own.
        place: what it predicts; of an experiment of the papers, where it stands there.
        notices: what must be known first.
        note: of the experiment's file.
        chosen: what was given or searched, by protocol.
        classes: how often each class or unit is annotated, and its F1.
        scored: how many frames were; empty where `classes` is.
        folded: confusion matrices and all measures, with their titles.
        pictures: the figures.
    """

    summary: str
    anchor: str
    name: str
    place: str
    notices: tuple[str, ...]
    note: str
    chosen: Table
    classes: Table
    scored: str
    folded: tuple[tuple[str, Table], ...]
    pictures: tuple[Picture, ...]


def section(outcome: ExperimentOutcome, pictures: Sequence[Picture]) -> Section:
    """The part of the page about one experiment."""
    experiment = outcome.experiment
    source = f" ({experiment.source})" if experiment.source else ""
    results = [one for one in outcome.results if one.videos]
    classes = bool(results) and experiment.space.kind not in (SpaceKind.INTENSITIES, SpaceKind.VALUES)
    matrices = results if classes and experiment.space.kind is SpaceKind.CLASSES else []
    return Section(
        summary=f"{experiment.title}{source}: {_brief(outcome)}",
        anchor=experiment.producer,
        name=experiment.name,
        place=_place(experiment),
        notices=tuple(_notices(outcome)),
        note=experiment.note,
        chosen=_chosen(outcome.results),
        classes=_classes(results) if classes else Table.of(),
        scored=f"{_frames(results[0])} were scored." if classes else "",
        folded=(
            *((_MATRIX.format(PROTOCOLS[one.protocol]), _matrix(one)) for one in matrices),
            *((_MEASURES.format(PROTOCOLS[one.protocol]), _measures(one)) for one in results),
        ),
        pictures=tuple(pictures),
    )


def _place(experiment: Experiment) -> str:
    source = f"{experiment.source}, " if experiment.source else ""
    status = " Computed by the papers' code; no table has it." if experiment.status == "notebook" else ""
    cell = f" Cell {experiment.cell}; see docs/papers.md." if experiment.cell else ""
    return f"{source}task {experiment.task}.{status}{cell}"


def value_of(result: ExperimentResult | None, measure: str) -> float | None:
    """A result's value of a measure; None where it has none."""
    if result is None:
        return None
    return result.scores.value if measure == result.scores.headline else result.scores.details.get(measure)


def three_decimals(value: float) -> str:
    """A number as every table shows it."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−") if math.isfinite(value) else "–"


def _brief(outcome: ExperimentOutcome) -> str:
    texts = [
        f"{one.scores.headline} {three_decimals(one.scores.value)}, {PROTOCOLS[one.protocol]}"
        for one in outcome.results
    ]
    return "; ".join([*texts, *(["failed"] if outcome.status == "failed" else [])])


def _notices(outcome: ExperimentOutcome) -> Iterable[str]:
    if outcome.status == "failed":
        yield f"This experiment failed: {outcome.reason}"
    if any(result.provenance == "untrained" for result in outcome.results):
        yield "A network on the way had untrained parameters: the numbers say nothing about the published ones."
    if any(result.provenance == "unofficial" for result in outcome.results):
        yield "A network on the way had weights that are not known to be the published file's."
    if any(result.trained_on for result in outcome.results):
        yield "The head was trained on the very videos it is scored on here: the number says nothing."
    if outcome.experiment.files:
        yield "The paper's number is on the challenge's test set; ours is on the validation videos."


def _chosen(results: Sequence[ExperimentResult]) -> Table:
    names = list(dict.fromkeys(name for result in results for name in result.chosen))
    head = ("chosen or given", *(PROTOCOLS[result.protocol] for result in results))
    return Table.of(head, [(_readable(name), *(_value(one.chosen.get(name)) for one in results)) for name in names])


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


def _classes(results: Sequence[ExperimentResult]) -> Table:
    """The numbers behind the bars."""
    head = ["", *numbers(["frames annotated", *(f"F1, {PROTOCOLS[one.protocol]}" for one in results)])]
    rows = [
        [name, *numbers([f"{count:,}", *(three_decimals(_f1(one, name)) for one in results)])]
        for name, count in zip(class_names(results[0]), _annotated(results[0]), strict=True)
    ]
    return Table.of(head, rows)


def _frames(result: ExperimentResult) -> str:
    return f"{result.scores.frames:,} frames of {len(result.videos):,} videos"


def _f1(result: ExperimentResult, name: str) -> float:
    return result.scores.details.get(f"F1 {name}", math.nan)


def _matrix(result: ExperimentResult) -> Table:
    names = class_names(result)
    rows = [
        [name, *numbers(f"{count:,}" for count in line)]
        for name, line in zip(names, confusion_counts(result), strict=True)
    ]
    return Table.of(["annotated", *numbers(names)], rows)


def _measures(result: ExperimentResult) -> Table:
    """Every measure of the label space: over all frames, and of each class, unit or dimension."""
    part, details = HEADLINES[result.experiment.space.kind][1], result.scores.details
    names = class_names(result)
    overall = {part: result.scores.value} | {measure: details[measure] for measure in MEASURES if measure in details}
    columns = [measure for measure in (part, *MEASURES) if measure in overall]
    rows = [["all", *numbers(three_decimals(overall[measure]) for measure in columns)]]
    for name in names:
        values = (details.get(f"{measure} {name}", math.nan) for measure in columns)
        rows.append([name, *numbers(map(three_decimals, values))])
    return Table.of(["", *numbers(columns)], rows)


def _annotated(result: ExperimentResult) -> list[int]:
    """In how many scored frames each class or unit is annotated."""
    if result.experiment.space.kind is SpaceKind.CLASSES:
        return confusion_counts(result).sum(axis=1).tolist()
    return result.decisions_and_labels[1].astype(np.int64).sum(axis=0).tolist()
