"""Predictions along a video against its labels: the worst, the median and the best of a row's videos."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from affstore.flows.report.figure_parts import (
    BLUE,
    VERMILLION,
    Picture,
    as_png,
    axes_at,
    canvas,
    class_colours,
    hatched,
    plain_text,
    shades,
    unknown_patch,
)
from affstore.flows.report.report_data import PROTOCOLS, block_means, block_modes, block_starts
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.tasks.experiments import ExperimentResult, SubjectPrediction

_WIDTH, _LEFT, _ACROSS = 1000, 90, 880
_DISTANCE = ("mean distance from the label", "mean distance from the label {:.3f}")
_MEASURED = {
    SpaceKind.CLASSES: ("share of frames that are right", "{:.1%} of the scored frames right"),
    SpaceKind.UNITS: ("share of action units that are right", "{:.1%} of the scored units right"),
    SpaceKind.INTENSITIES: _DISTANCE,
    SpaceKind.VALUES: _DISTANCE,
}


def timelines(result: ExperimentResult) -> tuple[Picture, ...]:
    """The worst, the median and the best video; fewer where there are fewer that have a scored frame."""
    scored = [one for one in result.videos if one.scored_frames(result.experiment.evaluation).any()]
    ranked = sorted(scored, key=lambda one: (_goodness(result, one), one.name))
    if not ranked:
        return ()
    if len(ranked) < 3:
        return tuple(_timeline(result, one, place) for one, place in zip(ranked, _PLACES[len(ranked)], strict=True))
    chosen = (ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1])
    return tuple(_timeline(result, one, place) for one, place in zip(chosen, _PLACES[3], strict=True))


_PLACES = {1: ("only",), 2: ("worst", "best"), 3: ("worst", "median", "best")}


def _goodness(result: ExperimentResult, video: SubjectPrediction) -> float:
    """By what videos are ranked: F1 and CCC of one video say little, as most lack a class or change slowly."""
    rows = video.scored_frames(result.experiment.evaluation)
    label, value = video.label[rows], video.value[rows]
    if _MEASURED[result.experiment.space.kind] is _DISTANCE:
        return -float(np.abs(label - value).mean())
    return float((label == value).mean())


def _timeline(result: ExperimentResult, video: SubjectPrediction, place: str) -> Picture:
    space = result.experiment.space
    figure, top = _DRAWN[space.kind](space, video)
    by, template = _MEASURED[space.kind]
    measured = template.format(abs(_goodness(result, video)))
    top.set_title(f"{plain_text(video.name)} ({place} video): {measured}", loc="left", parse_math=False)
    known = float(video.known.any(axis=1).mean())
    return Picture(
        f"{result.protocol}-timeline-{place}",
        f"{video.name}, the {place} of the videos by the {by}, {PROTOCOLS[result.protocol]}. Hatched: unknown.",
        f"Timeline of {video.name}: {len(video.value):,} frames, {known:.1%} of them scored; {measured}.",
        *as_png(figure),
    )


def _classes(space: LabelSpace, video: SubjectPrediction) -> tuple[Figure, Axes]:
    """A band of annotated classes, and below it one of predicted classes."""
    names, palette = space.names, class_colours(len(space))
    figure = canvas(_WIDTH, 190)
    axes = axes_at(figure, _LEFT, 75, _ACROSS, 85)
    starts = block_starts(len(video.value), _ACROSS)
    colours = np.array([*map(to_rgba, palette), (1, 1, 1, 0)])  # the last, at −1, is see-through
    label = np.where(video.known[:, 0], video.value[:, 0], -1).astype(np.int64)
    for bottom, classes in ((0.54, label), (0.0, video.label[:, 0].astype(np.int64))):
        modes = block_modes(classes, len(names), starts)
        _bands(axes, colours[modes][None], bottom, bottom + 0.46, len(label))
    axes.set_yticks([0.77, 0.23], ["annotated", "predicted"])
    _along(axes, len(label), (0, 1))
    _legend(figure, [Patch(color=colour, label=name) for name, colour in zip(names, palette, strict=True)])
    return figure, axes


def _units(space: LabelSpace, video: SubjectPrediction) -> tuple[Figure, Axes]:
    """Two rows of each unit: where it is annotated, and below it where it is predicted."""
    names, height = space.names, 365 * len(space) // 12
    figure = canvas(_WIDTH, 105 + height)
    axes = axes_at(figure, _LEFT, 75, _ACROSS, height)
    starts = block_starts(len(video.value), _ACROSS)
    everywhere = np.ones(video.label.shape, bool)
    annotated = shades(block_means(video.value, video.known, starts), BLUE).swapaxes(0, 1)
    predicted = shades(block_means(video.label, everywhere, starts), VERMILLION).swapaxes(0, 1)
    gap = np.ones_like(annotated)
    rows = np.stack([annotated, annotated, predicted, predicted, gap], axis=1).reshape(-1, *annotated.shape[1:])
    _bands(axes, rows, 0, len(names), len(video.value))
    axes.set_yticks(len(names) - 0.4 - np.arange(len(names)), names)
    _along(axes, len(video.value), (0, len(names)))
    _legend(figure, [Patch(color=BLUE, label="annotated"), Patch(color=VERMILLION, label="predicted")])
    return figure, axes


def _lines(space: LabelSpace, video: SubjectPrediction) -> tuple[Figure, Axes]:
    """A pair of lines for each dimension or unit."""
    names, middle, margin = space.names, (space.low + space.high) / 2, (space.high - space.low) / 40
    limits = (space.low - margin, space.high + margin)
    figure = canvas(_WIDTH, 96 + 137 * len(names))
    starts = block_starts(len(video.value), _ACROSS)
    middles = (starts + np.append(starts[1:], len(video.value)) - 1) / 2
    label = block_means(video.value, video.known, starts)
    predicted = block_means(video.label, np.isfinite(video.label), starts)
    found = []
    for number, name in enumerate(names):
        axes = axes_at(figure, _LEFT, 75 + 137 * (len(names) - 1 - number), _ACROSS, 125)
        _unknown_runs(axes, np.isnan(label[:, number]), np.append(starts, len(video.value)), limits)
        axes.axhline(middle, color="#CCCCCC", linewidth=0.7)
        axes.plot(middles, label[:, number], color=BLUE, linewidth=1.4)
        axes.plot(middles, predicted[:, number], color=VERMILLION, linewidth=1.1)
        axes.set(ylabel=name, yticks=(space.low, middle, space.high))
        _along(axes, len(video.value), limits)
        found.append(axes)
    for axes in found[:-1]:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
    _legend(figure, [Patch(color=BLUE, label="annotated"), Patch(color=VERMILLION, label="predicted")])
    return figure, found[0]


def _bands(axes: Axes, colours: NDArray[Any], bottom: float, top: float, frames: int) -> None:
    """Rows of coloured blocks from top to bottom; what is see-through is hatched."""
    hatched(axes, 0, bottom, frames, top - bottom)
    axes.imshow(colours, extent=(0, frames, bottom, top), aspect="auto", interpolation="nearest")


def _unknown_runs(
    axes: Axes, unknown: NDArray[np.bool_], edges: NDArray[np.int64], limits: tuple[float, float]
) -> None:
    """Hatch the blocks of a line that are unknown, a run of them as one area."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], unknown, [False]]).astype(np.int8)))
    for first, end in turns.reshape(-1, 2):
        hatched(axes, edges[first], limits[0], edges[end] - edges[first], limits[1] - limits[0])


def _along(axes: Axes, frames: int, height: tuple[float, float]) -> None:
    axes.set(xlim=(0, frames), ylim=height, xlabel="frame")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _legend(figure: Figure, patches: list[Patch]) -> None:
    handles = [*patches, unknown_patch()]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 10), handlelength=1.2, columnspacing=1.4)


_DRAWN = {
    SpaceKind.CLASSES: _classes,
    SpaceKind.UNITS: _units,
    SpaceKind.INTENSITIES: _lines,
    SpaceKind.VALUES: _lines,
}
"""What a timeline is, by kind of space."""
