"""Sounds that need no download, for the statistics of untrained networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sounds(count: int, rate_hz: int, seed: int) -> NDArray[np.float32]:
    """Seeded seconds of sound `(count, rate_hz)`: gliding harmonic tones in syllables, over more or less noise."""
    random = np.random.Generator(np.random.PCG64(seed))
    return np.stack([_second(rate_hz, random) for _ in range(count)])


def _second(rate_hz: int, random: np.random.Generator) -> NDArray[np.float32]:
    at = np.arange(rate_hz) / rate_hz
    pitch_hz = np.exp(random.uniform(np.log(120), np.log(1200)))
    cycles = pitch_hz * (at + random.uniform(-0.3, 0.3) * at**2)
    partials = np.arange(1, 1 + int(rate_hz / 4 / pitch_hz))
    levels = partials ** -random.uniform(0.5, 2.5)
    tone = levels @ np.sin(2 * np.pi * partials[:, None] * cycles)
    syllables = np.maximum(0, np.sin(2 * np.pi * (random.uniform(0.5, 6) * at + random.uniform()))) ** 2
    colour = np.arange(1, rate_hz // 2 + 2) ** -random.uniform(0, 1)
    noise = np.fft.irfft(np.fft.rfft(random.standard_normal(rate_hz)) * colour, rate_hz)
    loudness = 10 ** random.uniform(-3, 0)
    sound = tone * syllables / np.abs(tone).max() + 10 ** random.uniform(-4, 0.5) * noise / np.abs(noise).max()
    return (loudness * sound).astype(np.float32)
