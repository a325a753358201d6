"""Spectrograms in decibels, as OpenL3's two front ends make them of one second of sound.

Magnitudes down to 1e-8 of the loudest one count, and float32 rounds at about 1e-8: in the quiet cells of a spectrogram
one sees how it was computed. `kapre` computes in float32 on TensorFlow and `librosa` in float64 on NumPy; each is
followed to the last bit but a few. A window that is one unit in the last place away from TensorFlow's moves those cells
by 1 dB, and untrained embeddings by 0.02. SciPy is imported when a sound is heard: extractors are listed without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_HOP = 242
_LEAST = 1e-10
_RANGE_DB = 80.0
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27

Samples = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class SpectrogramSpec:
    """Which spectrogram.

    Attributes:
        fft: samples of a frame, under a periodic Hann window; 512 or 2048.
        mels: bands of the mel scale; 0 for the bins of the transform as they are.
        padding: silence put `after` the sound so that every hop begins a frame, or half a frame on `both` sides, or
            nowhere.
        dtype: of the samples, and so of the Fourier transform.
        rate_hz: of the sound.
    """

    fft: int
    mels: int
    padding: Literal["after", "both", "none"]
    dtype: Literal["float32", "float64"]
    rate_hz: int


def openl3_spectrogram(representation: str, front_end: str, rate_hz: int) -> SpectrogramSpec:
    """What OpenL3 sees of a second: 197 frames of 257 bins, or 199 frames of 128 or 256 mel bands.

    Args:
        representation: `linear`, `mel128` or `mel256`.
        front_end: `kapre` or `librosa` (0.10 or newer, which pads with silence where older ones mirror the sound).
        rate_hz: of the sound.
    """
    dtype: Literal["float32", "float64"] = "float64" if front_end == "librosa" else "float32"
    if representation == "linear":
        return SpectrogramSpec(512, 0, "none", dtype, rate_hz)
    padding: Literal["after", "both"] = "both" if front_end == "librosa" else "after"
    return SpectrogramSpec(2048, {"mel128": 128, "mel256": 256}[representation], padding, dtype, rate_hz)


def spectrogram(sound: Samples, spec: SpectrogramSpec) -> NDArray[np.float32]:
    """Sound `(samples,)` to `(bins, frames)`: dB of the magnitude below the loudest one, from -80 to 0."""
    from scipy.fft import rfft

    spectrum = rfft(_frames(sound.astype(spec.dtype), spec) * _hann(spec.fft, spec.dtype))
    magnitude = np.abs(spectrum.astype(np.complex128))
    if spec.mels:
        magnitude = magnitude @ mel_filters(spec.mels, spec.fft, spec.rate_hz).T.astype(np.float64)
    return _below_loudest(magnitude.T)


def quick_spectrogram(sound: Samples, spec: SpectrogramSpec) -> NDArray[np.float32]:
    """The same within 1e-4 dB, in a third of the time: magnitudes and bands in the transform's own precision.

    The bands are a sparse product, which no linear algebra library spreads over threads.
    """
    from scipy.fft import rfft

    spectrum = rfft(_frames(sound.astype(spec.dtype, copy=False), spec) * _hann(spec.fft, spec.dtype))
    magnitude = np.ascontiguousarray(np.abs(spectrum).T)
    return _below_loudest(
        _sparse_mel_filters(spec.mels, spec.fft, spec.rate_hz) @ magnitude if spec.mels else magnitude
    )


def _below_loudest(magnitude: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Magnitudes in dB below the loudest one."""
    loudness = 10 * np.log10(np.maximum(magnitude, _LEAST))
    below: NDArray[np.float32] = np.maximum(loudness - loudness.max(), -_RANGE_DB).astype(np.float32)
    return below


def _frames(sound: Samples, spec: SpectrogramSpec) -> NDArray[Any]:
    before = after = spec.fft // 2 if spec.padding == "both" else 0
    if spec.padding == "after":
        after = (-(-len(sound) // _HOP) - 1) * _HOP + spec.fft - len(sound)
    return sliding_window_view(np.pad(sound, (before, after)), spec.fft)[::_HOP]


@cache
def _hann(length: int, dtype: str) -> NDArray[Any]:
    """In float64 as it is defined; in float32 as `tf.signal.hann_window` rounds it, for 2048 or a part of it."""
    if dtype == "float64":
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    with files("affstore.models.networks").joinpath("hann_2048.npy").open("rb") as file:
        window: NDArray[np.float32] = np.load(file, allow_pickle=False)
    return window[:: len(window) // length]


@cache
def mel_filters(mels: int, fft: int, rate_hz: int) -> NDArray[np.float32]:
    """Triangles on Slaney's mel scale from 0 Hz to the Nyquist rate, each of area 1 in Hz: `(mels, fft // 2 + 1)`.

    The scale is linear below 1 kHz and logarithmic above (Slaney 1998, Auditory Toolbox).
    """
    top = _BREAK_MEL + np.log(rate_hz / 2 / _BREAK_HZ) / _LOG_STEP
    edges = np.linspace(0, top, mels + 2)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (edges - _BREAK_MEL))
    hz = np.where(edges < _BREAK_MEL, edges * _BREAK_HZ / _BREAK_MEL, above)[:, None]
    bins = np.arange(fft // 2 + 1) * rate_hz / fft
    rise = (bins - hz[:-2]) / (hz[1:-1] - hz[:-2])
    fall = (hz[2:] - bins) / (hz[2:] - hz[1:-1])
    triangles = np.maximum(0, np.minimum(rise, fall))
    filters: NDArray[np.float32] = (triangles * 2 / (hz[2:] - hz[:-2])).astype(np.float32)
    return filters


@cache
def _sparse_mel_filters(mels: int, fft: int, rate_hz: int) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(mel_filters(mels, fft, rate_hz))
