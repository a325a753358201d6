"""Torch's side of fine-tuning: the network with its new classifier, and its loss. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affstore.models.engines.torch_engine import TorchForward
from affstore.models.engines.torch_network import device_of, in_padded_batches
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors.registry import entry_of
from affstore.models.heads.finetuned.fitted import Backbone, FittedFineTuned
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.sequence.windows import one_thread
from affstore.models.weights import architectures
from affstore.store.contract.errors import SpecError


class Network:
    """A face network with a classifier of its own, on a device.

    Attributes:
        module: the network.
        staged: the same as a chain.
        extractor: the pre-trained network, as it is run here.
        device: where it is.
    """

    def __init__(
        self, spec: FineTuneSpec, extractor: FaceExtractorSpec, state: Mapping[str, Tensor], device: str
    ) -> None:
        """Take `state` as it is, without a copy.

        Raises:
            ArchitectureError: it is another network's.
        """
        architecture = entry_of(extractor.weights.name).architecture
        architectures.check_layout(spec.name, state, architecture, spec.outputs)
        self.device = device_of(device)
        self.module = architectures.build(architecture, spec.outputs)
        self.module.load_state_dict(dict(state), assign=True)
        self.module.to(self.device).to(memory_format=torch.channels_last)
        self.staged = architectures.staged(architecture, self.module)
        self.extractor = replace(extractor, engine="torch", precision="float32")
        self._forward = TorchForward(self.staged, self.extractor, device)

    @property
    def batch(self) -> int:
        """Crops a pass of `evaluate`."""
        return self._forward.batch

    def scores(self, pictures: Tensor, mixed: bool) -> Tensor:
        """Logits of normalised pictures, to be differentiated; the classifier is always in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            embedding = self.staged.run(pictures)
        logits: Tensor = self.staged.trainable_classifier()(embedding.float())
        return logits

    def evaluate(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """Embeddings and logits of crops, batch by batch, as the trained network sees them (batch norms are fixed)."""
        self.module.eval()
        width = self.staged.width
        for crops in batches:
            if len(crops):
                both = in_padded_batches(checked(crops, self.extractor), self._forward.batch, self._forward)
                yield both[:, :width], both[:, width:]


def outputs_of(
    head: FittedFineTuned, extractor: FaceExtractorSpec, crops: Iterable[NDArray[np.uint8]], device: str
) -> NDArray[np.float32]:
    """See `affstore.models.heads.finetuned.head.predict_finetuned`; always logits."""
    layout = architectures.layout(entry_of(extractor.weights.name).architecture, head.spec.outputs)
    state = {name: torch.from_numpy(np.array(array)) for name, array in head.parameters.items()}
    state |= {
        name: torch.zeros(slot.shape, dtype=torch.int64) for name, slot in layout.items() if slot.dtype == "int64"
    }
    network = Network(head.spec, extractor, state, device)
    with one_thread():
        parts = [logits for _, logits in network.evaluate(crops)]
    return np.concatenate(parts) if parts else np.empty((0, head.spec.outputs), np.float32)


def smoothed_crossentropy(scores: Tensor, truth: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Mean over the batch of `sum_c −w_c q_c log p_c` (ABAW5 notebook); torch divides by the weights' sum.

    Args:
        scores: `(rows, classes)` logits.
        truth: `(rows,)` classes.
        weights: `(classes,)`.
        smoothing: `q` is `1 − smoothing` at the true class, and `smoothing / classes` more everywhere.
    """
    classes = scores.shape[1]
    target = nn.functional.one_hot(truth, classes) * (1 - smoothing) + smoothing / classes
    return -(weights * target * scores.float().log_softmax(1)).sum(1).mean()


def checked(crops: NDArray[np.uint8], extractor: FaceExtractorSpec) -> NDArray[np.uint8]:
    """The crops themselves, if they are what the network sees.

    Raises:
        SpecError: they are not.
    """
    side = extractor.size_px
    if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
        found = f"{crops.dtype} {crops.shape}"
        raise SpecError(f"'{extractor.name}' sees uint8 (n, {side}, {side}, 3); found {found}.")
    return crops


def to_arrays(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copies of all parameters and running statistics, by name."""
    return {
        name: tensor.detach().cpu().contiguous().numpy().copy()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def start_of(spec: FineTuneSpec, backbone: Backbone) -> dict[str, Tensor]:
    """The pre-trained parameters, copied, with a random classifier of the task's classes (torch's own rule)."""
    entry = entry_of(backbone.extractor.weights.name)
    architectures.check_layout(entry.name, backbone.parameters, entry.architecture, entry.outputs)
    network = architectures.build(entry.architecture, spec.outputs)
    staged = architectures.staged(entry.architecture, network)
    (place,) = [name for name, module in network.named_modules() if module is staged.trainable_classifier()]
    state = {name: tensor.detach().clone() for name, tensor in backbone.parameters.items()}
    bound = 1 / math.sqrt(staged.width)
    generator = torch.Generator().manual_seed(spec.seed)
    for name, tensor in staged.trainable_classifier().state_dict().items():
        state[f"{place}.{name}"] = torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator)
    return state
