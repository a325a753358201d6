"""The charts of a video's page: curves and bands along its time, drawn as SVG when the page is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore.models.media.sound import Sound
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.schema import family
from affstore.tasks.analysis.comparison import compared_with
from affstore.tasks.analysis.label_columns import label_column
from affstore.tasks.analysis.summary import values_of

WIDE, HIGH = 1000, 100
"""The box in which curves and bands are drawn."""

COLOURS = 8
_OF_CLASS = "_p_"
"""Between a label space of one's own and its class, in the name of a column."""
_UNIT_PROBABILITY = re.compile(r"AU[0-9]+_probability")
_VOICE = tuple(f"voice_{dimension}" for dimension in family("audio").places["dimension"])


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: what it is of.
        path: of SVG, in a box of 1000 × 100; broken where nothing is known.
        colour: number of its colour.
        is_label: whether it is what an annotator says; drawn dashed.
    """

    name: str
    path: str
    colour: int
    is_label: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Which class there is along the time.

    Attributes:
        name: `label` or `predicted`.
        classes: name, number of the colour, and path of SVG in the same box, of each that occurs.
    """

    name: str
    classes: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that share an axis, and bands above them.

    Attributes:
        title: what they are.
        low: the value at the bottom.
        high: the value at the top.
        curves: the lines.
        bands: of classes, a label's before the prediction's.
        gaps: a path of SVG over the frames without a face; empty for sound.
    """

    title: str
    low: float
    high: float
    curves: tuple[Curve, ...]
    bands: tuple[Band, ...] = ()
    gaps: str = ""

    @property
    def legend(self) -> list[tuple[str, int]]:
        """Names with the number of their colour, each once."""
        bands = [(name, colour) for band in self.bands for name, colour, _ in band.classes]
        return list(dict.fromkeys([*((one.name, one.colour) for one in self.curves if not one.is_label), *bands]))


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A subject's rows, along the time of their video."""

    rows: pa.Table
    across: NDArray[np.float64]
    gaps: str

    def chart(
        self, title: str, limits: tuple[float, float], names: Sequence[str], labels: Sequence[str] = ()
    ) -> Chart | None:
        """Curves of some columns, with those of labels in the colours of their predictions; None without a value."""
        curves = [
            Curve(short_name(name), self._path(name, limits), number % COLOURS, is_label)
            for of, is_label in ((names, False), (labels, True))
            for number, name in enumerate(of)
            if name in self.rows.column_names
        ]
        kept = tuple(curve for curve in curves if curve.path or not curve.is_label)
        return Chart(title, *limits, kept, (), self.gaps) if any(curve.path for curve in kept) else None

    def band(self, name: str, column: str, colours: dict[str, int]) -> Band:
        """The classes of a column; those that have no colour yet get the next."""
        said = self.rows[column].to_pylist()
        for one in said:
            if one is not None:
                colours.setdefault(one, len(colours))
        codes = np.array([-1 if one is None else colours[one] for one in said], np.int64)
        runs: dict[int, list[str]] = {}
        for code, rectangle in _rectangles(_modes(codes), self.across):
            if code >= 0:
                runs.setdefault(code, []).append(rectangle)
        names = {number: one for one, number in colours.items()}
        return Band(name, tuple((names[code], code % COLOURS, "".join(runs[code])) for code in sorted(runs)))

    def _path(self, name: str, limits: tuple[float, float]) -> str:
        low, high = limits
        return _path(self.across, (values_of(self.rows, name) - low) / (high - low))


def short_name(column: str) -> str:
    """A column as a legend names it."""
    return column.rpartition(_OF_CLASS)[2].removeprefix("p_")


def subject_charts(rows: pa.Table, clock: FrameClock, spaces: Sequence[LabelSpace]) -> list[Chart]:
    """What is known of one subject: face, predictions, and the labels beside them.

    Args:
        rows: of the subject, a row a frame.
        clock: of the video.
        spaces: in which somebody of the video is labelled.
    """
    across = _across(values_of(rows, "time_s"), clock)
    seen = values_of(rows, "present") > 0
    drawing = _Drawing(rows, across, "".join(text for gone, text in _rectangles(_any(~seen), across) if gone))
    by_space = {space.name: space for space in spaces}
    found = [drawing.chart("Face", (0, 1), ["present"]), *_network_charts(drawing, by_space)]
    heads = dict.fromkeys(name.partition(_OF_CLASS)[0] for name in rows.column_names if _OF_CLASS in name)
    for name in (one for one in heads if one != "label"):
        classes = [one for one in rows.column_names if _OF_CLASS in one and one.partition(_OF_CLASS)[0] == name]
        chart = drawing.chart(f"{name}: probability", (0, 1), classes)
        found.append(_with_bands(drawing, chart, by_space.get(name), name))
    drawn = {one.title for one in found if one}
    found += [one for space in spaces for one in _label_charts(drawing, space, drawn)]
    return [one for one in found if one is not None]


def sound_charts(rows: pa.Table, clock: FrameClock, sound: Sound | None) -> list[Chart]:
    """What is heard in a video: its envelope, where somebody speaks, and the voice.

    Args:
        rows: of any one subject.
        clock: of the video.
        sound: the video's, if its file is at hand.
    """
    drawing = _Drawing(rows, _across(values_of(rows, "time_s"), clock), "")
    voice = [name for name in rows.column_names if name in _VOICE]
    speech = [name for name in ("speech_probability",) if name in rows.column_names]
    wave = None
    if sound is not None and (path := _envelope(sound, clock)):
        wave = Chart("Sound: envelope, its loudest is 1", -1, 1, (Curve("sound", path, 4),))
    found = (wave, drawing.chart("Speech: probability", (0, 1), speech), drawing.chart("Voice", (0, 1), voice))
    return [one for one in found if one is not None]


def _network_charts(drawing: _Drawing, spaces: dict[str, LabelSpace]) -> Iterator[Chart | None]:
    """What networks say, and heads of action units; the labels of the same things with them."""
    names = [name for name in drawing.rows.column_names if _OF_CLASS not in name]  # an own space may be called `p`
    chart = drawing.chart("Expressions: probability", (0, 1), [name for name in names if name.startswith("p_")])
    of = next((s for s in spaces.values() if "expression" in compared_with(s, names).values()), None)
    yield _with_bands(drawing, chart, of, "expression")
    for title, prefix in (("Valence and arousal", ""), ("Valence and arousal by a head", "va_")):
        columns = [f"{prefix}{name}" for name in ("valence", "arousal")]
        pairs = compared_with(spaces["va"], names) if "va" in spaces else {}
        labels = [label for label, of in pairs.items() if of in columns]
        yield drawing.chart(title, (-1, 1), [one for one in columns if one in names], labels)
    units = [name for name in names if _UNIT_PROBABILITY.fullmatch(name)]
    if "au" not in spaces:
        yield drawing.chart("Action units: probability", (0, 1), units)
        return
    for name in units:  # each alone, for dozens of lines in one chart cannot be told apart
        unit = name.removesuffix("_probability")
        yield drawing.chart(f"{unit}: probability", (0, 1), [name], [label_column(spaces["au"], unit)])


def _with_bands(drawing: _Drawing, chart: Chart | None, space: LabelSpace | None, predicted: str) -> Chart | None:
    """A chart of classes with what is labelled and what is predicted above its curves."""
    if chart is None or space is None or space.kind is not SpaceKind.CLASSES:
        return chart
    colours = {curve.name: number for number, curve in enumerate(chart.curves)}
    bands = tuple(drawing.band(*one, colours) for one in (("label", label_column(space)), ("predicted", predicted)))
    return Chart(chart.title, chart.low, chart.high, chart.curves, bands, chart.gaps)


def _label_charts(drawing: _Drawing, space: LabelSpace, drawn: set[str]) -> Iterator[Chart | None]:
    """The labels of a space that stand in no chart yet, with the decisions of a head of the same space."""
    names = drawing.rows.column_names
    pairs = compared_with(space, names)
    if space.kind is SpaceKind.CLASSES:
        if "expression" in pairs.values() or f"{space.name}: probability" in drawn:
            return
        band = drawing.band("label", label_column(space), {})
        yield Chart(f"{space.name}: label", 0, 1, (), (band,), drawing.gaps) if band.classes else None
        return
    for name in space.names:
        label = label_column(space, name)
        in_a_chart = pairs.get(label) in ("valence", "arousal", "va_valence", "va_arousal")
        if not in_a_chart and f"{name}: probability" not in drawn:
            found = [pairs[label]] if label in pairs else []
            yield drawing.chart(f"{space.name}: {name}", (space.low, space.high), found, [label])


def _across(times_s: NDArray[np.float64], clock: FrameClock) -> NDArray[np.float64]:
    """Where instants are on the axis: 0 when the first frame begins, 1 when the last one ends."""
    start = float(clock.starts_s[0]) if len(clock) else 0.0
    return (times_s - start) / (clock.duration_s or 1.0)


def _blocks(count: int) -> list[NDArray[np.int64]]:
    """At most 1000 runs of frames; none is empty."""
    return list(np.array_split(np.arange(count), min(WIDE, count))) if count else []


def _path(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    """A path through the means of at most 1000 blocks of frames; broken where a block has no value."""
    parts, drawing = [], False
    for block in _blocks(len(up)):
        known = up[block][np.isfinite(up[block])]
        if not len(known):
            drawing = False
            continue
        x, y = WIDE * across[block[0]], HIGH * (1 - np.clip(known.mean(), 0, 1))
        parts.append(f"{'L' if drawing else 'M'}{x:.4g} {y:.1f}" + ("" if drawing else "h.5"))
        drawing = True
    return "".join(parts)


def _any(flags: NDArray[np.bool_]) -> list[int]:
    """Whether a block of frames has one that is meant."""
    return [int(flags[block].any()) for block in _blocks(len(flags))]


def _modes(codes: NDArray[np.int64]) -> list[int]:
    """The most frequent code of each block of frames."""
    return [int(np.bincount(codes[block] + 1).argmax()) - 1 for block in _blocks(len(codes))]


def _rectangles(of_blocks: Sequence[int], across: NDArray[np.float64]) -> Iterator[tuple[int, str]]:
    """Each run of blocks with the same code as a rectangle over the whole height of a chart."""
    edges = [WIDE * across[block[0]] for block in _blocks(len(across))] + [float(WIDE)]
    first = 0
    for code, run in groupby(of_blocks):
        last = first + sum(1 for _ in run)
        yield code, f"M{edges[first]:.5g} 0H{edges[last]:.5g}V{HIGH}H{edges[first]:.5g}Z"
        first = last


def _envelope(sound: Sound, clock: FrameClock) -> str:
    """The lowest and the highest sample of each thousandth of a video as an area; empty where it is silent."""
    loudest = float(np.abs(sound.samples).max(initial=0.0))
    if not loudest:
        return ""
    start = float(clock.starts_s[0]) if len(clock) else 0.0
    at_s = start - float(sound.start_s) + np.arange(WIDE + 1) / WIDE * (clock.duration_s or 1.0)
    edges = np.clip(np.ceil(at_s * sound.rate_hz), 0, len(sound.samples)).astype(np.int64)
    upper, lower = [], []
    for x, (first, last) in enumerate(pairwise(edges.tolist())):
        heard = sound.samples[first:last] / loudest
        high, low = (float(heard.max()), float(heard.min())) if last > first else (0.0, 0.0)
        upper.append(f"{x} {HIGH * (1 - high) / 2:.1f}")
        lower.append(f"{x} {HIGH * (1 - low) / 2 + 0.5:.1f}")
    return f"M{'L'.join([*upper, *reversed(lower)])}Z"
