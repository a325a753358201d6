"""One picture at falling sizes, from which MTCNN's three networks take what they look at."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_align

from affstore.models.faces.specs import DetectorSpec

CELL_PX = 12
"""Side of the smallest face that P-Net sees."""

_FINER_LEVELS = 3
"""Levels above P-Net's first one, so that R-Net and O-Net see more of a small face than P-Net did."""


class Pyramid:
    """A picture, each level `pyramid_factor` times the one before; levels become tensors when they are asked for.

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
        self._factor, self._largest, self._device = spec.pyramid_factor, first / spec.pyramid_factor**finer, device
        self._images = [_divided(image, self._largest)]
        for level in range(max(1, self.searched.stop)):
            scale = self._largest * spec.pyramid_factor**level
            self._images.append(_shrunk(self._images[-1], (round(width * scale), round(height * scale))))
        del self._images[0]
        self._levels: dict[int, Tensor] = {}

    def level(self, level: int) -> Tensor:
        """`(1, 3, h, w)` float32 in about [-1, 1], channels last."""
        if level not in self._levels:
            pixels = torch.from_numpy(self._images[level]).to(self._device).permute(2, 0, 1).unsqueeze(0)
            self._levels[level] = (pixels.float() - 127.5) / 128
        return self._levels[level]

    def per_px(self, level: int) -> Tensor:
        """`(4,)`: what x0, y0, x1, y1 of the picture are multiplied with to lie on a level."""
        height, width = self._images[level].shape[:2]
        return torch.tensor([width / self.size_px[0], height / self.size_px[1]], device=self._device).repeat(2)

    def cut(self, box: Tensor, side_px: int) -> Tensor:
        """What lies in square boxes `(n, 4)`, as `(n, 3, side_px, side_px)`; grey outside the picture.

        Each box is cut from the coarsest level that still has `side_px` pixels along it.
        """
        patches = torch.empty(len(box), 3, side_px, side_px, device=self._device)
        scale = side_px / ((box[:, 2] - box[:, 0]) * self._largest)
        level = (scale.log() / math.log(self._factor)).floor().clamp(0, len(self._images) - 1)
        for index in level.unique().int().tolist():
            here = level == index
            rows = torch.cat([box.new_zeros(int(here.sum()), 1), box[here] * self.per_px(index)], dim=1)
            patches[here] = roi_align(self.level(index), rows, side_px, sampling_ratio=1, aligned=True)
        return patches


def _divided(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """A large picture, averaged over whole pixels until it is less than twice as large as `scale` wants it."""
    divisor = math.floor(1 / scale)
    height, width = image.shape[:2]
    size_px = (max(1, width // divisor), max(1, height // divisor))
    return image if divisor < 2 else np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk(image: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture made at most half as large; the exact variant of bilinear gives the same bits on every machine."""
    width, height = size_px
    size_px = (max(1, width), max(1, height))
    return np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)
