"""The network of ABAW6 §3.5: a TCN for each stream, a transformer encoder over them, a perceptron. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from affstore.models.heads.sequence.parts import EncoderSpec
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.sequence.tcn import CausalConv, Dropout, Stream
from affstore.store.contract.errors import ArchitectureError, SpecError

_LONGEST_PERIOD = 10_000.0


class EncoderLayer(nn.Module):
    """What `nn.TransformerEncoderLayer` computes, with dropout that draws from the network's generator."""

    def __init__(self, width: int, spec: EncoderSpec) -> None:
        super().__init__()
        self.heads, self.first = spec.heads, spec.norm == "pre"
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, spec.feedforward), nn.Linear(spec.feedforward, width)
        self.norm_attention, self.norm_wide = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """From `(batch, frames, width)` to the same; frames that are `hidden` `(batch, frames)` are not attended to."""
        if self.first:
            x = x + self.dropout(self._attend(self.norm_attention(x), hidden))
            return x + self.dropout(self._feed(self.norm_wide(x)))
        x = self.norm_attention(x + self.dropout(self._attend(x, hidden)))
        fed: Tensor = self.norm_wide(x + self.dropout(self._feed(x)))
        return fed

    def _attend(self, x: Tensor, hidden: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.queries_keys_values(x).chunk(3, dim=2)
        )
        likeness = queries @ keys.transpose(2, 3) / math.sqrt(keys.shape[3])
        weights = self.dropout(likeness.masked_fill(hidden[:, None, None], -math.inf).softmax(dim=3))
        attended: Tensor = self.attended((weights.to(values.dtype) @ values).transpose(1, 2).flatten(2))
        return attended

    def _feed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.narrow(self.dropout(functional.relu(self.wide(x))))
        return fed


class FrameNorm(nn.BatchNorm1d):
    """Batch norm over frames; a batch of a single one, which has no spread, is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """From `(frames, units)` to the same."""
        if self.training and len(x) == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class TcnTransformer(nn.Module):
    """The head as a torch module; its parameters are to be drawn by `initialise` or given by `load_arrays`.

    What stands in a frame where a stream is missing changes nothing. A frame that is padding changes nothing in real
    ones: convolutions look back, attention does not look at it, and batches are normalised over real frames.
    A frame in which every stream is missing is not attended to either, unless its window has no other.
    """

    def __init__(self, spec: SequenceSpec, widths: Sequence[int]) -> None:
        """Lay out the modules.

        Args:
            spec: the head.
            widths: numbers a frame of each stream.

        Raises:
            SpecError: there is no stream, or the spec does not fit the number or the widths of them.
        """
        super().__init__()
        if not widths or min(widths) < 1:
            raise SpecError(f"Head '{spec.name}' needs a stream or more, each of 1 number or more; found {widths}.")
        channels = spec.tcn.channels_of(widths)
        self.spec = spec
        self.streams = nn.ModuleList(Stream(w, c, spec.tcn) for w, c in zip(widths, channels, strict=True))
        both = sum(levels[-1] for levels in channels)
        width = spec.encoder.width or both
        if spec.encoder.layers:
            spec.encoder.check_width(width)
        self.projection = nn.Linear(both, width) if spec.encoder.width else nn.Identity()
        self.encoder = nn.ModuleList(EncoderLayer(width, spec.encoder) for _ in range(spec.encoder.layers))
        sizes = [1] * spec.outputs if spec.perceptrons == "one_each" else [spec.outputs]
        self.perceptrons = nn.ModuleList(_perceptron(width, size, spec) for size in sizes)

    def forward(self, streams: Sequence[Tensor], present: Tensor, real: Tensor) -> Tensor:
        """Scores of every real frame, before the activation of the outputs.

        Args:
            streams: `(batch, frames, width)` each.
            present: `(batch, frames, streams)` bool.
            real: `(batch, frames)` bool; the others are padding at the end.

        Returns:
            `(real frames, outputs)` float32, window by window.
        """
        parts = [tcn(x, present[:, :, i]) for i, (tcn, x) in enumerate(zip(self.streams, streams, strict=True))]
        x = self.projection(torch.cat(parts, dim=2))
        if self.spec.encoder.position == "sinusoidal":
            x = x + _positions(x.shape[1], x.shape[2]).to(x)
        hidden = _hidden(present.any(dim=2), real)
        for layer in self.encoder:
            x = layer(x, hidden)
        rows = x[real]
        return torch.cat([perceptron(rows) for perceptron in self.perceptrons], dim=1).float()

    def draw_from(self, generator: torch.Generator) -> None:
        """Let dropout draw from a generator of the network's device."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator


def build(spec: SequenceSpec, widths: Sequence[int]) -> TcnTransformer:
    """The network with memory for its parameters and nothing in it; torch's global seed is not touched."""
    with torch.device("meta"):
        network = TcnTransformer(spec, widths)
    return network.to_empty(device="cpu")


def initialise(network: TcnTransformer, generator: torch.Generator) -> None:
    """Draw initial parameters on the CPU, by torch's own rules where the spec names none; layers start apart."""
    for module in network.modules():
        if isinstance(module, CausalConv):
            module.initialise(network.spec.tcn.deviation, generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.PReLU | nn.LayerNorm | nn.BatchNorm1d):
            module.reset_parameters()
        elif isinstance(module, Stream):
            for tensor, value in ((module.missing, 0.0), (module.mean, 0.0), (module.deviation, 1.0)):
                nn.init.constant_(tensor, value)
    for layer in network.modules():
        if isinstance(layer, EncoderLayer):
            nn.init.xavier_uniform_(layer.queries_keys_values.weight, generator=generator)
            nn.init.zeros_(layer.queries_keys_values.bias)
            nn.init.zeros_(layer.attended.bias)


def to_arrays(network: TcnTransformer) -> dict[str, NDArray[np.float32]]:
    """Copies of all parameters and running statistics, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in _named(network).items()}


def load_arrays(network: TcnTransformer, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Give the network parameters that `to_arrays` gave.

    Raises:
        ArchitectureError: they are of another network.
    """
    named = _named(network)
    expected = {name: tuple(tensor.shape) for name, tensor in named.items()}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        name = wrong[0]
        raise ArchitectureError(
            f"Head '{network.spec.name}' has other parameters than were given, {len(wrong)} of them: '{name}' should "
            f"be {expected.get(name, 'absent')} and is {found.get(name, 'absent')}. Fit it again."
        )
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[name])))


def _named(network: TcnTransformer) -> dict[str, Tensor]:
    """What the network's outputs depend on, by names that an array in the store may have."""
    state = network.state_dict()  # with the count of batches, which nothing depends on
    return {name.replace(".", "_"): tensor for name, tensor in state.items() if tensor.is_floating_point()}


def _perceptron(width: int, outputs: int, spec: SequenceSpec) -> nn.Sequential:
    norm = [FrameNorm(spec.hidden)] if spec.hidden_norm else []
    activation = [nn.ReLU()] if spec.hidden_activation == "relu" else []
    return nn.Sequential(nn.Linear(width, spec.hidden), *norm, *activation, nn.Linear(spec.hidden, outputs))


def _hidden(present: Tensor, real: Tensor) -> Tensor:
    """Frames that attention leaves out, `(batch, frames)`; never all of a window: nothing has no mean."""
    attended = present & real
    attended = torch.where(attended.any(dim=1, keepdim=True), attended, real)
    return ~torch.where(attended.any(dim=1, keepdim=True), attended, True)


def _positions(frames: int, width: int) -> Tensor:
    """Sines and cosines of each frame's place in the window, `(frames, width)` (Vaswani et al. 2017)."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(_LONGEST_PERIOD) / width))
    angle = torch.arange(frames)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
