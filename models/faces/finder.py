"""Faces along a video: the whole picture is searched now and then, known faces are followed in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.detections import Detections

if TYPE_CHECKING:
    from affstore.models.faces.detector import FaceDetector


class FaceFinder:
    """The faces of one video's frames, which are given in order.

    The whole picture is searched in the first frame, after a cut, every `spec.redetect_frames` after that, and as soon
    as no face is known or a known one fails O-Net. Otherwise the boxes of the frame before are refined by R-Net and
    O-Net.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._box = np.zeros((0, 4), np.float32)
        self._shape: tuple[int, ...] = ()
        self._frames_since_search = 0

    def update(self, image: NDArray[np.uint8], cut: bool = False) -> Detections:
        """The faces of the next upright RGB frame `(h, w, 3)`; the whole picture is searched after a cut."""
        found = None if cut else self._follow(image)
        if found is None:
            found = self._detector.detect(image)
            self._frames_since_search = 0
        self._box, self._shape = found.box, image.shape
        return found

    def _follow(self, image: NDArray[np.uint8]) -> Detections | None:
        """The faces of the frame before, where they are now; None when the picture has to be searched."""
        self._frames_since_search += 1
        due = self._frames_since_search >= self._detector.spec.redetect_frames
        if due or not len(self._box) or image.shape != self._shape:
            return None
        found = self._detector.refine(image, self._box)
        return found if len(found) == len(self._box) else None
