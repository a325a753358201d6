"""Write fer2013.npz: what the package fer itself says of faces of scikit-image, by its own preprocessing and network.

With the folder of the real photographs as its argument, what it says of the faces in those too, whose boxes
`photo_boxes` of the file that is there already holds.

Run in an environment of its own that has fer 25.10.3, tensorflow, opencv, requests, scikit-image and setuptools < 81:
`python tests/references/make_fer2013.py`. fer rounds what it returns to two digits, so its classifier is listened to.
"""

from __future__ import annotations

import sys
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


BOXES = np.array(
    [(167, 56, 282, 171), (180, 60, 270, 190), (150, 90, 300, 160), (-5, 40, 90, 120), (430, 420, 520, 520)]
)
"""Of the whole astronaut: square, high, wide, and over the edges of the picture."""


def of_boxes(fer: Listening, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Probabilities of the faces in the boxes x0, y0, x1, y1 of a picture, BGR as OpenCV reads it."""
    fer.detect_emotions(picture, [(int(x), int(y), int(u) - int(x), int(v) - int(y)) for x, y, u, v in boxes])
    return fer.outputs.astype(np.float32)


def photographs(fer: Listening, target: Path) -> dict[str, np.ndarray]:
    """Of each face of the real photographs: file, box and probabilities; as they were where no folder is named."""
    before = np.load(target)
    found = {name: before[name] for name in before.files if name.startswith("photo_")}
    if len(sys.argv) > 1:
        files, boxes = found["photo_files"], found["photo_boxes"]
        said = [
            of_boxes(fer, cv2.imread(str(Path(sys.argv[1]) / file)), boxes[files == file])
            for file in dict.fromkeys(files)
        ]
        found["photo_probabilities"] = np.concatenate(said)
    return found


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
    whole = of_boxes(fer, np.ascontiguousarray(data.astronaut()[..., ::-1]), BOXES)
    np.savez_compressed(
        target,
        crops=given,
        probabilities=np.stack(probabilities).astype(np.float32),
        names=names,
        boxes=BOXES,
        of_boxes=whole,
        **photographs(fer, target),
    )


main()
