"""OpenL3 (Cramer et al. 2019): an embedding of each second of sound, every 0.1 s unless told otherwise.

The ABAW6 paper takes `openl3_env_mel128_512`, of 60 s segments: `openl3_env_mel128_512@blocks60`.

Clock: window `i` holds the second around `i / vectors_hz` s, or the second that begins there where windows are not
centred; the first centred one begins with half a second of silence, and the last one is filled up with it. Vector `i`
stands for the time from half a hop before its window's middle to half a hop after it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractors.base import SoundExtractor, SoundOutput
from affstore.models.extractors.registry import register
from affstore.models.extractors.specs import SoundExtractorSpec, WeightsRef, whole
from affstore.models.extractors.torch_network import check_engine
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

Content = Literal["env", "music"]
Representation = Literal["linear", "mel128", "mel256"]
FrontEnd = Literal["kapre", "librosa"]
Wave = NDArray[np.floating[Any]]


class Forward(Protocol):
    """What runs the network: from windows `(batch, 48000)` to embeddings `(batch, width)`.

    Attributes:
        batch: windows a pass, always as many.
    """

    batch: int

    def __call__(self, windows: Wave) -> NDArray[np.float32]:
        """One pass."""


HOW_TO_INSTALL = "In affstore's folder, type `pip install -e '.[openl3]'`, which needs the internet to build."

_HOP = re.compile(r"hop(\d+(?:\.\d+)?)")
_RATE_HZ = 48_000
_WINDOW = _RATE_HZ
_WIDTHS = (512, 6144)
_UNTRAINED_SOUNDS = 8


@dataclass(frozen=True, slots=True)
class OpenL3Spec(SoundExtractorSpec):
    """One of OpenL3's audio networks.

    Attributes:
        content: what the network was trained on: videos of the environment, or of music.
        representation: what it sees of the sound: bins of a Fourier transform, or bands of the mel scale.
        front_end: whose spectrogram: `kapre` begins frames at the window's start, `librosa` puts their middles there.
        centre: whether windows lie around the instants they are given for, or begin there.
    """

    KIND: ClassVar[str] = "openl3 extractor"

    content: Content = "env"
    representation: Representation = "mel128"
    front_end: FrontEnd = "kapre"
    centre: bool = True

    @property
    def hop_s(self) -> Fraction:
        """Seconds from one window to the next."""
        return 1 / self.vectors_hz

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return int(self.hop_s * self.rate_hz)

    def windowed(self, hop_s: Fraction, centre: bool = True) -> OpenL3Spec:
        """The same network with other windows.

        Raises:
            SpecError: windows do not begin on samples.
        """
        if hop_s <= 0:
            raise SpecError(f"'{self.name}': windows follow each other after a positive time; found {hop_s} s.")
        return replace(self, vectors_hz=1 / hop_s, centre=centre, first_s=_first_s(hop_s, centre))

    def varied(self, word: str) -> SoundExtractorSpec:
        """See `SoundExtractorSpec.varied`; also `hop0.5`, `uncentred`, and `package`: run by the package `openl3`.

        Raises:
            SpecError: the word says something else, or the package is not installed.
        """
        if word == "package":
            if importlib.util.find_spec("openl3") is None:
                raise SpecError(f"'{self.name}' needs the package openl3, which is not here. {HOW_TO_INSTALL}")
            return replace(self, engine="openl3")
        if word == "uncentred":
            return self.windowed(self.hop_s, centre=False)
        if found := _HOP.fullmatch(word):
            return self.windowed(Fraction(found[1]), self.centre)
        return super(OpenL3Spec, self).varied(word)

    def __post_init__(self) -> None:
        known = [(self.content, Content), (self.representation, Representation), (self.front_end, FrontEnd)]
        odd = [word for word, choice in known if word not in get_args(choice)]
        if odd or self.width not in _WIDTHS or self.rate_hz != _RATE_HZ or self.normalise:
            raise SpecError(
                f"OpenL3 hears {_RATE_HZ} Hz as it is and gives 512 or 6144 numbers; its content is env or music, its "
                "representation linear, mel128 or mel256, its front end kapre or librosa. "
                f"'{self.name}' says {self.rate_hz} Hz, {self.width}, {', '.join(odd) or f'{self.normalise=}'}."
            )
        if self.hop_s * _RATE_HZ != self.hop or self.first_s != _first_s(self.hop_s, self.centre):
            raise SpecError(
                f"'{self.name}': windows every {self.hop_s} s from {self.first_s} s on do not fall on samples, or not "
                "where centred ones do. Make the spec with `windowed`."
            )
        if self.segments.mode == "windows" or (self.segments.length_s * self.vectors_hz).denominator != 1:
            raise SpecError(
                f"'{self.name}' hears the whole sound, or blocks of a whole number of hops: its own windows overlap. "
                f"Found {self.segments.mode} of {self.segments.length_s} s and a hop of {self.hop_s} s."
            )


def openl3_spec(content: Content, representation: Representation, width: int, front_end: FrontEnd) -> OpenL3Spec:
    """`openl3_<content>_<representation>_<width>`, or with `_librosa` at its end: a centred window every 0.1 s."""
    hop_s = Fraction(1, 10)
    return OpenL3Spec(
        name=f"openl3_{content}_{representation}_{width}{'_librosa' if front_end == 'librosa' else ''}",
        version=1,
        width=width,
        rate_hz=_RATE_HZ,
        vectors_hz=1 / hop_s,
        weights=WeightsRef(f"openl3_{content}_{representation}"),
        segments=whole(),
        normalise=False,
        first_s=_first_s(hop_s, centre=True),
        resampler="resampy",
        content=content,
        representation=representation,
        front_end=front_end,
    )


def _first_s(hop_s: Fraction, centre: bool) -> Fraction:
    """Where the time that vector 0 stands for begins."""
    return (Fraction(0) if centre else Fraction(1, 2)) - hop_s / 2


OPENL3 = tuple(
    openl3_spec(content, representation, width, front_end)
    for content in get_args(Content)
    for representation in get_args(Representation)
    for width in _WIDTHS
    for front_end in get_args(FrontEnd)
)
"""Every published network, at both widths, behind both front ends."""


@register(*OPENL3)
class OpenL3(SoundExtractor):
    """OpenL3 on torch, or by the package `openl3` itself. Any number of threads may call one."""

    def __init__(self, spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> None:
        if not isinstance(spec, OpenL3Spec):
            raise SpecError(f"'{spec.name}' needs an OpenL3Spec; found a {type(spec).__name__}.")
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

    @staticmethod
    def untrained(spec: OpenL3Spec, seed: int) -> dict[str, torch.Tensor]:
        """Seeded parameters whose embeddings depend on the sound and on the moment."""
        from affstore.models.engines.openl3_torch import settled
        from affstore.models.weights.architectures import layout
        from affstore.models.weights.calibration_sounds import sounds
        from affstore.models.weights.untrained import draw

        heard = sounds(_UNTRAINED_SOUNDS, spec.rate_hz, seed)
        return settled(draw(layout("openl3", 0), seed), heard, spec.representation)


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
    length = spec.segments.length_s * _RATE_HZ or max(samples, 1)
    begins = np.arange(0, samples, length, dtype=np.int64)
    lead = _WINDOW // 2 if spec.centre else 0
    ends = np.minimum(begins + length, samples)
    counts = 1 + np.maximum(0, -((begins - ends - lead + _WINDOW) // spec.hop))
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
    at = windows.start[rows, None] + np.arange(_WINDOW)
    heard = (at >= windows.begin[rows, None]) & (at < windows.end[rows, None])
    return wave[np.where(heard, at, 0)] * heard


def _forward(spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> Forward:
    """The engine that the spec names, with these parameters."""
    if spec.engine == "openl3":
        from affstore.models.engines.openl3_package import OpenL3Package

        return OpenL3Package(spec, parameters, device)
    check_engine(spec)
    from affstore.models.engines.openl3_torch import OpenL3Torch

    return OpenL3Torch(spec, parameters, device)
