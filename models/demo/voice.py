"""A voice for the demonstration corpus: a glottal pulse train through formants that follow valence and arousal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HOP_S = 0.01
_HOPS = 8  # of the analysis frame; half of it is silence, into which the formants ring
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0, 220.0)

Series = NDArray[np.float64]


def control_times(length_s: float) -> Series:
    """The instants, `_HOP_S` apart, at which `speak` wants to know how the speaker feels."""
    return np.arange(int(np.ceil(length_s / _HOP_S)) + _HOPS, dtype=np.float64) * _HOP_S


def speak(feeling: Series, loudness: Series, rate_hz: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Speech-like sound without words.

    Arousal raises pitch, energy, the first formant and the share of high partials; valence raises the upper formants
    and the liveliness of the pitch.

    Args:
        feeling: `(hops, 2)` valence and arousal in [-1, 1] at `control_times`.
        loudness: `(hops,)` syllables in [0, 1] at the same instants.
        rate_hz: sample rate.
        random: the speaker: pitch, breath and vowels.

    Returns:
        `(samples,)` float32 in [-1, 1].
    """
    hop = round(rate_hz * _HOP_S)
    valence, arousal = feeling.T
    vowel = np.repeat(random.uniform(-1.0, 1.0, (len(feeling) // 25 + 1, 2)), 25, 0)[: len(feeling)]
    wobble = 1.0 + (0.04 + 0.04 * valence) * np.sin(2 * np.pi * 2.3 * _HOP_S * np.arange(len(feeling)))
    pitch_hz = random.uniform(165.0, 195.0) * 2.0 ** (0.7 * arousal) * wobble
    pulses = _pulse_train(pitch_hz, hop, rate_hz)
    breath = random.normal(0.0, 0.02, len(pulses))
    formants_hz = np.stack(
        [
            520.0 + 220.0 * arousal + 90.0 * vowel[:, 0],
            1550.0 + 350.0 * valence + 220.0 * vowel[:, 1],
            2550.0 + 250.0 * valence,
            3600.0 + 150.0 * arousal,
        ],
        1,
    )
    level = (0.15 + 0.85 * loudness) * 10.0 ** (0.45 * arousal)
    sound = _filtered(pulses + breath, formants_hz, level, 1.3 - 0.5 * arousal)
    return (0.12 * sound / np.sqrt(np.mean(sound**2) + 1e-12)).clip(-1.0, 1.0).astype(np.float32)


def _pulse_train(pitch_hz: Series, hop: int, rate_hz: int) -> Series:
    """`(hops · hop,)` one unit impulse a glottal cycle, shared between the two samples next to it."""
    instants = np.arange(len(pitch_hz) * hop) / hop
    phase = np.cumsum(np.interp(instants, np.arange(len(pitch_hz)), pitch_hz)) / rate_hz
    cycle = np.floor(phase)
    late = (phase - cycle) / np.gradient(phase)  # samples since the cycle began
    train = np.zeros(len(phase) + 1)
    begins = np.flatnonzero(np.diff(cycle, prepend=0.0) > 0)
    train[begins] += 1.0 - np.minimum(late[begins], 1.0)
    train[begins - 1] += np.minimum(late[begins], 1.0)
    return train[:-1]


def _filtered(source: Series, formants_hz: Series, level: Series, tilt: Series) -> NDArray[np.float64]:
    """Overlap-add: each frame of the source through the vocal tract of its instant.

    Args:
        source: `(hops · hop,)`.
        formants_hz: `(hops, 4)`.
        level: `(hops,)` gain.
        tilt: `(hops,)` slope of the source's spectrum, as a power of frequency.
    """
    hops = len(level)
    hop = len(source) // hops
    half = _HOPS // 2
    padded = np.pad(source, (0, half * hop)).reshape(-1, hop)
    frames = np.concatenate([padded[k : k + hops] for k in range(half)], 1) * np.hanning(half * hop) * level[:, None]
    spectrum = np.fft.rfft(frames, _HOPS * hop)
    hz = np.arange(spectrum.shape[1]) / (_HOPS * _HOP_S)
    spectrum *= (np.maximum(hz, 50.0) / 200.0)[None, :] ** -tilt[:, None]
    for formant, width_hz in zip(formants_hz.T[:, :, None], _BANDWIDTHS_HZ, strict=True):
        spectrum *= formant**2 / (formant**2 - hz**2 + 1j * hz * width_hz)
    rung = np.fft.irfft(spectrum, _HOPS * hop).reshape(hops, _HOPS, hop)
    sound = np.zeros((hops + _HOPS, hop))
    for k in range(_HOPS):
        sound[k : k + hops] += rung[:, k]
    return sound[:hops].ravel()
