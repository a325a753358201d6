"""The table of docs/papers.md: what each experiment does beside the cell of the papers' code that it repeats.

`python -m affstore.flows.report.papers_table docs/papers.md` writes it from the files of the experiments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.config.experiments import find_experiments
from affstore.models.ensembles.spec import (
    Blend,
    ConfidenceGate,
    Ensemble,
    HeadOutput,
    SearchedValue,
    TwoStageOther,
    parts,
)
from affstore.models.heads.kinds import kind_of

if TYPE_CHECKING:
    from affstore.tasks.experiments import Experiment
    from affstore.tasks.specs import HeadRun

_TITLE = """# What every experiment does, and where its number comes from

Written by `python -m affstore.flows.report.papers_table docs/papers.md` from `flows/experiments`;
a test holds the two equal.

- **cell**: where the papers' public code computes it, a notebook and its cells, counted from 0:
  `abaw5_expr_va_au_train.ipynb` and `ABAW6/abaw6_affwild2.ipynb` of av-savchenko/face-emotion-recognition,
  `ABAW8/abaw8_expr.ipynb` of sb-ai-lab/EmotiEffLib. A cell of text holds numbers that the authors noted
  down. `–`: no code is public.
- **rule**: how what the heads say becomes one. Weights and thresholds are the papers' own; *best* ones are searched.
- **frames smoothed**: how many on either side, and which take part; what lies between them is interpolated. *To the
  last* is where the papers' code ends a validation video; *to the end* repeats the last output and averages over it,
  which gives every frame a number and is what is done for one's own videos and for the challenges' files.
- **frames scored**: always labelled ones. On the test set only the organisers can score.
- **number**: as the paper prints it, or as the cell does where no paper has it. A curve is a list of `x: y`: x is how
  many frames are smoothed on either side (in abaw6/figure2 the threshold), y the measure of the paper's figure.
  `–`: a variant without a number.
"""
_HEAD = ("experiment", "cell", "rule", "frames smoothed", "frames scored", "number")


def papers_table(experiments: Iterable[Experiment]) -> str:
    """The page, in Markdown, with a table for each folder of experiments; rows come sorted by name."""
    parts_of_page = [_TITLE]
    for folder, group in groupby(experiments, lambda experiment: experiment.name.rpartition("/")[0]):
        lines = [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(_cells(experiment)) for experiment in group)]
        parts_of_page.append(f"## {folder}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts_of_page)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(experiment: Experiment) -> tuple[str, ...]:
    name = experiment.name.rpartition("/")[2]
    return (
        f"`{name}`",
        experiment.cell or "–",
        _rule(experiment),
        _smoothed(experiment),
        _scored(experiment),
        _number(experiment),
    )


def _rule(experiment: Experiment) -> str:
    heads = {head.name: _head(head) for head in experiment.heads}
    if experiment.task != "au":
        thresholds = ""
    elif isinstance(experiment.evaluation.thresholds, tuple):
        thresholds = f"; at {', '.join(map(_short, experiment.evaluation.thresholds))}"
    else:
        thresholds = "; at .5" if experiment.evaluation.thresholds == "half" else "; at the best thresholds"
    return _sentence(experiment.evaluation.method, heads) + thresholds


def _sentence(method: Ensemble, heads: dict[str, str]) -> str:
    """A method in words; what is not a single head stands in brackets within another."""
    if isinstance(method, HeadOutput):
        return heads[method.head]
    found = [
        _sentence(part, heads) if isinstance(part, HeadOutput) else f"({_sentence(part, heads)})"
        for part in parts(method)
    ]
    if isinstance(method, Blend):
        first, second = _weights(method.weight)
        return f"{first} × {found[0]} + {second} × {found[1]}"
    if isinstance(method, ConfidenceGate):
        at = "best" if method.threshold.value is None else _short(method.threshold.value)
        return f"{found[0]} where its likeliest of seven is above {at}, else {found[1]}"
    return _step(method, found)


def _step(step: TwoStageOther, found: list[str]) -> str:
    columns = step.variant.replace("_", " columns, ", 1).replace("_", " ")
    where = f"where {found[0]} says Other, {found[1]}" if step.where_other else f"{found[0]} where it says Other"
    return f"{where}, elsewhere {found[-1]} ({columns})"


def _weights(weight: SearchedValue) -> tuple[str, str]:
    if weight.value is None:
        return "w", "(1 − w)"
    return _short(weight.value), _short(1 - weight.value)


def _head(head: HeadRun) -> str:
    """A head and its inputs."""
    kind = kind_of(head.head).describe(head.head)
    everything = " (train and validation)" if "validation" in head.division.train else ""
    inputs = " & ".join(_input(head, extractor) for extractor in dict.fromkeys(part.extractor for part in head.inputs))
    return f"{kind} {inputs}{everything}"


def _input(head: HeadRun, extractor: str) -> str:
    """A network, and what is taken of it where that is not its embedding, nor clear."""
    arrays = [part.array for part in head.inputs if part.extractor == extractor]
    plain = arrays == ["embedding"] or kind_of(head.head).takes == "nothing"
    return extractor if plain else f"{extractor} ({' & '.join(arrays)})"


def _smoothed(experiment: Experiment) -> str:
    swept = experiment.sweep.values if experiment.sweep is not None and experiment.sweep.of == "smooth_frames" else ()
    delta = f"{swept[0]:g} … {swept[-1]:g}" if swept else f"{experiment.evaluation.smooth_frames.value or 0:g}"
    if delta == "0":
        return "none"
    over = {
        "own": "all that the head has an output for",
        "faces": "all with a face",
        "labelled_faces": "labelled ones with a face",
    }[experiment.evaluation.smooth_over]
    return f"{delta}: {over}, to the {'last' if experiment.evaluation.after_last_face == 'stop' else 'end'}"


def _scored(experiment: Experiment) -> str:
    if experiment.files:
        return "the test set"
    kinds = sorted({faces for head in experiment.heads if (faces := head.faces)} | {experiment.requires} - {""})
    if not kinds:
        return "those with sound"
    sound = " and with sound in that frame or the one before" if experiment.requires else ""
    without = f", but {', '.join(experiment.evaluation.without)}" if experiment.evaluation.without else ""
    return f"those with a {' and a '.join(kinds)} face{sound}{without}"


def _number(experiment: Experiment) -> str:
    numbers = [f"{measure} {_short(value)}" for measure, value in experiment.paper.items()]
    curve = [f"{x:g}: {_short(y)}" for x, y in experiment.paper_curve.items()]
    return ", ".join([*numbers, *curve]) or "–"


def _short(value: float) -> str:
    """A number of 0 to 1 as the papers print it, without the leading zero."""
    text = f"{value:.5g}"
    return text.removeprefix("0") if text.startswith("0.") else text


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(papers_table(find_experiments(["*"])), encoding="utf-8")
