"""One picture at falling sizes, from which MTCNN's three networks take what they look at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.specs import DetectorSpec

CELL_PX = 12
"""Side of the smallest face that P-Net sees."""

_FINER_LEVELS = 3
"""Levels above P-Net's first one, so that R-Net and O-Net see more of a small face than P-Net did."""


class Pyramid:
    """A picture, each level `pyramid_factor` times the one before; a level is made when it is asked for.

    Every level is shrunk from the picture halved as often as leaves it less than twice as large, so that none needs the
    finer ones: a face that is followed is looked at on one or two coarse levels.

    Attributes:
        size_px: width and height of the picture.
        searched: the levels that P-Net slides over; in the first of them the smallest face measures `CELL_PX`.
    """

    def __init__(self, image: NDArray[np.uint8], spec: DetectorSpec) -> None:
        height, width = image.shape[:2]
        short = min(height, width)
        first = CELL_PX / max(spec.smallest_px, spec.smallest_share * short)
        finer = min(_FINER_LEVELS, math.floor(math.log(first) / math.log(spec.pyramid_factor)))
        coarser = math.floor(math.log(CELL_PX / (short * first)) / math.log(spec.pyramid_factor)) + 1
        self.size_px = (width, height)
        self.searched = range(finer, finer + max(0, coarser))
        self._coarsest = max(1, self.searched.stop) - 1
        self._factor, self._largest = spec.pyramid_factor, first / spec.pyramid_factor**finer
        self._halved = [image]
        self._images: dict[int, NDArray[np.uint8]] = {}

    def level(self, level: int) -> NDArray[np.float32]:
        """`(1, 3, h, w)` in about [-1, 1]."""
        return _scaled(self._image(level))[None]

    def per_px(self, level: int) -> NDArray[np.float32]:
        """`(2,)`: what x and y of the picture are multiplied with to lie on a level."""
        height, width = self._image(level).shape[:2]
        halvings = self._halvings(level)
        whole_height, whole_width = self._halved[halvings].shape[:2]
        return np.array([width / (whole_width << halvings), height / (whole_height << halvings)], np.float32)

    def cut(self, box: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
        """What lies in square boxes `(n, 4)`, as `(n, 3, side_px, side_px)`; grey outside the picture.

        Each box is cut from the coarsest level that still has `side_px` pixels along it.
        """
        patches = np.empty((len(box), 3, side_px, side_px), np.float32)
        scale = side_px / ((box[:, 2] - box[:, 0]) * self._largest)
        level = np.clip(np.floor(np.log(scale) / math.log(self._factor)), 0, self._coarsest).astype(int)
        for index in np.unique(level).tolist():
            here = np.flatnonzero(level == index)
            on_level = box[here] * np.tile(self.per_px(index), 2)
            part, corner = _surroundings(self._image(index), on_level)
            patches[here] = _sampled(_scaled(part), on_level - np.tile(corner, 2), side_px)
        return patches

    def _halvings(self, level: int) -> int:
        return math.floor(-math.log2(min(1.0, self._largest * self._factor**level)))

    def _image(self, level: int) -> NDArray[np.uint8]:
        if level not in self._images:
            halvings, scale = self._halvings(level), self._largest * self._factor**level
            while len(self._halved) <= halvings:
                self._halved.append(_half(self._halved[-1]))
            width, height = (max(1, round(length * scale)) for length in self.size_px)
            # The exact variant of bilinear gives the same bits on every machine.
            shrunk = cv2.resize(self._halved[halvings], (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
            self._images[level] = np.asarray(shrunk, np.uint8)
        return self._images[level]


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture `(h, w, 3)` as networks see it, `(3, h, w)`."""
    planes = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    return (planes - np.float32(127.5)) / np.float32(128)


def _sampled(picture: NDArray[np.float32], box: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Square boxes `(n, 4)` of a picture `(3, h, w)`, as `(n, 3, side_px, side_px)`; 0 outside the picture.

    One bilinear sample in the middle of each cell, where pixels have their values in their middles, too: torchvision's
    `roi_align`, to the bit.
    """
    height, width = picture.shape[1:]
    across, down = _samples(box[:, 0::2], width, side_px), _samples(box[:, 1::2], height, side_px)
    seen = down.inside[:, :, None] & across.inside[:, None]
    pixels, patches = picture.reshape(3, -1), np.zeros((3, *seen.shape), np.float32)
    for row, its_share in ((down.before, 1 - down.share), (down.after, down.share)):
        for column, share in ((across.before, 1 - across.share), (across.after, across.share)):
            weight = np.where(seen, its_share[:, :, None] * share[:, None], np.float32(0))
            patches += weight * pixels.take(width * row[:, :, None] + column[:, None], axis=1)
    return patches.swapaxes(0, 1)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Places along one axis of a picture, `(boxes, samples)`.

    Attributes:
        before: the pixel whose middle is not behind the place.
        after: the next one.
        share: of the next one in the place's value.
        inside: whether the place is in the picture.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    share: NDArray[np.float32]
    inside: NDArray[np.bool_]


def _samples(ends: NDArray[np.float32], length: int, side_px: int) -> _Samples:
    """`side_px` places in each of the boxes between `ends`, `(n, 2)` px, along an axis of `length` pixels."""
    half = np.float32(0.5)
    start = ends[:, :1] - half
    step = (ends[:, 1:] - half - start) / np.float32(side_px)
    place = start + np.arange(side_px, dtype=np.float32) * step + half * step
    before = np.clip(place, 0, length - 1).astype(np.int64)
    after = np.minimum(before + 1, length - 1)
    share = np.where(after > before, np.maximum(place, 0) - before, 0).astype(np.float32)
    return _Samples(before, after, share, (place >= -1) & (place <= length))


def _half(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture averaged over squares of two pixels; an odd last row or column is left out."""
    height, width = (max(1, length // 2) for length in image.shape[:2])
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _surroundings(image: NDArray[np.uint8], box: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The part of a picture that interpolation within boxes `(n, 4)` reads, and its upper left corner."""
    limit = np.array(image.shape[1::-1])
    low = np.clip(np.floor(box[:, :2].min(axis=0)).astype(int) - 2, 0, limit - 1)
    high = np.clip(np.ceil(box[:, 2:].max(axis=0)).astype(int) + 2, low + 1, limit)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float32)
