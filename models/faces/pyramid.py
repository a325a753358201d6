"""One picture at falling sizes, from which MTCNN's three networks take what they look at."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affstore.models.faces.operators import operators
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

    def __init__(self, image: NDArray[np.uint8], spec: DetectorSpec, device: torch.device) -> None:
        height, width = image.shape[:2]
        short = min(height, width)
        first = CELL_PX / max(spec.smallest_px, spec.smallest_share * short)
        finer = min(_FINER_LEVELS, math.floor(math.log(first) / math.log(spec.pyramid_factor)))
        coarser = math.floor(math.log(CELL_PX / (short * first)) / math.log(spec.pyramid_factor)) + 1
        self.size_px = (width, height)
        self.searched = range(finer, finer + max(0, coarser))
        self._coarsest = max(1, self.searched.stop) - 1
        self._factor, self._largest, self._device = spec.pyramid_factor, first / spec.pyramid_factor**finer, device
        self._halved = [image]
        self._images: dict[int, NDArray[np.uint8]] = {}

    def level(self, level: int) -> Tensor:
        """`(1, 3, h, w)` float32 in about [-1, 1], channels last."""
        return self._as_tensor(self._image(level))

    def per_px(self, level: int) -> NDArray[np.float32]:
        """`(2,)`: what x and y of the picture are multiplied with to lie on a level."""
        height, width = self._image(level).shape[:2]
        halvings = self._halvings(level)
        whole_height, whole_width = self._halved[halvings].shape[:2]
        return np.array([width / (whole_width << halvings), height / (whole_height << halvings)], np.float32)

    def cut(self, box: NDArray[np.float32], side_px: int) -> Tensor:
        """What lies in square boxes `(n, 4)`, as `(n, 3, side_px, side_px)`; grey outside the picture.

        Each box is cut from the coarsest level that still has `side_px` pixels along it.
        """
        patches = torch.empty(len(box), 3, side_px, side_px, device=self._device)
        scale = side_px / ((box[:, 2] - box[:, 0]) * self._largest)
        level = np.clip(np.floor(np.log(scale) / math.log(self._factor)), 0, self._coarsest).astype(int)
        for index in np.unique(level).tolist():
            here = np.flatnonzero(level == index)
            on_level = box[here] * np.tile(self.per_px(index), 2)
            part, corner = _surroundings(self._image(index), on_level)
            rows = np.concatenate([np.zeros((len(here), 1), np.float32), on_level - np.tile(corner, 2)], axis=1)
            patches[torch.from_numpy(here)] = operators().roi_align(
                self._as_tensor(part),
                torch.from_numpy(rows).to(self._device),
                1.0,  # rows are in pixels of the part
                side_px,
                side_px,
                1,  # one sample a cell
                True,  # pixels are looked at in their middles
            )
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

    def _as_tensor(self, pixels: NDArray[np.uint8]) -> Tensor:
        on_device = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        return (on_device.float() - 127.5) / 128


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
