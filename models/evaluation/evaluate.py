"""From what heads say of labelled videos to decisions and their score, all numbers of a method being given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affstore.models.ensembles.combine import Outputs, Values, combined, output_of, ruled_out
from affstore.models.ensembles.spec import (
    UNSMOOTHED,
    Ensemble,
    HeadOutput,
    SearchedValue,
    heads_of,
    searched_values,
    streams,
)
from affstore.models.evaluation.metrics import Scores, score
from affstore.models.evaluation.thresholds import decide
from affstore.models.postprocess import AfterLast, box_smooth, smooth_gaps
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import SpaceKind, Task, counted_classes, task_space

SmoothOver = Literal["own", "faces", "labelled_faces"]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationVideo:
    """A labelled video (more exactly: a subject of one) as heads see it.

    Attributes:
        name: as a message should call it.
        outputs: by head, `(frames, outputs)`: gaps filled, not smoothed.
        value: `(frames, 1 | 12 | 2)`: the annotation.
        known: of the same shape: where it is scored.
        present: `(frames,)`: where the frame itself has all that the row needs, a face above all; everywhere if None.
    """

    name: str
    outputs: Outputs
    value: NDArray[Any]
    known: NDArray[np.bool_]
    present: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.value.ndim != 2 or self.known.shape != self.value.shape:
            shapes = f"{self.value.shape} and {self.known.shape}"
            raise SpecError(f"'{self.name}': labels and known must have one shape (frames, columns); found {shapes}.")
        if self.present is not None and (
            self.present.shape != self.value.shape[:1] or (self.known & ~self.present[:, None]).any()
        ):
            raise SpecError(f"'{self.name}': a frame is scored where it is seen; found other flags of what is seen.")
        for head, output in self.outputs.items():
            if output.ndim != 2 or len(output) != len(self.value):
                frames = f"{len(self.value)} labelled frames, and '{head}' says {output.shape}"
                raise SpecError(f"'{self.name}': a head says (frames, outputs) of every frame; found {frames}.")
            bad = np.flatnonzero(~np.isfinite(output).all(axis=1))
            if len(bad):
                raise SpecError(f"'{self.name}', frame {bad[0]}: '{head}' says NaN or infinity. Fill gaps first.")


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How outputs become decisions, with what is still to be chosen.

    Attributes:
        task: what is predicted.
        method: how the outputs of several heads become one.
        smooth_frames: half a window of the box filter, applied to each head's outputs.
        thresholds: of action units: `half` for .5 each, `tuned` for the best of each on the frames that choose, or the
            papers' own.
        without: classes of `expr` whose frames are left out, and which are never predicted (ABAW6 Table 4, "w/o
            Other").
        smooth_over: which frames take part in smoothing, all others becoming gaps between them. `own`: of each head
            those that it has an output for. `faces`: those with a face; `labelled_faces`: those with a face that are
            labelled (ABAW5's code, for ensembles).
        after_last_face: `repeat` the last of these frames to the video's end and average over that, which is what a
            user wants, as every frame gets a number; or `stop` there, as the papers' code does on validation videos.
    """

    KIND: ClassVar[str] = "judging"

    task: Task
    method: Ensemble
    smooth_frames: SearchedValue = UNSMOOTHED
    thresholds: Literal["half", "tuned"] | tuple[float, ...] = "half"
    without: tuple[str, ...] = ()
    smooth_over: SmoothOver = "own"
    after_last_face: AfterLast = "repeat"

    def __post_init__(self) -> None:
        counted_classes(self.task, self.without)
        space = task_space(self.task)
        if self.thresholds != "half" and space.kind is not SpaceKind.UNITS:
            raise SpecError(
                f"Only action units are decided by thresholds; found '{self.thresholds}' for '{self.task}'."
            )
        if isinstance(self.thresholds, tuple) and len(self.thresholds) != len(space):
            raise SpecError(f"Each of {len(space)} action units has its threshold; found {len(self.thresholds)}.")
        given = () if self.smooth_frames.value is None else (self.smooth_frames.value,)
        for delta in (*self.smooth_frames.grid, *given):
            whole_frames(delta)

    @property
    def classes(self) -> list[int]:
        """The classes, units or axes that count, by index."""
        return counted_classes(self.task, self.without)

    def as_for_the_challenge(self) -> EvaluationSpec:
        """The same for videos without labels: every frame to the video's end gets its numbers, as in the papers."""
        return replace(self, smooth_over="own", after_last_face="repeat")


@dataclass(frozen=True, slots=True)
class TunedParameters:
    """What was given or searched.

    Attributes:
        method: with a value for each of its numbers.
        smooth_frames: half a window.
        thresholds: of action units; None for .5 each, and of other tasks.
    """

    method: Ensemble
    smooth_frames: int
    thresholds: tuple[float, ...] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for a record: `smooth_frames`, `thresholds`, and the method's numbers by name."""
        numbers = {name: number.value for name, number in searched_values(self.method).items()}
        thresholds = {} if self.thresholds is None else {"thresholds": list(self.thresholds)}
        return {"smooth_frames": self.smooth_frames, **thresholds, **numbers}


def predict_video(
    evaluation: EvaluationSpec, chosen: TunedParameters, video: EvaluationVideo
) -> tuple[Values, NDArray[Any]]:
    """Scores `(frames, outputs)` of a video, and the decisions taken on them, in the form of labels."""
    return decide_rows(evaluation, chosen, _smoothed(evaluation, chosen.method, chosen.smooth_frames, video))


def predict_labels(
    evaluation: EvaluationSpec, chosen: TunedParameters, outputs: Outputs, present: NDArray[np.bool_]
) -> tuple[Values, NDArray[Any]]:
    """Smooth what each head says of a video, combine it, decide; labels are not needed.

    Args:
        evaluation: the task, classes that are never predicted, and how it is smoothed; of labels no rule may depend.
        chosen: everything else.
        outputs: by head, `(frames, outputs)`, gaps filled, not smoothed.
        present: see `EvaluationVideo`.

    Returns:
        Scores `(frames, outputs)`, and `(frames, 1 | 12 | 2)` decisions in the form of labels.
    """
    nothing = np.zeros((len(present), 1), bool)
    return predict_video(evaluation, chosen, EvaluationVideo("a video", outputs, nothing, nothing, present))


def prediction_arrays(
    evaluation: EvaluationSpec, chosen: TunedParameters, outputs: Outputs, present: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """The arrays of a prediction: scores before and after smoothing, decisions, and where the frame itself says them.

    Args:
        evaluation: see `predict_labels`.
        chosen: see there.
        outputs: see there.
        present: see there.
    """
    smoothed, decision = predict_labels(evaluation, chosen, outputs, present)
    raw, _ = predict_labels(evaluation, replace(chosen, smooth_frames=0), outputs, present)
    return {"raw": raw, "smoothed": smoothed, "prediction": decision, "present": present}


def _smoothed(evaluation: EvaluationSpec, method: Ensemble, delta: int, video: EvaluationVideo) -> Outputs:
    """What is smoothed of a method, by name; rules that come before smoothing are applied first."""
    present = np.ones(len(video.value), bool) if video.present is None else video.present
    labelled = present & video.known.all(axis=1)
    # A video without any label is scored nowhere, and still shown.
    used = labelled if evaluation.smooth_over == "labelled_faces" and labelled.any() else present

    def smooth(stream: Ensemble) -> Values:
        values = combined(stream, video.outputs, task_space(evaluation.task))
        if (
            evaluation.smooth_over == "own"
            and evaluation.after_last_face == "repeat"
            and isinstance(stream, HeadOutput)
        ):
            return box_smooth(values, delta)
        return smooth_gaps(values, used, delta, evaluation.after_last_face)

    return {name: smooth(stream) for name, stream in streams(method).items()}


def evaluate(evaluation: EvaluationSpec, chosen: TunedParameters, videos: Sequence[EvaluationVideo]) -> Scores:
    """Score on all frames together of which every column is known (the papers drop a frame that lacks any).

    Raises:
        AnnotationError: no frame is known.
        SpecError: parts of the method do not fit each other, or outputs do not fit the task.
    """
    frames = EvaluationSet.of(evaluation, videos)
    return frames.score(chosen, frames.smoothed(chosen.method, chosen.smooth_frames))


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSet:
    """The frames of several videos of which every column is known.

    Attributes:
        evaluation: how they are judged.
        videos: those that have such frames.
        rows: of each video, `(frames,)`: which are judged.
        value: `(rows, columns)`: the labels of all of them, one video after the other.
    """

    evaluation: EvaluationSpec
    videos: tuple[EvaluationVideo, ...]
    rows: tuple[NDArray[np.bool_], ...]
    value: NDArray[Any]

    @classmethod
    def of(cls, evaluation: EvaluationSpec, videos: Sequence[EvaluationVideo]) -> EvaluationSet:
        """Find them.

        Raises:
            AnnotationError: there are none.
            SpecError: labels are not those of the task.
        """
        columns = task_space(evaluation.task).columns
        for video in videos:
            if video.value.shape[1] != columns:
                found = f"{video.value.shape[1]} in '{video.name}'"
                raise SpecError(f"Labels of the task '{evaluation.task}' have {columns} columns; found {found}.")
        scored = [(video, known) for video in videos if (known := video.known.all(axis=1)).any()]
        if not scored:
            task = f"the task '{evaluation.task}'"
            raise AnnotationError(f"No frame of {len(videos)} videos has a known label of {task}, so none is judged.")
        found_videos, rows = zip(*scored, strict=True)
        return cls(evaluation, found_videos, rows, np.concatenate([video.value[known] for video, known in scored]))

    def unsmoothed(self) -> dict[str, Values]:
        """Each head's outputs for them, `(rows, outputs)`; rules are still to be applied, whatever their variant."""
        return {
            head: _joined(
                head, [output_of(head, one.outputs)[rows] for one, rows in zip(self.videos, self.rows, strict=True)]
            )
            for head in heads_of(self.evaluation.method)
        }

    def smoothed(self, method: Ensemble, delta: int) -> dict[str, Values]:
        """What is smoothed of a method, `(rows, outputs)`, averaged over whole videos first; see `streams`."""
        found = [
            {name: values[rows] for name, values in _smoothed(self.evaluation, method, delta, one).items()}
            for one, rows in zip(self.videos, self.rows, strict=True)
        ]
        return {name: _joined(name, [one[name] for one in found]) for name in streams(method)}

    def score(self, chosen: TunedParameters, outputs: Outputs) -> Scores:
        """How good the decisions on `outputs` are: those of `smoothed`, or of `unsmoothed`."""
        _, decision = decide_rows(self.evaluation, chosen, outputs)
        return score(self.evaluation.task, decision, self.value, None, self.evaluation.without)


def _joined(head: str, outputs: Sequence[Values]) -> Values:
    widths = sorted({one.shape[1] for one in outputs})
    if len(widths) > 1:
        raise SpecError(f"What '{head}' says has {' and '.join(map(str, widths))} outputs, by video; not one width.")
    return np.concatenate(outputs)


def decide_rows(evaluation: EvaluationSpec, chosen: TunedParameters, smoothed: Outputs) -> tuple[Values, NDArray[Any]]:
    """Scores and decisions of frames whose outputs are smoothed already."""
    space = task_space(evaluation.task)
    scores = ruled_out(combined(chosen.method, smoothed, space), evaluation.without, space)
    thresholds = None if chosen.thresholds is None else np.array(chosen.thresholds)
    return scores, decide(evaluation.task, scores, thresholds)


def whole_frames(delta: float) -> int:
    """Half a window, as a whole number of frames.

    Raises:
        SpecError: it is none, or negative.
    """
    if delta < 0 or delta != int(delta):
        raise SpecError(f"Half a window is a whole number of frames, 0 or more; found {delta}.")
    return int(delta)
