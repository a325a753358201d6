"""What all face networks share: crops go in, embedding, logits and valence/arousal come out, in batches of one shape.

A new face network is a module of this folder, or of a plugin, that registers a `FaceNetworkKind`: its spec, what is
known of its weights, and its architecture; see `mobilevit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.footprint import NOT_MEASURED, FaceFootprint, PassBytes, Workload, face_pass_bytes
from affstore.models.engines.forward import forward_of
from affstore.models.engines.torch_network import device_of, in_padded_batches, normalised
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors.base import FaceExtractor, FaceOutput, OneExtractor
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

    from affstore.models.networks.staged import Staged

_CALIBRATION_PICTURES = 32


class FaceNetwork(FaceExtractor):
    """A convolutional network with one linear classifier. Any number of threads may call one instance."""

    def __init__(
        self, spec: FaceExtractorSpec, entry: WeightsEntry, parameters: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        """Load `parameters` into the network of `entry`.

        Raises:
            ArchitectureError: the parameters are another network's.
            SpecError: the network is not what the spec says.
        """
        self.spec = spec
        self._classes, self._scales = len(spec.logits or ()), 2 if spec.valence_arousal else 0
        self._forward = forward_of(lambda: _staged(spec, entry, parameters, device), spec, parameters, device)
        self.batch = self._forward.batch

    def embed(self, crops: NDArray[np.uint8]) -> FaceOutput:
        """See `FaceExtractor.embed`.

        Raises:
            SpecError: the crops are not what the spec says.
        """
        side = self.spec.size_px
        if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
            raise SpecError(f"'{self.spec.name}' sees uint8 (n, {side}, {side}, 3); found {crops.dtype} {crops.shape}.")
        width, middle = self.spec.width, self.spec.width + self._classes
        both = np.empty((0, middle + self._scales), np.float32)
        if len(crops):
            both = in_padded_batches(crops, self._forward.batch, self._forward)
        return FaceOutput(
            embedding=both[:, :width],
            logits=both[:, width:middle] if self._classes else None,
            valence_arousal=both[:, middle:] if self._scales else None,
        )


def _staged(spec: FaceExtractorSpec, entry: WeightsEntry, parameters: Mapping[str, Any], device: str) -> Staged:
    """The network of `entry`, filled, in stages.

    Raises:
        ArchitectureError: the parameters are another network's.
        SpecError: the network is not what the spec says.
    """
    import torch

    from affstore.models.weights import architectures

    architectures.check_layout(entry.name, parameters, entry.architecture, entry.outputs)
    network = architectures.build(entry.architecture, entry.outputs)
    expected = spec.width, len(spec.logits or ()) + 2 * spec.valence_arousal
    found = architectures.staged(entry.architecture, network).width, entry.outputs
    if expected != found:
        raise SpecError(
            f"'{spec.name}' asks for (width, outputs) {expected}; the network of '{entry.name}' has {found}."
        )
    network.load_state_dict(dict(parameters), assign=True)
    network = network.requires_grad_(False).to(device_of(device)).to(memory_format=torch.channels_last)
    return architectures.staged(entry.architecture, network)


@dataclass(frozen=True, slots=True)
class FaceNetworkKind(OneExtractor[FaceExtractorSpec]):
    """A face network on torch or OpenVINO.

    Attributes:
        footprint: what was measured of its memory.
    """

    footprint: FaceFootprint = NOT_MEASURED

    def build(self, spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str) -> FaceExtractor:
        """See `ExtractorKind.build`."""
        return FaceNetwork(spec, self.entry, parameters, device)

    def untrained(self, spec: FaceExtractorSpec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`."""
        return untrained_face_network(spec, self.entry, seed)

    def pass_bytes(self, spec: FaceExtractorSpec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`."""
        return face_pass_bytes(spec, workload, self.footprint)


def untrained_face_network(spec: FaceExtractorSpec, entry: WeightsEntry, seed: int) -> dict[str, torch.Tensor]:
    """Seeded parameters whose batch norms know natural pictures, so that embeddings depend on the pixels."""
    from affstore.models.weights import architectures
    from affstore.models.weights.calibration import pictures, settle_batch_norms
    from affstore.models.weights.untrained import draw

    network = architectures.build(entry.architecture, entry.outputs)
    drawn = draw(architectures.layout(entry.architecture, entry.outputs), seed)
    network.load_state_dict(drawn, assign=True)
    batch = pictures(_CALIBRATION_PICTURES, spec.size_px, seed)
    settle_batch_norms(network, normalised(batch, spec, device_of("cpu")))
    return dict(network.state_dict())
