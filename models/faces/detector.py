"""Faces in a picture: MTCNN, giving a box, five landmarks and a score for each."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from affstore.models.engines.torch_network import device_of
from affstore.models.faces.boxes import area, shared
from affstore.models.faces.detections import Detections
from affstore.models.faces.operators import operators
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
            SpecError: the spec's engine does not run on the device.
        """
        self.spec = resolve(spec)
        self._device = device_of(device)
        self._proposal, self._refinement, self._output = load_passes(self.spec, self._device)

    @torch.inference_mode()
    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an upright RGB picture `(h, w, 3)`."""
        pyramid = self._pyramid(image)
        box = _squared(self._proposals(pyramid))
        offset, score = self._refinement(pyramid.cut(box, 24))
        passed = score > self.spec.thresholds[1]
        box, score = _moved(box, offset)[passed], score[passed]
        return self._faces(pyramid, _squared(box[_best(box, score, _SAME_FACE)]))

    @torch.inference_mode()
    def refine(self, image: NDArray[np.uint8], box: Boxes) -> Detections:
        """The faces near boxes `(faces, 4)`, those of the frame before; nothing is searched for elsewhere."""
        pyramid = self._pyramid(image)
        near = _squared(box)
        offset, _ = self._refinement(pyramid.cut(near, 24))
        return self._faces(pyramid, _squared(_moved(near, offset)))

    def _pyramid(self, image: NDArray[np.uint8]) -> Pyramid:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise SpecError(f"Faces are found in (h, w, 3) uint8 pictures; found {image.shape} {image.dtype}.")
        return Pyramid(image, self.spec, self._device)

    def _proposals(self, pyramid: Pyramid) -> Boxes:
        """Candidate boxes `(n, 4)` of P-Net."""
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for level in pyramid.searched:
            offset, score = self._proposal(pyramid.level(level))
            row, column = np.nonzero(score > self.spec.thresholds[0])
            corner = _STRIDE_PX * np.stack([column, row], axis=1)
            cell = np.concatenate([corner, corner + CELL_PX], axis=1).astype(np.float32)
            box = np.divide(cell + CELL_PX * offset[row, column], np.tile(pyramid.per_px(level), 2), dtype=np.float32)
            best = _best(box, score[row, column], _SAME_FACE_ON_LEVEL)
            boxes.append(box[best])
            scores.append(score[row, column][best])
        box = np.concatenate(boxes)
        return box[_best(box, np.concatenate(scores), _SAME_FACE)]

    def _faces(self, pyramid: Pyramid, box: Boxes) -> Detections:
        """What O-Net makes of square candidates."""
        offset, place, score = self._output(pyramid.cut(box, 48))
        side = (box[:, 2] - box[:, 0])[:, None, None]
        landmark = box[:, None, :2] + side * place.reshape(-1, 2, 5).transpose(0, 2, 1)
        moved = np.clip(_moved(box, offset), 0, np.tile(np.array(pyramid.size_px, np.float32), 2))
        found = Detections(moved, landmark, score)
        order = np.argsort(-score, kind="stable")
        return _distinct(found.take(order[score[order] > self.spec.thresholds[2]]))


def _best(box: Boxes, score: NDArray[np.float32], most_shared: float) -> NDArray[np.int64]:
    """The boxes without those that share more than so much of their union with a better one; the best come first."""
    best: NDArray[np.int64] = operators().nms(torch.from_numpy(box), torch.from_numpy(score), most_shared).numpy()
    return best


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
