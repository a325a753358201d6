"""The mouth of the demonstration face: four curves that part, stretch and bend with the action units.

The photograph smiles with parted lips. Each column of pixels through its mouth is cut at four heights (outer and inner
edge of either lip), and the pieces are moved to where the same cuts lie in the mouth that is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.units import COLUMN

Pixels = NDArray[np.float32]

CENTRE_X = 224.0
_HALF_WIDTH = 20.8
_CORNER_Y = 139.6
_HEIGHTS = (0.5, 4.2, 9.6, 13.8)  # below the corners, at the centre: outer upper, inner upper, inner lower, outer lower
_BENDS = (1.0, 1.0, 1.0, 0.8)
_NOSE_Y, _CHIN_Y, _COLLAR_Y = 131.0, 174.0, 204.0
_JAW_HALF_WIDTH = 46.0
_TEETH_TIP = 1.2  # how much of the photograph's teeth above the lower lip is left out, so that no lip is drawn as tooth


class Shape(NamedTuple):
    """A mouth in pixels of the photograph; heights grow downwards."""

    half_width: float
    corner_y: float
    seam_y: float
    upper_lip: float
    lower_lip: float
    upper_gap: float
    lower_gap: float
    jaw: float
    teeth: float


@dataclass(frozen=True, slots=True)
class MouthWarp:
    """Where the pixels of a wanted mouth come from.

    Attributes:
        x: `(rows, columns)` float32, column of the photograph.
        y: `(rows, columns)` float32, row of the photograph.
        cavity: `(rows, columns)` float32 in [0, 1], how much the dark of the open mouth covers.
        seam: `(rows, columns)` float32 in [0, 1], shade of the line between closed lips.
    """

    x: Pixels
    y: Pixels
    cavity: Pixels
    seam: Pixels


def mouth_shape(state: Pixels) -> Shape:
    """The mouth that a state `(units,)` of intensities in [0, 1] makes."""
    au = {unit: float(state[column]) for unit, column in COLUMN.items()}
    tight = max(au["AU23"], au["AU24"])
    gap = 4.2 * au["AU25"] + 13.0 * au["AU26"] + 1.5 * au["AU10"]
    return Shape(
        half_width=17.0 + 6.0 * au["AU12"] + 5.0 * au["AU20"] - 3.0 * au["AU23"] - 3.0 * au["AU26"],
        corner_y=142.6 - 4.8 * au["AU12"] + 6.0 * au["AU15"] + 2.5 * au["AU26"] + 1.5 * au["AU20"],
        seam_y=143.0 - 2.0 * au["AU15"] + 0.8 * au["AU12"],
        upper_lip=4.2 * (1.0 - 0.6 * tight - 0.2 * au["AU12"]),
        lower_lip=5.4 * (1.0 - 0.6 * tight - 0.15 * au["AU12"]),
        upper_gap=0.2 * gap + 3.5 * au["AU10"],
        lower_gap=0.8 * gap,
        jaw=9.0 * au["AU26"] + 1.0 * au["AU25"],
        teeth=min(1.0, au["AU12"] + au["AU10"] + 0.4 * au["AU20"]),
    )


def warp_mouth(shape: Shape, x: Pixels, y: Pixels) -> MouthWarp:
    """Pull the photograph's mouth into a shape.

    Args:
        shape: the wanted mouth.
        x: `(1, columns)` columns of the photograph that are drawn.
        y: `(rows, 1)` rows of the photograph that are drawn.
    """
    across = np.clip((x - CENTRE_X) / shape.half_width, -1.0, 1.0)
    bow = 1.0 - across**2
    target, found = _target_cuts(shape, bow), _found_cuts(bow)
    fade = _fade(np.abs(x - CENTRE_X), shape.half_width, _JAW_HALF_WIDTH)
    rows = _stacked(y, target, found)
    teeth_y = found[2] + (y - target[2]) + 4.5 * (1.0 - shape.teeth)
    open_mouth = _ramp(y - target[2]) * _ramp(target[3] - y) * (target[3] - target[2] > 0.5)
    lip_y = found[3] - _TEETH_TIP * bow
    rows = np.where(open_mouth > 0, np.minimum(teeth_y, lip_y), rows)
    closed = np.exp(-(((y - target[2]) / 0.9) ** 2)) * np.clip(1.5 - (target[3] - target[2]), 0.0, 1.0)
    return MouthWarp(
        x=_columns(shape, x, y),
        y=(y + fade * (rows - y)).astype(np.float32),
        cavity=(open_mouth * _ramp(teeth_y - lip_y + 0.5)).astype(np.float32),
        seam=(closed * (np.abs(across) < 1.0) * bow**0.25).astype(np.float32),
    )


def _target_cuts(shape: Shape, bow: Pixels) -> list[Pixels]:
    """Heights `(1, columns)` of nose, four lip edges, chin and collar in the wanted mouth."""
    seam = shape.corner_y + (shape.seam_y - shape.corner_y) * bow
    inner_upper, inner_lower = seam - shape.upper_gap * bow**0.7, seam + shape.lower_gap * bow**0.6
    lips = [
        inner_upper - shape.upper_lip * bow**0.6,
        inner_upper,
        inner_lower,
        inner_lower + shape.lower_lip * bow**0.6,
    ]
    return [np.full_like(bow, _NOSE_Y), *lips, np.full_like(bow, _CHIN_Y + shape.jaw), np.full_like(bow, _COLLAR_Y)]


def _found_cuts(bow: Pixels) -> list[Pixels]:
    """The same heights in the photograph."""
    lips = [_CORNER_Y + height * bow**bend for height, bend in zip(_HEIGHTS, _BENDS, strict=True)]
    return [np.full_like(bow, _NOSE_Y), *lips, np.full_like(bow, _CHIN_Y), np.full_like(bow, _COLLAR_Y)]


def _stacked(y: Pixels, target: list[Pixels], found: list[Pixels]) -> Pixels:
    """Rows of the photograph: linear between each pair of cuts, the identity above the first and below the last."""
    rows = np.minimum(y, _NOSE_Y) + np.maximum(y - _COLLAR_Y, 0.0)
    for low, high, source_low, source_high in zip(target, target[1:], found, found[1:], strict=False):
        part = np.clip((y - low) / np.maximum(high - low, 1e-3), 0.0, 1.0)
        rows = rows + part * (source_high - source_low)
    return rows


def _columns(shape: Shape, x: Pixels, y: Pixels) -> Pixels:
    """Columns of the photograph: scaled between the corners, shifted beside them, the identity far from the mouth."""
    away = np.abs(x - CENTRE_X)
    inside = away * (_HALF_WIDTH / shape.half_width)
    beside = away + (_HALF_WIDTH - shape.half_width) * _fade(away, shape.half_width, _JAW_HALF_WIDTH)
    shift = np.sign(x - CENTRE_X) * (np.where(away < shape.half_width, inside, beside) - away)
    near = np.exp(-(((y - shape.corner_y - shape.lower_gap / 2) / 17.0) ** 4))
    return (x + near * shift).astype(np.float32)


def _fade(away: Pixels, start: float, end: float) -> Pixels:
    """1 up to `start`, 0 from `end` on, smooth between."""
    part = np.clip((away - start) / (end - start), 0.0, 1.0)
    return 1.0 - part * part * (3.0 - 2.0 * part)


def _ramp(depth: Pixels) -> Pixels:
    """0 outside, 1 from one pixel deep on."""
    return np.clip(depth, 0.0, 1.0)
