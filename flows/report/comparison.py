"""The table of all experiments: ours, chance, and the papers' numbers where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from affstore.flows.report.experiment_sections import three_decimals, value_of
from affstore.flows.report.pages import Cell, Table, numbers
from affstore.flows.report.report_data import PROTOCOLS
from affstore.models.evaluation.metrics import HEADLINES
from affstore.tasks.experiments import ExperimentOutcome, ExperimentResult, Protocol

_FEWEST_VIDEOS = 20
"""Videos of a corpus below which no difference to a paper's number is given: the smallest validation set of
Aff-Wild2 has more than three times as many, and intervals of so few are as wide as what is compared."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns the table has: none that would be empty in all lines."""

    source: bool
    protocols: tuple[Protocol, ...]
    chance: bool
    paper: bool

    @classmethod
    def of(cls, outcomes: Sequence[ExperimentOutcome]) -> _Columns:
        """Those that some experiment fills."""
        results = [result for one in outcomes for result in one.results]
        run = {result.protocol for result in results}
        return cls(
            source=any(one.experiment.source for one in outcomes),
            protocols=tuple(protocol for protocol in PROTOCOLS if protocol in run) or ("papers",),
            chance=any(result.by_chance is not None for result in results),
            paper=any(one.experiment.paper for one in outcomes),
        )

    @property
    def head(self) -> list[str | Cell]:
        """Their titles."""
        chance, paper = ["by chance"] * self.chance, ["the paper", "difference"] * self.paper
        names = [*(PROTOCOLS[protocol] for protocol in self.protocols), *chance, *paper]
        return ["experiment", *["source"] * self.source, "task", "measure", *numbers(names)]


def comparison(outcomes: Sequence[ExperimentOutcome], brief: bool) -> Table:
    """A line for each measure of each experiment, under the protocols that were run.

    Args:
        outcomes: in the order in which they are shown.
        brief: whether trainings were cut short.
    """
    columns = _Columns.of(outcomes)
    return Table.of(columns.head, [cells for outcome in outcomes for cells in _rows(outcome, columns, brief)])


def legend(outcomes: Sequence[ExperimentOutcome], brief: bool) -> str:
    """How to read the table."""
    sentences = [f"In brackets: 95 % interval, by drawing {_drawn(outcomes)} with replacement."]
    results = [(one, result) for one in outcomes for result in one.results[:1]]
    if any(one.experiment.paper for one in outcomes):
        sentences.append("Difference: ours less the paper's.")
    if any(one.experiment.paper and _why_incomparable(result, brief) for one, result in results):
        what = "trainings, corpus or weights" if brief else "corpus or weights"
        sentences.append(f"Where {what} are not the papers', a difference would mean nothing: none is given.")
    if any(result.trained_on for one in outcomes for result in one.results):
        sentences.append("† The head was trained on the videos it is scored on: the number says nothing.")
    if any(one.experiment.files for one in outcomes):
        sentences.append(
            "(test set): the paper's number is on the challenge's test set, whose labels are not public; ours is on "
            "the validation videos, so that no difference is given."
        )
    return " ".join(sentences)


def _drawn(outcomes: Sequence[ExperimentOutcome]) -> str:
    """What intervals are drawn from."""
    if any(result.drawn_together for one in outcomes for result in one.results):
        return "whole groups, as all videos of a person (a video without a group is one by itself),"
    return "whole videos"


def _rows(outcome: ExperimentOutcome, columns: _Columns, brief: bool) -> list[list[str | Cell]]:
    """A line of the table for each measure of an experiment: the headline, and whatever else the paper gives."""
    experiment, by_protocol = outcome.experiment, {result.protocol: result for result in outcome.results}
    headline = outcome.results[0].scores.headline if outcome.results else HEADLINES[experiment.space.kind][0]
    measures = list(dict.fromkeys([headline, *experiment.paper]))
    if not outcome.results and experiment.paper:
        measures = list(experiment.paper)
    lines: list[list[str | Cell]] = []
    for number, measure in enumerate(measures):
        line: list[str | Cell] = []
        if not number:
            title = Cell(experiment.title, rows=len(measures), link=experiment.producer)
            texts = [*[experiment.source] * columns.source, experiment.task]
            line = [title, *(Cell(text, rows=len(measures)) for text in texts)]
        line.append(Cell(measure, "measure"))
        if outcome.results:
            line += [_number_cell(by_protocol.get(protocol), measure) for protocol in columns.protocols]
        elif not number:
            reason = f"failed: {outcome.reason}"
            line.append(Cell(reason, "failed", columns=len(columns.protocols), rows=len(measures)))
        line += [_chance_cell(outcome, measure)] * columns.chance
        if columns.paper:
            line += [_paper_cell(outcome, measure), _difference_cell(outcome, measure, brief)]
        lines.append(line)
    return lines


def _number_cell(result: ExperimentResult | None, measure: str) -> Cell:
    value = value_of(result, measure)
    if result is None or value is None:
        return Cell("–", "number")
    low, high = map(three_decimals, result.interval)
    interval = f"[{low}, {high}]" if measure == result.scores.headline else ""
    return Cell(f"{three_decimals(value)}{' †' if result.trained_on else ''}", "number", note=interval)


def _chance_cell(outcome: ExperimentOutcome, measure: str) -> Cell:
    """What the best constant answer scores."""
    first = outcome.results[0] if outcome.results else None
    known = first is not None and measure == first.scores.headline and first.by_chance is not None
    return Cell(three_decimals(first.by_chance) if known and first and first.by_chance is not None else "–", "number")


def _paper_cell(outcome: ExperimentOutcome, measure: str) -> Cell:
    paper = outcome.experiment.paper.get(measure)
    if paper is None:
        return Cell("–", "number")
    return Cell(f"{three_decimals(paper)} (test set)" if outcome.experiment.files else three_decimals(paper), "number")


def _difference_cell(outcome: ExperimentOutcome, measure: str, brief: bool) -> Cell:
    """Ours less the paper's, under the papers' protocol where that was run; where it would mean nothing, why."""
    result = outcome.results[0] if outcome.results else None
    value, paper = value_of(result, measure), outcome.experiment.paper.get(measure)
    if result is None or value is None or paper is None or outcome.experiment.files or result.trained_on:
        return Cell("–", "number")
    if reason := _why_incomparable(result, brief):
        return Cell("not comparable:", "incomparable", note=reason)
    text = f"{round(value - paper, 3) + 0.0:+.3f}".replace("-", "−")
    return Cell(text if result.protocol == "papers" else f"{text} (honest)", "number")


def _why_incomparable(result: ExperimentResult, brief: bool) -> str:
    """Why our number cannot be set against a paper's; empty where it can, as far as is known."""
    if result.provenance in ("untrained", "unofficial"):
        return {"untrained": "untrained weights", "unofficial": "other weights"}[result.provenance]
    if brief:
        return "trainings were cut short"
    videos = len(result.videos)
    if 0 < videos < _FEWEST_VIDEOS:
        return f"only {videos} video{'s' if videos > 1 else ''}"
    return ""
