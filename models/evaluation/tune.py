"""What the papers tune on validation frames: blend weights and thresholds first, then how long is averaged over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from affstore.models.ensembles.combine import Outputs, combined
from affstore.models.ensembles.spec import Ensemble, SearchedValue, searched_values, streams, with_values
from affstore.models.evaluation.evaluate import (
    EvaluationSet,
    EvaluationSpec,
    EvaluationVideo,
    TunedParameters,
    whole_frames,
)
from affstore.models.evaluation.metrics import Scores
from affstore.models.evaluation.thresholds import best_thresholds
from affstore.store.contract.errors import SpecError
from affstore.store.contract.labels import task_space


def choose(evaluation: EvaluationSpec, videos: Sequence[EvaluationVideo], search: bool) -> TunedParameters:
    """Settle what is still to be chosen, in the papers' order.

    Weights and thresholds of the method are searched together, unsmoothed (action units at .5, or at the papers' own
    thresholds where these are kept); then thresholds of action units, unsmoothed, on the method so found; then the
    kernel, with all of these fixed.
    Of equally good values the first of its grid is taken.

    Args:
        evaluation: what is given, and what may be searched.
        videos: those that choose; as long as they are those that are reported, the result flatters.
        search: whether everything is searched that has a grid, the papers' own thresholds of action units too; else the
            papers' values are taken, and what has none is searched.

    Raises:
        AnnotationError: no frame is known.
        SpecError: parts of the method do not fit each other, or outputs do not fit the task.
    """
    frames = EvaluationSet.of(evaluation, videos)
    method, thresholds = _unsmoothed(frames, search)
    deltas = [whole_frames(delta) for delta in _candidates(evaluation.smooth_frames, search)]
    candidates = [TunedParameters(method, delta, thresholds) for delta in deltas]
    return _best(candidates, lambda one: frames.score(one, frames.smoothed(one.method, one.smooth_frames)).value)


def kernel_curve(
    evaluation: EvaluationSpec,
    chosen: TunedParameters,
    videos: Sequence[EvaluationVideo],
    deltas: Iterable[float],
    measure: str = "",
) -> dict[float, float]:
    """The headline by half a window in frames, with all else as chosen (ABAW5 Figures 2–5).

    Args:
        evaluation: the task, and classes that are never said.
        chosen: everything else but the kernel.
        videos: that are judged.
        deltas: half a window each.
        measure: one of what the headline is the mean of, as `CCC valence`, instead of it.

    Raises:
        SpecError: the task has no such measure.
    """
    frames = EvaluationSet.of(evaluation, videos)

    def at(delta: int) -> float:
        return _measured(frames.score(chosen, frames.smoothed(chosen.method, delta)), measure)

    return {delta: at(whole_frames(delta)) for delta in deltas}


def _measured(scores: Scores, measure: str) -> float:
    if measure and measure not in scores.details:
        raise SpecError(f"'{measure}' was asked for; what is measured here is {', '.join(sorted(scores.details))}.")
    return scores.details[measure] if measure else scores.value


def threshold_curve(
    evaluation: EvaluationSpec, chosen: TunedParameters, videos: Sequence[EvaluationVideo], thresholds: Iterable[float]
) -> dict[float, float]:
    """The headline by the threshold of the method's only `ConfidenceGate`, with all else as chosen (ABAW6 Figure 2).

    Raises:
        SpecError: the method has no such threshold, or several.
    """
    numbers = {
        name: number.value for name, number in searched_values(chosen.method).items() if number.value is not None
    }
    found = [name for name in numbers if name.startswith("threshold")]
    if len(found) != 1:
        raise SpecError(f"A curve over a threshold needs a method with one ConfidenceGate; found {len(found)}.")
    frames = EvaluationSet.of(evaluation, videos)
    methods = {at: with_values(chosen.method, numbers | {found[0]: at}) for at in thresholds}
    # A threshold within a rule that comes before smoothing changes what is smoothed.
    smoothed: dict[tuple[str, ...], Outputs] = {}
    curve = {}
    for at, method in methods.items():
        names = tuple(streams(method))
        if names not in smoothed:
            smoothed = {names: frames.smoothed(method, chosen.smooth_frames)}
        curve[at] = frames.score(replace(chosen, method=method), smoothed[names]).value
    return curve


def _unsmoothed(frames: EvaluationSet, search: bool) -> tuple[Ensemble, tuple[float, ...] | None]:
    """The method's numbers, then the thresholds of action units on the method so found."""
    evaluation, given = frames.evaluation, frames.evaluation.thresholds
    numbers = searched_values(evaluation.method)
    points = product(*(_candidates(number, search) for number in numbers.values()))
    methods = [with_values(evaluation.method, dict(zip(numbers, point, strict=True))) for point in points]
    searched = given == "tuned" or (isinstance(given, tuple) and search)
    outputs = frames.unsmoothed() if searched or len(methods) > 1 else {}
    fixed = given if isinstance(given, tuple) and not search else None
    method = _best(methods, lambda one: frames.score(TunedParameters(one, 0, fixed), outputs).value)
    if not searched:
        return method, fixed
    found = best_thresholds(
        combined(method, outputs, task_space(evaluation.task)), frames.value, np.ones(frames.value.shape, bool)
    )
    return method, tuple(float(threshold) for threshold in found)


def _candidates(number: SearchedValue, search: bool) -> tuple[float, ...]:
    if number.value is None or (search and number.grid):
        return number.grid
    return (number.value,)


def _best[T](candidates: Sequence[T], value: Callable[[T], float]) -> T:
    """The first of the best; a single one is not measured."""
    return candidates[0] if len(candidates) == 1 else max(candidates, key=value)
