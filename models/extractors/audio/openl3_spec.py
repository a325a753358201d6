"""What an OpenL3 network is, and the names of all that were published."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Literal, get_args

from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, whole
from affstore.models.weights.architectures import own_network
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.errors import SpecError

Content = Literal["env", "music"]
Representation = Literal["linear", "mel128", "mel256"]
FrontEnd = Literal["kapre", "librosa"]


HOW_TO_INSTALL = "In affstore's folder, type `pip install -e '.[openl3]'`, which needs the internet to build."

_HOP = re.compile(r"hop(\d+(?:\.\d+)?)")
RATE_HZ = 48_000
WINDOW = RATE_HZ
_WIDTHS = (512, 6144)

NETWORK = own_network("openl3", face=False)

_BLOB_IDS = {
    ("env", "linear"): "7837407f033f3564c7e8d53fc4a4241fe160478b",
    ("env", "mel128"): "8c3dfee140f7776373841e5938a3e76c54f28942",
    ("env", "mel256"): "34dbd7a91cdd2de6a3d6d036ac0a24d27d78e3cc",
    ("music", "linear"): "4e2e61beb17865481c8b8791c72eac8307e2753a",
    ("music", "mel128"): "73ff29de441865318c4b3a3f98c40763c4773e7c",
    ("music", "mel256"): "15e483646fa3d4091a463f0affbb706e6bbbb098",
}
"""Of each published file, from the public tree of marl/openl3's branch `models`."""


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

    def changed_by(self, word: str) -> SoundExtractorSpec:
        """See `SoundExtractorSpec.changed_by`; OpenL3 has four words more.

        Args:
            word: also `hop0.5`, seconds between windows; `uncentred`, windows that begin at their instants;
                `resampy0.2`, the filter of resampy's versions before 0.3, which OpenL3's own requirements ask for; and
                `package`, run by the package `openl3`.

        Raises:
            SpecError: the word says something else, or the package is not installed.
        """
        if word == "package":
            if importlib.util.find_spec("openl3") is None:
                raise SpecError(f"'{self.name}' needs the package openl3, which is not here. {HOW_TO_INSTALL}")
            return replace(self, engine="openl3")
        if word == "uncentred":
            return self.windowed(self.hop_s, centre=False)
        if word == "resampy0.2":
            return replace(self, resampler="resampy_0.2")
        if found := _HOP.fullmatch(word):
            return self.windowed(Fraction(found[1]), self.centre)
        return super(OpenL3Spec, self).changed_by(word)

    def __post_init__(self) -> None:
        known = [(self.content, Content), (self.representation, Representation), (self.front_end, FrontEnd)]
        odd = [word for word, choice in known if word not in get_args(choice)]
        if odd or self.width not in _WIDTHS or self.rate_hz != RATE_HZ or self.normalise:
            raise SpecError(
                f"OpenL3 hears {RATE_HZ} Hz as it is and gives 512 or 6144 numbers; its content is env or music, its "
                "representation linear, mel128 or mel256, its front end kapre or librosa. "
                f"'{self.name}' says {self.rate_hz} Hz, {self.width}, {', '.join(odd) or f'{self.normalise=}'}."
            )
        if self.engine == "openl3" and self.resampler != "resampy":
            raise SpecError(f"'{self.name}': the package openl3 resamples by itself. Name one of the two words.")
        if self.hop_s * RATE_HZ != self.hop or self.first_s != _first_s(self.hop_s, self.centre):
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
        rate_hz=RATE_HZ,
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


def entry_for(content: Content, representation: Representation) -> WeightsEntry:
    """The published file of a network; both widths and both front ends share it."""
    file = f"openl3_audio_{representation}_{content}-v0_4_0.h5.gz"
    return WeightsEntry(
        f"openl3_{content}_{representation}",
        NETWORK,
        file=file,
        url=f"https://github.com/marl/openl3/raw/c2321e8c1e68213357431f1868380a0ef224ce03/{file}",
        git_blob_sha1=_BLOB_IDS[content, representation],
        licence="CC-BY-4.0",
        format="keras_h5_gz",
        source="marl/openl3, branch models, blob id from its public tree; licence of the weights from its README",
    )
