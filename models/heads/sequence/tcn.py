"""Temporal convolutions over one stream of features (Bai, Kolter, Koltun 2018). Imports torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from affstore.models.heads.sequence.parts import TcnSpec


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own network, so that no other thread's draws change it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.keep = 1 - rate
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; `x` itself outside training."""
        if not self.training or self.keep == 1:
            return x
        return x * torch.empty_like(x).bernoulli_(self.keep, generator=self.generator).div_(self.keep)


class CausalConv(nn.Module):
    """A convolution over frame `t` and those before it, with or without weight norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, normed: bool = False) -> None:
        super().__init__()
        self.reach, self.dilation = (kernel - 1) * dilation, dilation
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.gain = nn.Parameter(torch.empty(outputs, 1, 1)) if normed else None

    def initialise(self, deviation: float, generator: torch.Generator) -> None:
        """Kernels from a normal distribution, or with weight norm as torch's own; biases as torch's own.

        In the reference too the normal distribution has no effect on kernels with weight norm: it is written to a
        tensor that the next pass computes again.
        """
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)
        if self.gain is None:
            nn.init.normal_(self.weight, 0, deviation, generator=generator)
            return
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        with torch.no_grad():
            self.gain.copy_(self._length())

    def forward(self, x: Tensor) -> Tensor:
        """From `(batch, inputs, frames)` to `(batch, outputs, frames)`."""
        weight = self.weight if self.gain is None else self.weight * (self.gain / self._length())
        return functional.conv1d(functional.pad(x, (self.reach, 0)), weight, self.bias, dilation=self.dilation)

    def _length(self) -> Tensor:
        return torch.linalg.vector_norm(self.weight, dim=(1, 2), keepdim=True)


class Level(nn.Module):
    """Two convolutions, each with activation and dropout, and a residual path around them."""

    def __init__(self, inputs: int, outputs: int, dilation: int, spec: TcnSpec) -> None:
        super().__init__()
        self.first = CausalConv(inputs, outputs, spec.kernel, dilation, spec.weight_norm)
        self.second = CausalConv(outputs, outputs, spec.kernel, dilation, spec.weight_norm)
        self.residual = CausalConv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.activations = nn.ModuleList(nn.PReLU() if spec.activation == "prelu" else nn.ReLU() for _ in range(3))
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """From `(batch, inputs, frames)` to `(batch, outputs, frames)`."""
        first, second, last = self.activations
        y = self.dropout(first(self.first(x)))
        y = self.dropout(second(self.second(y)))
        summed: Tensor = last(y + self.residual(x))
        return summed


class Stream(nn.Module):
    """One stream from raw features to the channels of its last level.

    A frame in which the stream is missing is given a vector that is learnt, from 0 (the mean of standardised
    features) on, so that its numbers, whatever they are, reach nothing.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, channels: tuple[int, ...], spec: TcnSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(width))
        self.register_buffer("deviation", torch.empty(width))
        self.missing = nn.Parameter(torch.empty(width))
        inputs = (width, *channels)
        self.levels = nn.Sequential(*(Level(inputs[i], outputs, 2**i, spec) for i, outputs in enumerate(channels)))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """From `(batch, frames, width)` and `(batch, frames)` to `(batch, frames, channels)`."""
        known = torch.where(present.unsqueeze(2), (x - self.mean) / self.deviation, self.missing)
        levelled: Tensor = self.levels(known.transpose(1, 2))
        return levelled.transpose(1, 2)
