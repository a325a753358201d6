"""The parts of a head on sequences: temporal convolutions, a transformer encoder, an optimiser (ABAW6 §3.5, §4.2).

ABAW6 publishes channels, layers, heads and the learning rate; every other default is that of CtyunAI's ABAW5 system,
which it says it follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from affstore.store.contract.errors import SpecError

_CHANNELS = (512, 256, 128)


def usual_channels(width: int) -> tuple[int, ...]:
    """The paper's channels of each level, by the width of the stream, continued to other widths.

    1280 and 1024 → 512 → 256 → 128; 512 → 256 → 128; 256 → 128 (ABAW6 §3.5): 512, 256 and 128 as far as they are
    narrower than the stream. A stream of 128 or less has the one level of 128.
    """
    return tuple(channels for channels in _CHANNELS if channels < width) or _CHANNELS[-1:]


@dataclass(frozen=True, slots=True)
class TcnSpec:
    """Temporal convolutions over one stream: a level has two causal, dilated ones and a residual path (Bai et al.).

    Attributes:
        channels: of each level, for each stream; empty for `usual_channels` of its width.
        kernel: frames a convolution takes; level `i` (from 0) takes every `2^i`-th.
        dropout: after each convolution.
        activation: after each convolution and after the sum with the residual path.
        weight_norm: whether the two convolutions of a level learn their kernels' length and direction apart.
        deviation: standard deviation of initial kernels without weight norm, as those of the residual path are; those
            with it start as torch's own.
    """

    KIND: ClassVar[str] = "tcn"

    channels: tuple[tuple[int, ...], ...] = ()
    kernel: int = 5
    dropout: float = 0.3
    activation: Literal["prelu", "relu"] = "prelu"
    weight_norm: bool = True
    deviation: float = 0.01

    def __post_init__(self) -> None:
        if any(not levels or min(levels) < 1 for levels in self.channels):
            raise SpecError(f"Every stream needs a level or more, each of 1 channel or more; found {self.channels}.")
        if self.kernel < 2 or not 0 < self.deviation < math.inf:
            raise SpecError("A temporal convolution takes 2 frames or more, and its kernels start other than zero.")
        _check_dropout(self.dropout)

    def channels_of(self, widths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The channels of each level, for streams of these widths.

        Raises:
            SpecError: the spec names channels for another number of streams.
        """
        if self.channels and len(self.channels) != len(widths):
            raise SpecError(f"Channels are given for {len(self.channels)} streams; there are {len(widths)}.")
        return self.channels or tuple(usual_channels(width) for width in widths)


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What joins the streams: a projection of them side by side, and a transformer encoder without causal mask.

    Attributes:
        width: outputs of the projection; 0 for none, so that the streams' channels go on as they are.
        layers: of the encoder; 0 for none (the papers' rows "TCN + MLP").
        heads: of attention in each layer.
        feedforward: units of each layer's perceptron (ReLU).
        dropout: on attention, inside the perceptron and before each sum.
        norm: whether layers are normalised after each sum, or before each part (with nothing after the last layer).
        position: what is added to say which frame is which.
    """

    KIND: ClassVar[str] = "transformer encoder"

    width: int = 512
    layers: int = 8
    heads: int = 4
    feedforward: int = 512
    dropout: float = 0.3
    norm: Literal["post", "pre"] = "post"
    position: Literal["none", "sinusoidal"] = "none"

    def __post_init__(self) -> None:
        if self.width < 0 or self.layers < 0 or self.heads < 1 or self.feedforward < 1:
            raise SpecError("An encoder has 1 head and 1 unit or more; its width and layers are 0 or more.")
        _check_dropout(self.dropout)
        if self.layers and self.width:
            self.check_width(self.width)

    def check_width(self, width: int) -> None:
        """See that attention and positions can be had at this width.

        Raises:
            SpecError: it cannot be shared out to the heads, or is odd.
        """
        if width % self.heads or (self.position == "sinusoidal" and width % 2):
            raise SpecError(f"An encoder {width} wide cannot have {self.heads} heads and positions '{self.position}'.")


@dataclass(frozen=True, slots=True)
class OptimiserSpec:
    """How parameters move. ABAW6: Adam at 1e-4.

    Attributes:
        name: `adam`, or `adamw` with decoupled weight decay; betas .9 and .999, epsilon 1e-8.
        learning_rate: the highest.
        weight_decay: of `adamw`.
        schedule: `constant`; or `warmup_cosine`: with every step it rises evenly from `lowest_rate` over
            `warmup_epochs`, then falls along a cosine to `lowest_rate`.
        warmup_epochs: of `warmup_cosine`.
        lowest_rate: of `warmup_cosine`.
        clip_norm: gradients longer than this are shortened to it; 0 for none.
    """

    KIND: ClassVar[str] = "optimiser"

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "warmup_cosine"] = "constant"
    warmup_epochs: int = 0
    lowest_rate: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.weight_decay, self.lowest_rate, self.clip_norm, self.warmup_epochs)
        if not 0 < self.learning_rate < math.inf or not all(0 <= number < math.inf for number in numbers):
            raise SpecError("The learning rate must be positive, everything else 0 or more, and all finite.")
        if self.weight_decay and self.name != "adamw":
            raise SpecError("Weight decay is decoupled: only 'adamw' has it.")
        if (self.warmup_epochs or self.lowest_rate) and self.schedule != "warmup_cosine":
            raise SpecError("Warm-up and a lowest rate belong to the schedule 'warmup_cosine'.")

    def rate(self, step: int, steps: int, epochs: int) -> float:
        """The learning rate of a step.

        Args:
            step: counted from 0 over all epochs.
            steps: of an epoch.
            epochs: of the training.
        """
        if self.schedule == "constant":
            return self.learning_rate
        warmup = self.warmup_epochs * steps
        if step <= warmup and warmup:
            return self.lowest_rate + self.learning_rate * step / warmup
        # CtyunAI's solver asks for the next rate by the step that it has just done.
        turn = math.pi * max(step - warmup - 1, 0) / steps / (epochs - self.warmup_epochs + 1)
        return self.lowest_rate + (self.learning_rate - self.lowest_rate) * (1 + math.cos(turn)) / 2


def _check_dropout(rate: float) -> None:
    if not 0 <= rate < 1:
        raise SpecError(f"Dropout must be in [0, 1); found {rate}.")
