"""Which samples a step of an audio encoder depends on, found by changing samples and looking at the steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractors.audio.hf_networks import by_time, feature_extractor, network_of
from affstore.models.weights.untrained import draw, unit_weight_norms

if TYPE_CHECKING:
    import torch

_MOST_PARAMETERS = 4 << 30

_MEASURED_STEP = 4
"""Far enough from the beginning of a sound that nothing it depends on lies before it."""

_SAME = 1e-3


@dataclass(frozen=True, slots=True)
class Clock:
    """Which samples the steps of an encoder depend on, before its attention, found by changing samples.

    Attributes:
        stride: samples from one step to the next.
        begin: the first sample that step 0 depends on; negative where the encoder fills up the beginning.
        end: after the last one.
        hears: samples that step 0 needs of an encoder that hears any length; 0 of one that always hears a window.
        steps: of a window, which shorter sounds are filled up to; 0 of an encoder that hears any length.
    """

    stride: int
    begin: int
    end: int
    hears: int = 0
    steps: int = 0


def measured(config: str, preprocessor: str) -> tuple[Clock, int]:
    """The clock of an encoder, and the length of its hidden states.

    What sees the whole sound is left out of the network: attention, the convolution of positions, and what normalises
    over time. Then a step depends on a few samples, and on no other to the bit.
    """
    steps_of = _front_end(config, preprocessor)
    rate = int(feature_extractor(config, preprocessor).sampling_rate)
    try:
        return _clock(steps_of, rate // 4)
    except _TooShortError:  # of an encoder with long strides
        return _clock(steps_of, rate)


def _clock(steps_of: Callable[[NDArray[np.float32]], NDArray[np.float32]], samples: int) -> tuple[Clock, int]:
    """The same, measured with a sound of so many samples."""
    random = np.random.Generator(np.random.PCG64(0))
    sound, other = 0.1 * random.standard_normal((2, samples), np.float32)
    plain = steps_of(sound)
    if len(plain) < _MEASURED_STEP + 2:
        raise _TooShortError("a sound of one second gives too few steps to measure")

    def depends(step: int, begin: int, end: int) -> bool:
        changed = sound.copy()
        changed[begin:end] = other[begin:end]
        return bool((steps_of(changed)[step] != plain[step]).any())

    begins = [_smallest(samples, partial(depends, k, 0)) - 1 for k in (_MEASURED_STEP, _MEASURED_STEP + 1)]
    ends = samples + 1 - _smallest(samples, lambda last: depends(_MEASURED_STEP, samples - last, samples))
    stride = begins[1] - begins[0]
    begin, end = (bound - _MEASURED_STEP * stride for bound in (begins[0], ends))
    if stride < 1:
        raise ValueError("its steps do not follow each other in time")
    if len(steps_of(np.tile(sound, 2))) == len(plain):
        return Clock(stride, begin, end, steps=len(plain)), plain.shape[1]

    def whole(first: int) -> bool:
        try:
            alone = steps_of(sound[:first])[0]
        except (RuntimeError, ValueError, IndexError):  # too short for the network
            return False
        return bool(np.abs(alone - plain[0]).max() <= _SAME * np.abs(plain[0]).max())

    return Clock(stride, begin, end, hears=_smallest(samples, whole)), plain.shape[1]


def _front_end(config: str, preprocessor: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What an encoder makes of a sound `(samples,)` before its transformer, `(steps, width)`."""
    import torch

    fields = json.loads(config)
    fields |= {key: 1 for key in ("num_hidden_layers", "encoder_layers", "decoder_layers") if key in fields}
    one_layer = json.dumps(fields | {"num_hidden_layers": 1})
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in network_of(one_layer).parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError(f"it would have {size} parameters before its second layer")
    network = network_of(one_layer)
    drawn = unit_weight_norms(draw(_slots(network), 0))
    for name, tensor in drawn.items():
        if "pos_conv" in name and not name.endswith("original1"):  # the direction of a weight norm has no length 0
            tensor.zero_()
    network.load_state_dict(drawn, assign=True)
    for module in network.modules():
        for child, part in module.named_children():
            if isinstance(part, torch.nn.GroupNorm):
                setattr(module, child, torch.nn.Identity())
    states: list[torch.Tensor] = []

    def stop(module: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(args[0] if args else named["hidden_states"])
        raise _FrontEndDoneError

    layer = next(part for n, part in network.named_modules() if n.endswith("layers.0") and "conv" not in n)
    layer.register_forward_pre_hook(stop, with_kwargs=True)
    prepare = feature_extractor(config, preprocessor)
    prepare.do_normalize = False
    local = {"do_normalize_per_mel_bins": False} if "Seamless" in type(prepare).__name__ else {}

    def steps_of(sound: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = prepare(sound, sampling_rate=prepare.sampling_rate, return_tensors="pt", **local)
        try:
            with torch.inference_mode():
                network(**inputs)
        except _FrontEndDoneError:
            return by_time(network, states.pop())[0].numpy()
        raise ValueError("its first layer is not where it is expected")

    return steps_of


class _TooShortError(ValueError):
    """The sound is too short for the steps of the encoder."""


class _FrontEndDoneError(Exception):
    """The transformer is reached."""


def _slots(network: torch.nn.Module) -> dict[str, Any]:
    from affstore.models.weights.architectures import Slot

    return {n: Slot(str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in network.state_dict().items()}


def _smallest(most: int, holds: Callable[[int], bool]) -> int:
    """The smallest number up to `most` from which on something holds.

    Raises:
        _TooShortError: it does not hold even for `most`.
    """
    if not holds(most):
        raise _TooShortError("a step does not depend on one second of sound")
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
