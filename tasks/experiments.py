"""An experiment: heads, how their outputs become one, and, of one of the papers, the number that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affstore.models.ensembles.spec import HeadOutput, with_heads_renamed
from affstore.models.evaluation.evaluate import EvaluationSpec, TunedParameters
from affstore.models.evaluation.metrics import Scores
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import LabelSpace, task_space
from affstore.store.contract.records import Provenance
from affstore.tasks.specs import HeadRun

Protocol = Literal["papers", "honest"]
"""`papers`: epoch, thresholds, kernel and weights are as the papers' or chosen on the validation videos that are
reported. `honest`: all of them are chosen by cross-validation over the videos of train; validation is seen once."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A figure's curve: the measure as one number changes.

    Attributes:
        of: `smooth_frames`, or `threshold` of the experiment's `ConfidenceGate`.
        values: that number's.
        measure: what is drawn: the headline if empty, else one of what it is the mean of, as `CCC valence`.
    """

    KIND: ClassVar[str] = "sweep"

    of: Literal["smooth_frames", "threshold"]
    values: tuple[float, ...]
    measure: str = ""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Heads, how their outputs become one, post-processing; a user's own, or one that a table of the papers names.

    Attributes:
        name: `abaw6/table5/emotieffnet-smoothed`.
        title: as the paper's table has it.
        source: `ABAW6 Table 5`.
        heads: everything that is trained for it; experiments that name equal heads share them.
        evaluation: how their outputs become one, and decisions, with what is still to be chosen.
        requires: of heads that only listen, where the faces come from without which no frame counts: a detector or a
            kind of crop folder, whose frames the papers score sound on too. Empty where a frame needs none.
        cell: the notebook of the papers' code and its cells that compute it; see docs/papers.md.
            Empty where no code is public.
        paper: measure to the paper's number: `macro F1`, `accuracy`, `mean F1`, `CCC valence`, `CCC arousal`,
            `mean CCC`; with `test` before it where the challenge's server said it of the test set.
        paper_curve: x to y of a figure's curve, as far as the papers' code prints it.
        sweep: of a figure; None for an experiment of a table.
        files: whether the challenge's file is written (experiments on the test set).
        status: `published`, or `notebook` for what the papers' code computes and no table has.
        note: where paper and code disagree: which is the default here, and why.
    """

    name: str
    title: str
    source: str
    heads: tuple[HeadRun, ...]
    evaluation: EvaluationSpec
    requires: str = ""
    cell: str = ""
    paper: Mapping[str, float] = field(default_factory=dict)
    paper_curve: Mapping[float, float] = field(default_factory=dict)
    sweep: Sweep | None = None
    files: bool = False
    status: Literal["published", "notebook"] = "published"
    note: str = ""

    def __post_init__(self) -> None:
        if any(head.task != self.task for head in self.heads):
            raise SpecError(
                f"The experiment '{self.name}' is of the task '{self.task}', and one of its heads is of another."
            )
        if self.requires and any(head.faces for head in self.heads):
            raise SpecError(
                f"The experiment '{self.name}' has a head that sees faces; only one of sound alone `requires` some."
            )

    @property
    def task(self) -> str:
        """The name of what it predicts: `expr`, `au`, `va`, or a user's label space."""
        return str(self.evaluation.task)

    @property
    def space(self) -> LabelSpace:
        """What it predicts."""
        return task_space(self.evaluation.task)

    @property
    def producer(self) -> str:
        """How its results are called in the store."""
        return self.name.replace("/", ".")

    def with_heads(self, change: Callable[[HeadRun], HeadRun]) -> Experiment:
        """The same on changed heads, each once; its method follows their names."""
        new = {head.name: change(head) for head in self.heads}
        names = {old: head.name for old, head in new.items()}
        heads = {head.name: head for head in new.values()}
        method = with_heads_renamed(self.evaluation.method, names)
        return replace(self, heads=tuple(heads.values()), evaluation=replace(self.evaluation, method=method))


@dataclass(frozen=True, slots=True, eq=False)
class SubjectPrediction:
    """A validation video (more exactly: a subject of one) as an experiment predicts it.

    Attributes:
        name: as Aff-Wild2 writes it, with the subject.
        scores: `(frames, outputs)`: what the decision was taken on.
        label: `(frames, columns)`: the decision.
        value: of the same shape: the annotation.
        known: of the same shape: where it is scored.
    """

    name: str
    scores: NDArray[np.float32]
    label: NDArray[Any]
    value: NDArray[Any]
    known: NDArray[np.bool_]

    def scored_frames(self, evaluation: EvaluationSpec) -> NDArray[np.bool_]:
        """The frames that are scored, `(frames,)`: all columns known, and no class that is left out."""
        rows = np.asarray(self.known.all(axis=1), np.bool_)
        return rows & np.isin(self.value[:, 0], evaluation.classes) if evaluation.without else rows


def decisions_and_labels(
    evaluation: EvaluationSpec, predictions: Sequence[SubjectPrediction]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Decisions and labels of all frames that are scored, each `(frames, columns)`."""
    rows = [one.scored_frames(evaluation) for one in predictions]
    empty: list[NDArray[Any]] = [np.zeros((0, task_space(evaluation.task).columns))]
    label = [one.label[scored] for one, scored in zip(predictions, rows, strict=True)]
    value = [one.value[scored] for one, scored in zip(predictions, rows, strict=True)]
    return np.concatenate(label or empty), np.concatenate(value or empty)


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentResult:
    """An experiment's result under one protocol, with all that its figures are drawn from.

    Attributes:
        experiment: whose.
        protocol: under which.
        scores: on the validation videos.
        interval: 95 %, of the headline, by drawing whole videos with replacement, those of a group together.
        chosen: what was tuned or given: `smooth_frames`, `thresholds`, `weight`, `threshold`, `epochs` …
        videos: as predicted.
        curve: of an experiment with a sweep, x to its measure; empty else.
        trained_on: whether the validation videos were trained on, so that the number says nothing.
        provenance: of the least trusted network on the way; None without any.
        tuned: what was chosen, for the arithmetic.
        by_chance: what the best constant answer scores by the headline; None where that is not known.
        drawn_together: the scored videos of each group that has several.
    """

    experiment: Experiment
    protocol: Protocol
    scores: Scores
    interval: tuple[float, float]
    chosen: Mapping[str, Any]
    videos: tuple[SubjectPrediction, ...]
    curve: Mapping[float, float] = field(default_factory=dict)
    trained_on: bool = False
    provenance: Provenance | None = None
    tuned: TunedParameters = field(default_factory=lambda: TunedParameters(HeadOutput(""), 0, None))
    by_chance: float | None = None
    drawn_together: tuple[tuple[str, ...], ...] = ()

    @property
    def decisions_and_labels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of all frames that are scored, each `(frames, columns)`."""
        return decisions_and_labels(self.experiment.evaluation, self.videos)


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentOutcome:
    """What became of an experiment: its results by protocol, or why there are none."""

    experiment: Experiment
    status: Literal["done", "cached", "failed"]
    reason: str = ""
    results: tuple[ExperimentResult, ...] = ()
