"""A face that shows action units: the astronaut's photograph, warped and shaded.

The photograph is NASA's portrait of Eileen Collins (1993), in the public domain, as it ships inside scikit-image.
Every place below is in pixels of that 512 × 512 photograph, x to the right and y down.
"""

from __future__ import annotations

from typing import Final, final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.demo.mouth import mouth_shape, warp_mouth
from models.demo.units import COLUMN, UNITS

LEFT_PX, TOP_PX, WIDTH_PX, HEIGHT_PX = 30, 0, 340, 320
"""The part of the photograph that is cut out: head and shoulders."""

DETAIL: Final = 1.5
"""Pixels of the drawn portrait per pixel of the photograph."""

_FACE = (164, 66, 294, 206)  # the part that moves: left, top, right, bottom
_CAVITY = (58.0, 22.0, 24.0)
_CREASE_HUE = np.float32((0.8, 1.0, 1.1))  # skin in shade reddens

# unit: (centre, spread, displacement at full intensity), several to a unit
_MOVES: Final = (
    ("AU1", (212, 90), (8, 5.5), (0, -5.5)),
    ("AU1", (239, 90.5), (8, 5.5), (0, -5.5)),
    ("AU2", (194, 89.5), (9, 5.5), (0, -5)),
    ("AU2", (257, 91.5), (9, 5.5), (0, -5)),
    ("AU4", (209, 91), (10, 5.5), (3, 4.5)),
    ("AU4", (242, 92), (10, 5.5), (-3, 4.5)),
    ("AU4", (196, 91), (8, 5.5), (0, 2.5)),
    ("AU4", (256, 94), (8, 5.5), (0, 2.5)),
    ("AU5", (202, 95.5), (9, 3.6), (0, -1.9)),
    ("AU5", (247, 97.5), (9, 3.6), (0, -1.9)),
    ("AU5", (202, 105.5), (9, 3.4), (0, 1.2)),
    ("AU5", (247, 107.5), (9, 3.4), (0, 1.2)),
    ("AU6", (196, 116), (12, 8), (0, -5)),
    ("AU6", (254, 118), (12, 8), (0, -5)),
    ("AU6", (202, 105.5), (9, 3.4), (0, -1.6)),
    ("AU6", (247, 107.5), (9, 3.4), (0, -1.6)),
    ("AU7", (202, 105.5), (10, 3.4), (0, -2.4)),
    ("AU7", (247, 107.5), (10, 3.4), (0, -2.4)),
    ("AU7", (202, 96), (10, 3.4), (0, 1.8)),
    ("AU7", (247, 98), (10, 3.4), (0, 1.8)),
    ("AU9", (212, 127), (6, 8), (-0.5, -4)),
    ("AU9", (236, 127), (6, 8), (0.5, -4)),
    ("AU9", (224, 104), (8, 6), (0, 2.5)),
    ("AU10", (209, 131), (7, 6), (-0.5, -3)),
    ("AU10", (240, 131), (7, 6), (0.5, -3)),
)

# unit: (from, to, half thickness, darkening at full intensity)
_CREASES: Final = (
    ("AU1", (208, 85.5), (242, 86), 1.9, 0.22),
    ("AU2", (192, 83), (208, 82), 1.9, 0.18),
    ("AU2", (242, 84), (258, 87), 1.9, 0.18),
    ("AU4", (221, 86), (220, 97), 2.0, 0.40),
    ("AU4", (229, 86), (230, 97), 2.0, 0.40),
    ("AU4", (194, 93.5), (212, 96), 3.7, 0.22),
    ("AU4", (240, 96.5), (258, 96.5), 3.7, 0.22),
    ("AU6", (190, 107), (184, 110), 1.5, 0.20),
    ("AU6", (190, 103), (184, 103), 1.5, 0.20),
    ("AU6", (260, 108), (266, 111), 1.5, 0.20),
    ("AU6", (196, 109), (210, 108.5), 2.0, 0.20),
    ("AU6", (240, 111), (254, 111.5), 2.0, 0.20),
    ("AU7", (195, 107.5), (211, 107), 1.9, 0.18),
    ("AU7", (239, 109), (254, 109.5), 1.9, 0.18),
    ("AU9", (217, 103), (231, 104), 2.0, 0.32),
    ("AU9", (216, 108), (232, 109), 2.0, 0.28),
    ("AU9", (211, 121), (206, 130), 2.7, 0.28),
    ("AU9", (238, 121), (243, 130), 2.7, 0.28),
    ("AU10", (210, 126), (200, 138), 2.7, 0.32),
    ("AU10", (239, 126), (248, 139), 2.7, 0.32),
    ("AU15", (204, 143), (199, 155), 2.7, 0.30),
    ("AU15", (244, 143), (249, 156), 2.7, 0.30),
    ("AU15", (214, 158), (234, 158), 3.1, 0.20),
    ("AU23", (206, 143), (203, 138), 2.4, 0.24),
    ("AU23", (243, 143), (246, 138), 2.4, 0.24),
    ("AU24", (213, 157), (236, 157), 2.7, 0.24),
)

_SMILE_FOLDS: Final = (
    ((210, 123), (202, 130), (196, 137), (196, 141)),
    ((239, 123), (246, 131), (250, 138), (250, 143)),
)

_OUTLINE: Final = (
    *((276, 31), (248, 19), (237, 17), (227, 17), (212, 23), (205, 22), (193, 30), (189, 36), (174, 44), (157, 59)),
    *((154, 68), (156, 98), (160, 106), (171, 116), (175, 128), (183, 134), (185, 148), (152, 152), (140, 159)),
    *((124, 179), (114, 202), (91, 228), (76, 239), (61, 260), (44, 295), (44, 330), (370, 330), (356, 302)),
    *((345, 272), (336, 257), (310, 234), (301, 228), (292, 211), (278, 193), (255, 175), (256, 163), (263, 149)),
    *((265, 139), (274, 134), (289, 117), (295, 107), (300, 90), (295, 59), (285, 41)),
)

Pixels = NDArray[np.float32]


@final
class Face:
    """The photograph, ready to show any state of the action units.

    Attributes:
        alpha: `(height, width)` float32 in [0, 1], where the portrait covers what is behind it.
    """

    def __init__(self) -> None:
        from skimage.data import astronaut

        photo = np.asarray(astronaut())
        left, top, right, bottom = _FACE
        self.alpha = _matte()
        self._portrait = _as_bytes(_enlarged(photo[TOP_PX : TOP_PX + HEIGHT_PX, LEFT_PX : LEFT_PX + WIDTH_PX]))
        self._x = np.arange(left, right, 1 / DETAIL, dtype=np.float32)[None, :]
        self._y = np.arange(top, bottom, 1 / DETAIL, dtype=np.float32)[:, None]
        relaxed = _without_folds(photo)
        folds = photo.astype(np.float32) - relaxed
        self._relaxed, self._folds = self._part(relaxed), self._part(folds)
        self._moves = _move_bases(self._x, self._y)
        self._creases = _crease_bases(self._x, self._y)

    def draw(self, state: Pixels) -> NDArray[np.uint8]:
        """The portrait in a state of the action units.

        Args:
            state: `(units,)` float32 intensities in [0, 1], in the order of `models.demo.units.UNITS`.

        Returns:
            `(height, width, 3)` uint8 RGB.
        """
        mouth = warp_mouth(mouth_shape(state), self._x, self._y)
        fold = min(1.0, float(state[COLUMN["AU12"]]) + 0.5 * float(state[COLUMN["AU10"]]))
        skin = (self._relaxed + fold * self._folds) * (1.0 - _weighted(state, self._creases)[..., None] * _CREASE_HUE)
        move = _weighted(state, self._moves)
        x, y = mouth.x - move[..., 0], mouth.y - move[..., 1]
        shown = cv2.remap(
            skin,
            (x - _FACE[0]) * np.float32(DETAIL),
            (y - _FACE[1]) * np.float32(DETAIL),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        shown *= (1.0 - 0.45 * mouth.seam)[..., None]
        shown += mouth.cavity[..., None] * (np.float32(_CAVITY) - shown)
        portrait = self._portrait.copy()
        portrait[self._place()] = _as_bytes(shown)
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


def _enlarged(picture: NDArray[np.generic]) -> Pixels:
    """At `DETAIL`, with pixel `i` of the photograph at `i · DETAIL`."""
    rows, columns = round(HEIGHT_PX * DETAIL), round(WIDTH_PX * DETAIL)
    matrix = np.float32([[DETAIL, 0, 0], [0, DETAIL, 0]])
    return cv2.warpAffine(
        picture.astype(np.float32), matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _as_bytes(picture: Pixels) -> NDArray[np.uint8]:
    """Rounded to the 256 levels of a picture."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _matte() -> Pixels:
    """`(height, width)` cover of the portrait, its edge soft."""
    outline = (np.array(_OUTLINE, np.float64) - (LEFT_PX, TOP_PX)) * DETAIL
    cover = np.zeros((round(HEIGHT_PX * DETAIL), round(WIDTH_PX * DETAIL)), np.uint8)
    cv2.fillPoly(cover, [np.round(outline).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(cv2.erode(cover, np.ones((3, 3), np.uint8)), (0, 0), 1.6)
    return soft.astype(np.float32) / 255.0


def _without_folds(photo: NDArray[np.uint8]) -> Pixels:
    """The photograph with the folds of its smile smoothed away."""
    mask = np.zeros(photo.shape[:2], np.uint8)
    for fold in _SMILE_FOLDS:
        cv2.polylines(mask, [np.array(fold, np.int32)], False, 255, 6)
    filled = cv2.inpaint(photo, mask, 5, cv2.INPAINT_TELEA).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), 2.0).astype(np.float32)[..., None] / 255.0
    return photo + np.minimum(1.0, 1.6 * soft) * (filled - photo)


def _move_bases(x: Pixels, y: Pixels) -> Pixels:
    """`(units, rows, columns, 2)` displacement at full intensity."""
    bases = np.zeros((len(UNITS), y.size, x.size, 2), np.float32)
    for unit, (cx, cy), (sx, sy), move in _MOVES:
        bump = np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)
        bases[COLUMN[unit]] += bump[..., None] * np.float32(move)
    return bases


def _crease_bases(x: Pixels, y: Pixels) -> Pixels:
    """`(units, rows, columns)` darkening at full intensity."""
    bases = np.zeros((len(UNITS), y.size, x.size), np.float32)
    for unit, (x0, y0), (x1, y1), thick, dark in _CREASES:
        length = float(np.hypot(x1 - x0, y1 - y0))
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length**2, 0.0, 1.0)
        away = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
        line = dark * np.sqrt(4.0 * along * (1.0 - along)) * np.exp(-((away / thick) ** 2))
        bases[COLUMN[unit]] = np.maximum(bases[COLUMN[unit]], line)
    return bases
