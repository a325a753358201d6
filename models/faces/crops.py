"""The square crop that a face network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.models.extractor_specs import Resize


def whole_px(box: NDArray[np.float32]) -> NDArray[np.int64]:
    """Boxes `(…, 4)` in whole pixels, cut off towards zero; never negative."""
    return np.maximum(np.trunc(box), 0).astype(np.int64)


def cut(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The part of a picture `(h, w, 3)` in a box, as EmotiEffLib cuts it: no margin, no alignment.

    Args:
        image: `(h, w, 3)`.
        box: `(4,)` x0, y0, x1, y1 in px; its whole-pixel part is cut, as far as it lies in the picture.

    Returns:
        A copy, so that the picture itself need not be kept.

    Raises:
        SpecError: the box holds no pixel of the picture.
    """
    x0, y0, x1, y1 = whole_px(np.asarray(box))
    face = image[y0:y1, x0:x1]
    if not face.size:
        raise SpecError(f"Box {box} holds no whole pixel of a picture of {image.shape[1]}×{image.shape[0]} px.")
    return np.ascontiguousarray(face)


def resized(face: NDArray[np.uint8], size_px: int, resize: Resize = "pil_bilinear") -> NDArray[np.uint8]:
    """A face `(h, w, 3)` made square by Pillow's antialiased filters, its aspect ratio not kept.

    EmotiEffLib's networks see `pil_bilinear`; timm's models mostly `pil_bicubic`.
    """
    from PIL import Image

    if face.shape[:2] == (size_px, size_px):
        return face
    kernel = Image.Resampling[resize.removeprefix("pil_").upper()]
    return np.asarray(Image.fromarray(face).resize((size_px, size_px), kernel), np.uint8)


def crop(image: NDArray[np.uint8], box: NDArray[np.float32], size_px: int) -> NDArray[np.uint8]:
    """`cut`, then `resized`: `(size_px, size_px, 3)`."""
    return resized(cut(image, box), size_px)
