"""OpenL3 (Cramer et al. 2019): an embedding of each second of sound, every 0.1 s unless told otherwise.

The ABAW6 paper takes `openl3_env_mel128_512`, of 60 s segments: `openl3_env_mel128_512@blocks60`.

Clock: window `i` holds the second around `i / vectors_hz` s, or the second that begins there where windows are not
centred; the first centred one begins with half a second of silence, and the last one is filled up with it. Vector `i`
stands for the time from half a hop before its window's middle to half a hop after it. No window's middle lies in a
sound's last 0.4 s, nor in its first 0.5 s where windows are not centred: frames there are given the nearest vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import ENGINES, EngineName
from affstore.models.engines.footprint import PassBytes, Workload, sound_pass_bytes
from affstore.models.engines.torch_network import check_engine
from affstore.models.extractors.base import OneExtractor, SoundExtractor, SoundOutput
from affstore.models.extractors.registry import register
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

from affstore.models.extractors.audio.openl3_spec import NETWORK, OPENL3, RATE_HZ, WINDOW, OpenL3Spec, entry_for

Wave = NDArray[np.floating[Any]]
_UNTRAINED_SOUNDS = 8
_PASS_BYTES = 96 << 20


class Forward(Protocol):
    """What runs the network: from windows `(batch, 48000)` to embeddings `(batch, width)`.

    Attributes:
        batch: windows a pass, always as many.
    """

    batch: int

    def __call__(self, windows: Wave) -> NDArray[np.float32]:
        """One pass."""


class OpenL3(SoundExtractor):
    """OpenL3 on an engine, or by the package `openl3` itself. Any number of threads may call one."""

    def __init__(self, spec: OpenL3Spec, parameters: Mapping[str, Any], device: str = "cpu") -> None:
        self.spec: OpenL3Spec = spec
        self._forward = _forward(spec, parameters, device)

    def embed(self, wave: Wave) -> SoundOutput:
        """See `SoundExtractor.embed`. Any sound gives at least one vector; none gives none.

        Where blocks meet, a time that no window of a block is centred on has the vector nearest to it.

        Raises:
            SpecError: the wave is not float32 or float64 `(samples,)`.
        """
        if wave.dtype not in (np.float32, np.float64) or wave.ndim != 1:
            raise SpecError(f"'{self.spec.name}' hears float32 or float64 (samples,); found {wave.dtype} {wave.shape}.")
        windows, nearest = plan_windows(len(wave), self.spec)
        size = self._forward.batch
        embedded = [self._forward(_cut_out(wave, windows, first, size)) for first in range(0, len(windows.start), size)]
        none = np.empty((0, self.spec.width), np.float32)
        return SoundOutput(np.concatenate([none, *embedded])[nearest])


@dataclass(frozen=True, slots=True)
class OpenL3Kind(OneExtractor[OpenL3Spec]):
    """One of OpenL3's audio networks."""

    def build(self, spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> SoundExtractor:
        """See `ExtractorKind.build`."""
        return OpenL3(spec, parameters, device)

    def untrained(self, spec: OpenL3Spec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`."""
        from affstore.models.extractors.audio.openl3_torch import calibrated
        from affstore.models.weights.architectures import layout
        from affstore.models.weights.calibration_sounds import sounds
        from affstore.models.weights.untrained import draw

        heard = sounds(_UNTRAINED_SOUNDS, spec.rate_hz, seed)
        return calibrated(draw(layout(NETWORK, 0), seed), heard, spec.representation)

    def engines(self, spec: OpenL3Spec) -> Sequence[EngineName]:
        """See `ExtractorKind.engines`."""
        return ENGINES

    def pass_bytes(self, spec: OpenL3Spec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`: a pass hears one second."""
        return sound_pass_bytes(workload, _PASS_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Which samples each window holds: those from `start` on, in `[begin, end)`, and silence elsewhere.

    Attributes:
        start: `(windows,)` int64, where each begins; may lie before its block.
        begin: `(windows,)` int64, where its block begins.
        end: `(windows,)` int64, where its block ends.
    """

    start: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


def plan_windows(samples: int, spec: OpenL3Spec) -> tuple[Windows, NDArray[np.int64]]:
    """The windows of a sound, and which of them each vector is: one after the other where the sound is not cut."""
    length = spec.segments.length_s * RATE_HZ or max(samples, 1)
    begins = np.arange(0, samples, length, dtype=np.int64)
    lead = WINDOW // 2 if spec.centre else 0
    ends = np.minimum(begins + length, samples)
    counts = 1 + np.maximum(0, -((begins - ends - lead + WINDOW) // spec.hop))
    block = np.repeat(np.arange(len(begins)), counts)
    place = np.arange(len(block)) - np.repeat(np.cumsum(counts) - counts, counts)
    windows = Windows(begins[block] + spec.hop * place - lead, begins[block], ends[block])
    middles = (windows.start - windows.start[:1]) // spec.hop
    vectors = np.arange(middles[-1] + 1 if len(middles) else 0)
    after = np.searchsorted(middles, vectors).astype(np.int64)
    before = np.maximum(after - 1, 0)
    return windows, np.where(vectors - middles[before] <= middles[after] - vectors, before, after)


def _cut_out(wave: Wave, windows: Windows, first: int, size: int) -> Wave:
    """As many windows as the network always takes, `(size, 48000)`; the last one again where there are no more."""
    rows = np.minimum(np.arange(first, first + size), len(windows.start) - 1)
    at = windows.start[rows, None] + np.arange(WINDOW)
    heard = (at >= windows.begin[rows, None]) & (at < windows.end[rows, None])
    return wave[np.where(heard, at, 0)] * heard


def _forward(spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> Forward:
    """The engine that the spec names, with these parameters."""
    if spec.engine == "openl3":
        from affstore.models.extractors.audio.openl3_package import OpenL3Package

        return OpenL3Package(spec, parameters, device)
    check_engine(spec, ENGINES)
    if spec.engine == "openvino":
        from affstore.models.extractors.audio.openl3_openvino import OpenL3OnOpenVino

        return OpenL3OnOpenVino(spec, parameters, device)
    from affstore.models.extractors.audio.openl3_torch import OpenL3Torch

    return OpenL3Torch(spec, parameters, device)


register(*(OpenL3Kind(spec, entry_for(spec.content, spec.representation)) for spec in OPENL3))
