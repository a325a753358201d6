"""A face that shows action units: the astronaut's photograph, warped and shaded.

The photograph is NASA's portrait of Eileen Collins (1993), in the public domain, as it ships inside scikit-image.
Places are in pixels of that 512 × 512 photograph, x to the right and y down.
"""

from __future__ import annotations

from typing import Final, final

import cv2
import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.anatomy import BLUSHES, BROWS, CREASES, MOVES, OUTLINE, SMILE_FOLDS
from affstore.models.demo.mouth import mouth_shape, warp_mouth
from affstore.models.demo.units import COLUMN, UNITS

LEFT_PX, TOP_PX, WIDTH_PX, HEIGHT_PX = 30, 0, 340, 320
"""The part of the photograph that is cut out: head and shoulders."""

DETAIL: Final = 1.5
"""Pixels of the drawn portrait per pixel of the photograph."""

_FACE = (164, 66, 294, 206)  # the part that moves: left, top, right, bottom
_CAVITY = np.array((58.0, 22.0, 24.0), np.float32)
_CREASE_HUE = np.array((0.8, 1.0, 1.1), np.float32)  # skin in shade reddens

Pixels = NDArray[np.float32]


@final
class Face:
    """The photograph, ready to show any state of the action units.

    Attributes:
        alpha: `(height, width)` float32 in [0, 1], where the portrait covers what is behind it.
    """

    def __init__(self) -> None:
        from skimage.data import astronaut

        photo = np.asarray(astronaut())  # type: ignore[no-untyped-call]
        left, top, right, bottom = _FACE
        self.alpha = _matte()
        self._portrait = _as_bytes(_enlarged(photo[TOP_PX : TOP_PX + HEIGHT_PX, LEFT_PX : LEFT_PX + WIDTH_PX]))
        self._x = np.arange(left, right, 1 / DETAIL, dtype=np.float32)[None, :]
        self._y = np.arange(top, bottom, 1 / DETAIL, dtype=np.float32)[:, None]
        relaxed = _with_darker_brows(_without_folds(photo))
        folds = _with_darker_brows(photo.astype(np.float32)) - relaxed
        self._relaxed, self._folds = self._part(relaxed), self._part(folds)
        self._moves = _move_bases(self._x, self._y)
        self._creases = _crease_bases(self._x, self._y)
        self._blushes = _blush_bases(self._x, self._y)

    def draw(self, state: Pixels) -> NDArray[np.uint8]:
        """The portrait in a state of the action units.

        Args:
            state: `(units,)` float32 intensities in [0, 1], in the order of `affstore.models.demo.units.UNITS`.

        Returns:
            `(height, width, 3)` uint8 RGB.
        """
        mouth = warp_mouth(mouth_shape(state), self._x, self._y)
        fold = min(1.0, float(state[COLUMN["AU12"]]) + 0.5 * float(state[COLUMN["AU10"]]))
        skin = (self._relaxed + fold * self._folds) * (1.0 - _weighted(state, self._creases)[..., None] * _CREASE_HUE)
        skin *= 1.0 + _weighted(state, self._blushes)
        move = _weighted(state, self._moves)
        x, y = mouth.x - move[..., 0], mouth.y - move[..., 1]
        x, y = (x - _FACE[0]) * np.float32(DETAIL), (y - _FACE[1]) * np.float32(DETAIL)
        warped = cv2.remap(skin, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        skin_and_mouth = np.asarray(warped, np.float32) * (1.0 - 0.45 * mouth.seam)[..., None]
        skin_and_mouth += mouth.cavity[..., None] * (_CAVITY - skin_and_mouth)
        portrait = self._portrait.copy()
        portrait[self._place()] = _as_bytes(skin_and_mouth)
        return portrait

    def _place(self) -> tuple[slice, slice]:
        top, left = int((_FACE[1] - TOP_PX) * DETAIL), int((_FACE[0] - LEFT_PX) * DETAIL)
        return slice(top, top + self._y.size), slice(left, left + self._x.size)

    def _part(self, picture: Pixels) -> Pixels:
        """The part that moves, enlarged."""
        return _enlarged(picture[TOP_PX : TOP_PX + HEIGHT_PX, LEFT_PX : LEFT_PX + WIDTH_PX])[self._place()]


def _weighted(state: Pixels, bases: Pixels) -> Pixels:
    """The bases' sum, each times its unit's intensity; term by term, so that no thread count can change a bit."""
    total = np.zeros(bases.shape[1:], np.float32)
    for unit in np.flatnonzero(state):
        total += state[unit] * bases[unit]
    return total


def _enlarged(picture: NDArray[np.uint8] | Pixels) -> Pixels:
    """At `DETAIL`, with pixel `i` of the photograph at `i · DETAIL`."""
    rows, columns = round(HEIGHT_PX * DETAIL), round(WIDTH_PX * DETAIL)
    matrix = np.array([[DETAIL, 0, 0], [0, DETAIL, 0]])
    pixels = np.asarray(picture, np.float32)
    enlarged = cv2.warpAffine(pixels, matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, np.float32)


def _as_bytes(picture: Pixels) -> NDArray[np.uint8]:
    """Rounded to the 256 levels of a picture."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _matte() -> Pixels:
    """`(height, width)` cover of the portrait, its edge soft."""
    outline = (np.array(OUTLINE, np.float64) - (LEFT_PX, TOP_PX)) * DETAIL
    cover = np.zeros((round(HEIGHT_PX * DETAIL), round(WIDTH_PX * DETAIL)), np.uint8)
    cv2.fillPoly(cover, [np.round(outline).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(cv2.erode(cover, np.ones((3, 3), np.uint8)), (0, 0), 1.6)
    return soft.astype(np.float32) / 255.0


def _without_folds(photo: NDArray[np.uint8]) -> Pixels:
    """The photograph with the folds of its smile smoothed away."""
    mask = np.zeros(photo.shape[:2], np.uint8)
    for fold in SMILE_FOLDS:
        cv2.polylines(mask, [np.array(fold, np.int32)], False, 255, 6)
    filled = cv2.inpaint(photo, mask, 5, cv2.INPAINT_TELEA).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), 2.0).astype(np.float32)[..., None] / 255.0
    return photo + np.minimum(1.0, 1.6 * soft) * (filled - photo)


def _with_darker_brows(photo: Pixels) -> Pixels:
    """The photograph with darker brows, so that they can be read at the size of a video."""
    mask = np.zeros(photo.shape[:2], np.uint8)
    for brow in BROWS:
        cv2.polylines(mask, [np.round(np.array(brow) * 16).astype(np.int32)], False, 255, 2, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32)[..., None] / 255.0
    return photo * (1.0 - 0.5 * soft * _CREASE_HUE)


def _blush_bases(x: Pixels, y: Pixels) -> Pixels:
    """`(units, rows, columns, 3)` share by which the skin's colour changes at full intensity."""
    bases = np.zeros((len(UNITS), y.size, x.size, 3), np.float32)
    for unit, (cx, cy), (sx, sy), change in BLUSHES:
        patch = np.exp(-((((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) ** 1.5))
        bases[COLUMN[unit]] += patch[..., None] * np.array(change, np.float32)
    return bases


def _move_bases(x: Pixels, y: Pixels) -> Pixels:
    """`(units, rows, columns, 2)` displacement at full intensity."""
    bases = np.zeros((len(UNITS), y.size, x.size, 2), np.float32)
    for unit, (cx, cy), (sx, sy), move in MOVES:
        bump = np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)
        bases[COLUMN[unit]] += bump[..., None] * np.array(move, np.float32)
    return bases


def _crease_bases(x: Pixels, y: Pixels) -> Pixels:
    """`(units, rows, columns)` darkening at full intensity."""
    bases = np.zeros((len(UNITS), y.size, x.size), np.float32)
    for unit, (x0, y0), (x1, y1), thick, dark in CREASES:
        length = float(np.hypot(x1 - x0, y1 - y0))
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length**2, 0.0, 1.0)
        away = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
        line = dark * np.sqrt(4.0 * along * (1.0 - along)) * np.exp(-((away / thick) ** 2))
        bases[COLUMN[unit]] = np.maximum(bases[COLUMN[unit]], line)
    return bases
