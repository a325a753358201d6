"""Faces in a picture: MTCNN, giving a box, five landmarks and a score for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.boxes import area, best, shared
from affstore.models.faces.detections import Detections
from affstore.models.faces.passes import load_passes
from affstore.models.faces.pyramid import CELL_PX, Pyramid
from affstore.models.faces.specs import DetectorSpec, resolve
from affstore.store.contract.errors import SpecError

type Boxes = NDArray[np.float32]

_STRIDE_PX = 2
_SAME_FACE_ON_LEVEL, _SAME_FACE = 0.5, 0.7


class FaceDetector:
    """MTCNN with its parameters, ready to run; several threads may use one at once.

    Attributes:
        spec: with the digest of the weights.
    """

    def __init__(self, spec: DetectorSpec, device: str = "cpu") -> None:
        """Load the three networks.

        Raises:
            WeightsError: the parameters are missing, damaged or not those that the spec names.
            SpecError: there is no such device here, or the spec's engine does not run on it.
        """
        self.spec = resolve(spec)
        self._proposal, self._refinement, self._output = load_passes(self.spec, device)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an upright RGB picture `(h, w, 3)`."""
        pyramid = self._pyramid(image)
        box = _squared(self._proposals(pyramid))
        offset, score = self._refinement(pyramid.cut(box, 24))
        passed = score > self.spec.thresholds[1]
        box, score = _moved(box, offset)[passed], score[passed]
        return self._faces(pyramid, _squared(box[best(box, score, _SAME_FACE)]))

    def refine(self, image: NDArray[np.uint8], box: Boxes) -> Detections:
        """The faces near boxes `(faces, 4)`, those of the frame before; nothing is searched for elsewhere."""
        pyramid = self._pyramid(image)
        near = _squared(box)
        offset, _ = self._refinement(pyramid.cut(near, 24))
        return self._faces(pyramid, _squared(_moved(near, offset)))

    def _pyramid(self, image: NDArray[np.uint8]) -> Pyramid:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise SpecError(f"Faces are found in (h, w, 3) uint8 pictures; found {image.shape} {image.dtype}.")
        return Pyramid(image, self.spec)

    def _proposals(self, pyramid: Pyramid) -> Boxes:
        """Candidate boxes `(n, 4)` of P-Net."""
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for level in pyramid.searched:
            offset, score = self._proposal(pyramid.level(level))
            row, column = np.nonzero(score > self.spec.thresholds[0])
            corner = _STRIDE_PX * np.stack([column, row], axis=1)
            cell = np.concatenate([corner, corner + CELL_PX], axis=1).astype(np.float32)
            box = np.divide(cell + CELL_PX * offset[row, column], np.tile(pyramid.per_px(level), 2), dtype=np.float32)
            score = score[row, column]
            kept = best(box, score, _SAME_FACE_ON_LEVEL)
            boxes.append(box[kept])
            scores.append(score[kept])
        box = np.concatenate(boxes)
        return box[best(box, np.concatenate(scores), _SAME_FACE)]

    def _faces(self, pyramid: Pyramid, box: Boxes) -> Detections:
        """What O-Net makes of square candidates."""
        offset, place, score = self._output(pyramid.cut(box, 48))
        side = (box[:, 2] - box[:, 0])[:, None, None]
        landmark = box[:, None, :2] + side * place.reshape(-1, 2, 5).transpose(0, 2, 1)
        moved = np.clip(_moved(box, offset), 0, np.tile(np.array(pyramid.size_px, np.float32), 2))
        found = Detections(moved, landmark, score)
        order = np.argsort(-score, kind="stable")
        return _distinct(found.take(order[score[order] > self.spec.thresholds[2]]))


def _squared(box: Boxes) -> Boxes:
    """Boxes grown to squares about their centres, of 1 px at least."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    half = (box[:, 2:] - box[:, :2]).max(axis=1, keepdims=True, initial=1) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _moved(box: Boxes, offset: Boxes) -> Boxes:
    """Boxes with the networks' offsets, which are shares of each box's sides."""
    return box + offset * np.tile(box[:, 2:] - box[:, :2], 2)


def _distinct(found: Detections) -> Detections:
    """Without faces that lie mostly inside a better one, or around it; the best come first."""
    size = area(found.box)
    same = shared(found.box, found.box) > _SAME_FACE * np.minimum(size[:, None], size[None, :])
    kept: list[int] = []
    for face in range(len(found)):
        if not same[face, kept].any():
            kept.append(face)
    return found.take(kept)
