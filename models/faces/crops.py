"""The square crop that a face network sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.models.extractor_specs import Framing, Resize

_FER_MARGIN_PX = 10
_FER_BORDER_PX = 40


def whole_px(box: NDArray[np.float32]) -> NDArray[np.int64]:
    """Boxes `(…, 4)` in whole pixels, cut off towards zero; never negative."""
    return np.maximum(np.trunc(box), 0).astype(np.int64)


def cut(image: NDArray[np.uint8], box: NDArray[np.float32], framing: Framing = "box") -> NDArray[np.uint8]:
    """The part of a picture `(h, w, 3)` around a face.

    Args:
        image: `(h, w, 3)`.
        box: `(4,)` x0, y0, x1, y1 in px; its whole-pixel part counts.
        framing: `box` cuts the box as EmotiEffLib does, as far as it lies in the picture: no margin, no alignment.
            `fer` cuts what the package fer does: the box made square by its longer side, and 10 px more on each side,
            in grey; up to 40 px outside the picture are as grey as its two lowest rows are on average.

    Returns:
        A copy, so that the picture itself need not be kept.

    Raises:
        SpecError: the box holds no pixel of the picture.
    """
    x0, y0, x1, y1 = whole_px(np.asarray(box))
    if not image[y0:y1, x0:x1].size:
        raise SpecError(f"Box {box} holds no whole pixel of a picture of {image.shape[1]}×{image.shape[0]} px.")
    return _CUTS[framing](image, np.asarray(box))


def _box(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = whole_px(box)
    return np.ascontiguousarray(image[y0:y1, x0:x1])


def _as_fer(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """As `FER.tosquare`, `FER.pad` and `FER.detect_emotions` of fer 25.10.3 do it; the grey three times, for RGB."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    border, value = _FER_BORDER_PX, cv2.mean(grey[-2:])[0]
    padded = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_CONSTANT, value=[value] * 3)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    width, height = x1 - x0, y1 - y0
    side = max(width, height)
    left, top = x0 - (side - width) // 2, y0 - (side - height) // 2
    first, more = border - _FER_MARGIN_PX, side + 2 * _FER_MARGIN_PX
    rows = slice(max(0, top + first), top + first + more)
    columns = slice(max(0, left + first), left + first + more)
    return np.repeat(padded[rows, columns, None], 3, axis=2)


_CUTS: Mapping[Framing, Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]] = {
    "box": _box,
    "fer": _as_fer,
}


def resized(face: NDArray[np.uint8], size_px: int, resize: Resize = "pil_bilinear") -> NDArray[np.uint8]:
    """A face `(h, w, 3)` made square, its aspect ratio not kept.

    EmotiEffLib's networks see `pil_bilinear`; timm's models mostly `pil_bicubic`; fer's `cv2_bilinear`.
    """
    if face.shape[:2] == (size_px, size_px):
        return face
    if resize == "cv2_bilinear":
        import cv2

        return np.asarray(cv2.resize(face, (size_px, size_px)), np.uint8)
    from PIL import Image

    kernel = Image.Resampling[resize.removeprefix("pil_").upper()]
    return np.asarray(Image.fromarray(face).resize((size_px, size_px), kernel), np.uint8)
