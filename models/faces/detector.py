"""Faces in a picture: MTCNN in torch, giving a box, five landmarks and a score for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import nms

from affstore.models.faces.boxes import area, shared
from affstore.models.faces.detections import Detections
from affstore.models.faces.networks import OutputNet, ProposalNet, RefinementNet, load
from affstore.models.faces.pyramid import CELL_PX, Pyramid
from affstore.models.faces.specs import DetectorSpec, resolve, weights_files
from affstore.store.contract.errors import SpecError

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
        """
        self.spec = resolve(spec)
        self._device = torch.device(device)
        self._proposal, self._refinement, self._output = ProposalNet(), RefinementNet(), OutputNet()
        for network, file in zip((self._proposal, self._refinement, self._output), weights_files(), strict=True):
            load(network, file)
            network.eval().requires_grad_(False).to(self._device).to(memory_format=torch.channels_last)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of upright RGB pictures `(h, w, 3)`, each looked at by itself."""
        return [self._search(image) for image in images]

    @torch.inference_mode()
    def refine(self, image: NDArray[np.uint8], box: NDArray[np.float32]) -> Detections:
        """The faces near boxes `(faces, 4)`, those of the frame before; nothing is searched for elsewhere."""
        pyramid = self._pyramid(image)
        near = _squared(torch.from_numpy(box).to(self._device))
        offset, _ = _run_padded(self._refinement, pyramid.cut(near, 24))
        return self._faces(pyramid, _squared(_moved(near, offset)))

    @torch.inference_mode()
    def _search(self, image: NDArray[np.uint8]) -> Detections:
        pyramid = self._pyramid(image)
        box = _squared(self._proposals(pyramid))
        offset, score = _run_padded(self._refinement, pyramid.cut(box, 24))
        passed = score > self.spec.thresholds[1]
        box, score = _moved(box, offset)[passed], score[passed]
        return self._faces(pyramid, _squared(box[nms(box, score, _SAME_FACE)]))

    def _pyramid(self, image: NDArray[np.uint8]) -> Pyramid:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise SpecError(f"Faces are found in (h, w, 3) uint8 pictures; found {image.shape} {image.dtype}.")
        return Pyramid(image, self.spec, self._device)

    def _proposals(self, pyramid: Pyramid) -> Tensor:
        """Candidate boxes `(n, 4)` of P-Net."""
        boxes, scores = [torch.zeros(0, 4, device=self._device)], [torch.zeros(0, device=self._device)]
        for level in pyramid.searched:
            offset, score = self._proposal(pyramid.level(level))
            row, column = torch.nonzero(score > self.spec.thresholds[0], as_tuple=True)
            corner = _STRIDE_PX * torch.stack([column, row], dim=1)
            cell = torch.cat([corner, corner + CELL_PX], dim=1).float()
            box = (cell + CELL_PX * offset[row, column]) / pyramid.per_px(level)
            best = nms(box, score[row, column], _SAME_FACE_ON_LEVEL)
            boxes.append(box[best])
            scores.append(score[row, column][best])
        box = torch.cat(boxes)
        return box[nms(box, torch.cat(scores), _SAME_FACE)]

    def _faces(self, pyramid: Pyramid, box: Tensor) -> Detections:
        """What O-Net makes of square candidates."""
        offset, place, score = _run_padded(self._output, pyramid.cut(box, 48))
        side = (box[:, 2] - box[:, 0])[:, None, None]
        landmark = box[:, None, :2] + side * place.reshape(-1, 2, 5).transpose(1, 2)
        limit = torch.tensor(pyramid.size_px, device=self._device).repeat(2)
        moved = _moved(box, offset).clamp(min=torch.zeros_like(limit), max=limit)
        found = Detections(*(_numpy(part) for part in (moved, landmark, score)))
        order = np.argsort(-found.score, kind="stable")
        return _distinct(found.take(order[found.score[order] > self.spec.thresholds[2]]))


def _run_padded(network: nn.Module, patches: Tensor) -> list[Tensor]:
    """A network's outputs for patches, in a batch padded to a round number.

    In other batches the last bits of the dense layers follow the number of threads; on some processors they do in any,
    which is why tasks give torch one thread (docs/adr/0005).
    """
    step = 2 if len(patches) <= 4 else 8
    filled = nn.functional.pad(patches, (0, 0, 0, 0, 0, 0, 0, -len(patches) % step))
    return [output[: len(patches)] for output in network(filled)]


def _squared(box: Tensor) -> Tensor:
    """Boxes grown to squares about their centres, of 1 px at least."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    half = (box[:, 2:] - box[:, :2]).amax(dim=1, keepdim=True).clamp(min=1) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _moved(box: Tensor, offset: Tensor) -> Tensor:
    """Boxes with the networks' offsets, which are shares of each box's sides."""
    return box + offset * (box[:, 2:] - box[:, :2]).repeat(1, 2)


def _distinct(found: Detections) -> Detections:
    """Without faces that lie mostly inside a better one, or around it; the best come first."""
    size = area(found.box)
    same = shared(found.box, found.box) > _SAME_FACE * np.minimum(size[:, None], size[None, :])
    kept: list[int] = []
    for face in range(len(found)):
        if not same[face, kept].any():
            kept.append(face)
    return found.take(kept)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.cpu().numpy()
