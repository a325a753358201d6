"""Write fer2013.npz: what the package fer itself says of faces of scikit-image, by its own preprocessing and network.

Run in an environment of its own that has fer 25.10.3, tensorflow, opencv, requests, scikit-image and setuptools < 81:
`python tests/references/make_fer2013.py`. fer rounds what it returns to two digits, so its classifier is listened to.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from fer.fer import FER
from skimage import data

SIDE = 64
MARGIN = 10
"""fer adds so many pixels on each side of the rectangle that it is given."""


class Listening(FER):
    """fer, whose classifier's outputs are kept before they are rounded."""

    def _classify_emotions(self, gray_faces):
        self.outputs = np.asarray(super()._classify_emotions(gray_faces))
        return self.outputs


def crops() -> np.ndarray:
    """RGB crops `(n, 64, 64, 3)`: the astronaut's face nearer and farther, mirrored, darker; LFW's faces; noise."""
    random = np.random.default_rng(0)
    picture = data.astronaut()
    boxes = [(167, 56, 115), (177, 66, 95), (190, 80, 70), (150, 30, 160)]
    faces = [cv2.resize(picture[y : y + s, x : x + s], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for x, y, s in boxes]
    faces += [face[:, ::-1] for face in faces] + [(0.5 * face).astype(np.uint8) for face in faces]
    faces += [random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(4)]
    for grey in np.rint(255 * data.lfw_subset()[:40:2]).astype(np.uint8):
        faces.append(np.repeat(cv2.resize(grey, (SIDE, SIDE))[..., None], 3, 2))
    return np.ascontiguousarray(np.stack(faces))


def main() -> None:
    """Compute and write."""
    fer = Listening(use_tflite=False)
    inside = (MARGIN, MARGIN, SIDE - 2 * MARGIN, SIDE - 2 * MARGIN)
    given = crops()
    probabilities = []
    for crop in given:
        fer.detect_emotions(np.ascontiguousarray(crop[..., ::-1]), [inside])
        probabilities.append(fer.outputs[0])
    target = Path(__file__).with_name("fer2013.npz")
    names = np.array(list(fer._get_labels().values()))
    np.savez_compressed(target, crops=given, probabilities=np.stack(probabilities).astype(np.float32), names=names)


main()
