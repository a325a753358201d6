"""How far chance in the choice of videos, or of people, moves a headline: the bootstrap over whole ones."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.evaluation.metrics import class_counts, confusion_matrix, f1, unit_counts
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import SpaceKind, Task, counted_classes, task_space
from affstore.store.contract.names import split_subject

LEVEL = 0.95
"""The share of draws that an interval holds."""

Decided = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]
"""A video: decisions as `thresholds.decide` gives them, labels and known, each `(frames, columns)`."""

_ROUNDING = 1e-12
"""A variance below this share of the mean square is what rounding left of none."""


def bootstrap_interval(
    task: Task, videos: Sequence[Decided], without: tuple[str, ...] = (), draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Where the headline of `metrics.score` lies in 95 % of the draws of as many videos, with replacement.

    Frames of a video resemble each other, so videos are drawn, not frames; those without a scored frame are none. So
    do videos of one person, which are drawn as one where they are known. As in the papers, a frame is scored where all
    of its columns are known.

    Args:
        task: what is predicted.
        videos: of which the headline is reported, what is drawn together as one (see `whole_videos`).
        without: classes that do not count.
        draws: how many.
        seed: of the draws.

    Raises:
        AnnotationError: no frame is scored.
        SpecError: shapes differ, or a decision is none of the task.
    """
    scored = [rows for video in videos if len((rows := _scored(task, video, without))[0])]
    if not scored:
        raise AnnotationError(f"There is no frame to score the task '{task}' on, so there is no interval.")
    picks = np.random.default_rng(seed).integers(0, len(scored), (draws, len(scored)))
    cells = picks + np.arange(draws)[:, None] * len(scored)
    times = np.bincount(cells.ravel(), minlength=draws * len(scored)).reshape(draws, len(scored)).astype(np.float64)
    headlines = _headlines(task, scored, times, without)
    low, high = np.quantile(headlines, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def whole_videos(
    subjects: Iterable[tuple[str, Decided]],
    videos: Container[str] = (),
    together: Iterable[Sequence[str]] = (),
) -> list[Decided]:
    """Put subjects of one video, by their names (`12_left`, `12_right`), and videos of one group one after the other.

    Args:
        subjects: of each, its name, and what was decided.
        videos: the names of all videos; without them, a name such as `12_person3` is a video's own.
        together: the videos of each group, as all of one person; each video once at most.
    """
    first: Mapping[str, str] = {video: group[0] for group in together for video in group}
    drawn: dict[str, list[Decided]] = {}
    for name, decided in subjects:
        video = split_subject(name, videos)[0]
        drawn.setdefault(first.get(video, video), []).append(decided)
    return [
        (
            np.concatenate([decision for decision, _, _ in parts]),
            np.concatenate([value for _, value, _ in parts]),
            np.concatenate([known for _, _, known in parts]),
        )
        for parts in drawn.values()
    ]


def _scored(task: Task, video: Decided, without: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The decisions and labels of the frames that are scored."""
    decision, value, known = video
    rows = known.all(axis=1)
    if without:
        rows = rows & np.isin(value[:, 0], counted_classes(task, without))
    return decision[rows], value[rows]


def _headlines(
    task: Task,
    scored: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    times: NDArray[np.float64],
    without: tuple[str, ...],
) -> NDArray[np.float64]:
    """The headline of each draw, from sums over videos of what it depends on.

    Args:
        task: what is predicted.
        scored: of each video, decisions and labels.
        times: `(draws, videos)`: how often each is drawn.
        without: classes that do not count.
    """
    space = task_space(task)
    if space.kind in (SpaceKind.INTENSITIES, SpaceKind.VALUES):
        origin = np.concatenate([part[0] for part in scored[0]]).astype(np.float64).reshape(2, -1)
        return _ccc(_summed(times, [_moments(*video, origin) for video in scored]), origin[0] - origin[1]).mean(axis=1)
    if space.kind is SpaceKind.UNITS:
        return f1(_summed(times, [unit_counts(*video) for video in scored])).mean(axis=1)
    counts = [class_counts(confusion_matrix(*video, len(space))) for video in scored]
    return f1(_summed(times, counts))[:, counted_classes(task, without)].mean(axis=1)


def _summed(times: NDArray[np.float64], parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """`(draws, …)` sums of one array a video."""
    return np.tensordot(times, np.stack(parts).astype(np.float64), axes=1)


def _moments(decision: NDArray[Any], value: NDArray[Any], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count, sums, sums of squares and of products, `(6, columns)`, of what differs from one point near all of it.

    Args:
        decision: `(frames, columns)`.
        value: the same.
        origin: `(2, columns)`: what is taken off decisions, and off labels.
    """
    if not (np.isfinite(decision).all() and np.isfinite(value).all()):
        raise SpecError("An interval of CCC needs finite numbers; found NaN or infinity in a known frame.")
    x, y = decision - origin[0], value - origin[1]
    frames = np.full(x.shape[1], len(x), np.float64)
    return np.stack(
        [frames, x.sum(axis=0), y.sum(axis=0), (x * x).sum(axis=0), (y * y).sum(axis=0), (x * y).sum(axis=0)]
    )


def _ccc(moments: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """CCC `(draws, columns)` of `(draws, 6, columns)` moments whose origins differ by `shift`; see `metrics.ccc`."""
    frames = moments[:, 0]
    x, y, xx, yy, xy = (moments[:, index] / frames for index in range(1, 6))
    spread_x, spread_y = xx - x * x, yy - y * y
    constant = (spread_x <= _ROUNDING * xx) | (spread_y <= _ROUNDING * yy)
    covariance = np.where(constant, 0, xy - x * y)
    spread = spread_x.clip(0) + spread_y.clip(0) + (x - y + shift) ** 2
    return 2 * covariance / np.where(spread > 0, spread, 1)
