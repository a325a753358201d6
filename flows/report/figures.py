"""The figures of an experiment: confusion matrix, F1 by class, agreement, timelines, and the papers' curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from affstore.flows.report.figure_parts import (
    DARK,
    PROTOCOL_COLOURS,
    Picture,
    as_png,
    axes_at,
    canvas,
    house_style,
)
from affstore.flows.report.report_data import PROTOCOLS, class_names, confusion_counts
from affstore.flows.report.timelines import timelines
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.tasks.experiments import ExperimentOutcome, ExperimentResult

_BINS = 80
_CURVE_OF = {"smooth_frames": "frames averaged on either side of a frame", "threshold": "threshold"}


def pictures_of(outcome: ExperimentOutcome) -> tuple[Picture, ...]:
    """Draw every figure of an experiment; none where it has no result.

    The results are drawn side by side where one figure holds both protocols, and one after the other else. Timelines
    are those of the first.
    """
    results = [one for one in outcome.results if one.videos]
    if not outcome.results:
        return ()
    kind = outcome.experiment.space.kind
    draw = _EACH.get(kind)
    with house_style():
        found = [draw(one) for one in results if len(one.decisions_and_labels[1])] if draw is not None else []
        if kind in (SpaceKind.CLASSES, SpaceKind.UNITS):
            found.append(f1_bars(outcome.results))
        if any(one.curve for one in outcome.results):
            found.append(curves(outcome.results))
        return (*found, *(timelines(results[0]) if results else ()))


def confusion(result: ExperimentResult) -> Picture:
    """The confusion matrix: of the frames of each class, the share and the number predicted as each class."""
    counts, names = confusion_counts(result), class_names(result)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    larger = max(1.0, len(names) / 8)
    across, down = round(570 * larger), round(465 * larger)
    figure = canvas(130 + across, 95 + down)
    axes = axes_at(figure, 110, 60, across, down)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.55 else "#1a1a1a"
        cell = f"{shares[i, j]:.1%}\n{count:,}"
        axes.text(j, i, cell, ha="center", va="center", color=colour, fontsize=8.5)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="annotated")
    axes.set_title(f"{PROTOCOLS[result.protocol]}: {_headline(result)}")
    mistakes = counts - np.diag(np.diag(counts))
    i, j = np.unravel_index(mistakes.argmax(), mistakes.shape)
    worst = f"The commonest mistake is {names[j]} for {names[i]} ({mistakes[i, j]:,} frames)."
    return Picture(
        f"{result.protocol}-confusion",
        f"Confusion matrix, {PROTOCOLS[result.protocol]}: of the frames annotated as a row's class, the share and "
        "the number that are predicted as each column's.",
        f"Confusion matrix of {counts.sum():,} frames, {np.trace(counts):,} of them right. "
        + (worst if mistakes.any() else "There is no mistake."),
        *as_png(figure),
    )


def f1_bars(results: Sequence[ExperimentResult]) -> Picture:
    """F1 of each class or action unit, under each protocol."""
    names = class_names(results[0])
    across = max(1000, 60 * len(names)) if len(names) > 8 else 700
    figure = canvas(across, 360)
    axes = axes_at(figure, 65, 35, across - 85, 265)
    width = 0.8 / len(results)
    for number, result in enumerate(results):
        heights = [result.scores.details.get(f"F1 {name}", 0.0) for name in names]
        at = np.arange(len(names)) + (number - (len(results) - 1) / 2) * width
        label = f"{PROTOCOLS[result.protocol]}: {_headline(result)}"
        axes.bar(at, heights, width * 0.94, color=PROTOCOL_COLOURS[result.protocol], label=label)
        for x, height in zip(at, heights, strict=True):
            axes.text(x, height + 0.01, f"{height:.3f}"[1:] if height < 1 else "1", ha="center", fontsize=7.5)
        axes.axhline(
            result.scores.value, color=PROTOCOL_COLOURS[result.protocol], linestyle=(0, (4, 3)), linewidth=1, zorder=0
        )
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(0, 1.04), ylabel="F1")
    axes.tick_params(axis="x", length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderaxespad=0.2)
    first = results[0].scores
    values = ", ".join(f"{name} {first.details.get(f'F1 {name}', 0.0):.3f}" for name in names)
    return Picture(
        "f1", "F1 of each class or unit; the dashed line is their mean.", f"Bars of F1: {values}.", *as_png(figure)
    )


def agreement(result: ExperimentResult) -> Picture:
    """How many frames have each pair of annotation and prediction, of each dimension: two of them beside each other."""
    label, value = result.decisions_and_labels
    space = result.experiment.space
    names, ticks = space.names, np.linspace(space.low, space.high, 5)
    down = (len(names) + 1) // 2
    figure = canvas(1000, 450 * down)
    for number, name in enumerate(names):
        axes = axes_at(figure, 75 + 490 * (number % 2), 60 + 450 * (down - 1 - number // 2), 350, 350)
        ccc = result.scores.details.get(f"CCC {name}", float("nan"))
        _density(axes, space, value[:, number], label[:, number])
        axes.set(xlabel=f"annotated {name}", ylabel=f"predicted {name}", xticks=ticks, yticks=ticks)
        axes.set_title(f"{name}: CCC {ccc:.3f} ({PROTOCOLS[result.protocol]})")
    values = ", ".join(f"{name} {result.scores.details.get(f'CCC {name}', float('nan')):.3f}" for name in names)
    return Picture(
        f"{result.protocol}-agreement",
        f"Predictions against annotations, {PROTOCOLS[result.protocol]}. Darker is more frames, on a logarithmic "
        "scale; on the dashed line both agree. "
        + f"What is beyond {space.low:g} or {space.high:g} is drawn at the edge.".replace("-", "−"),
        f"Density of prediction against annotation of {len(value):,} frames; CCC of {values}.",
        *as_png(figure),
    )


def curves(results: Sequence[ExperimentResult]) -> Picture:
    """The papers' figure: ours under each protocol beside the papers' curve."""
    experiment = results[0].experiment
    measure = (experiment.sweep.measure if experiment.sweep else "") or results[0].scores.headline
    figure = canvas(700, 400)
    axes = axes_at(figure, 75, 55, 605, 270)
    if experiment.paper_curve:
        axes.plot(
            *_sorted(experiment.paper_curve),
            "x--",
            color=DARK,
            label=f"the papers' ({experiment.source})",
            linewidth=1.2,
        )
    for result in (one for one in results if one.curve):
        colour, name = PROTOCOL_COLOURS[result.protocol], f"ours, {PROTOCOLS[result.protocol]}"
        axes.plot(*_sorted(result.curve), "o-", color=colour, label=name, markersize=4)
        chosen = result.chosen.get(experiment.sweep.of) if experiment.sweep else None
        if isinstance(chosen, int | float):
            axes.axvline(
                chosen, color=colour, linestyle=":", linewidth=1.2, label=f"chosen, {PROTOCOLS[result.protocol]}"
            )
    axes.set(xlabel=_CURVE_OF[experiment.sweep.of] if experiment.sweep else "", ylabel=measure)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.3)
    best = [
        f"{PROTOCOLS[s.protocol]} {max(s.curve.values()):.3f} at {max(s.curve, key=s.curve.__getitem__):g}"
        for s in results
        if s.curve
    ]
    return Picture(
        "curve",
        f"{experiment.source} redrawn: {measure} by the "
        f"{_CURVE_OF[experiment.sweep.of] if experiment.sweep else 'number that is swept'}, everything else as chosen.",
        f"Curve; highest, {'; '.join(best)}.",
        *as_png(figure),
    )


def _density(axes: Axes, space: LabelSpace, x: NDArray[Any], y: NDArray[Any]) -> None:
    low, high = space.low, space.high
    bins = int(high) + 1 if space.kind is SpaceKind.INTENSITIES else _BINS
    shares = [(cells.astype(np.float64) - low) / (high - low) for cells in (x, y)]
    at = [np.clip((share * bins).astype(np.int64), 0, bins - 1) for share in shares]
    counts = np.bincount(at[1] * bins + at[0], minlength=bins**2).reshape(bins, bins).astype(np.float64)
    counts[counts == 0] = np.nan
    norm = LogNorm(1, max(10.0, float(np.nanmax(counts))))
    image = axes.imshow(counts, cmap="viridis_r", norm=norm, origin="lower", extent=(low, high, low, high))
    axes.plot([low, high], [low, high], color=DARK, linestyle=(0, (4, 3)), linewidth=1)
    bar = axes.inset_axes((1.02, 0, 0.03, 1))
    axes.figure.colorbar(image, cax=bar)


def _sorted(curve: Any) -> tuple[list[float], list[float]]:
    xs = sorted(curve)
    return xs, [curve[x] for x in xs]


def _headline(result: ExperimentResult) -> str:
    return f"{result.scores.headline} {result.scores.value:.3f}"


_EACH: dict[SpaceKind, Callable[[ExperimentResult], Picture]] = {
    SpaceKind.CLASSES: confusion,
    SpaceKind.INTENSITIES: agreement,
    SpaceKind.VALUES: agreement,
}
"""What is drawn of each protocol's result, by kind of space."""
