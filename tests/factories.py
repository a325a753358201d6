"""Small artifacts and inputs for tests."""

from __future__ import annotations

import numpy as np

from affstore.testing.artifacts import CODE, commit, source, visual

__all__ = ["CODE", "commit", "odd_sounds", "source", "visual"]


def odd_sounds(folder):
    """Files of 0.1 s that somebody might bring."""
    import soundfile

    rng, short = np.random.default_rng(0), 1 / 10
    tone = {
        hz: 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(short * hz)) / hz) for hz in (8000, 16_000, 48_000, 96_000)
    }
    holed = tone[16_000].copy()
    holed[100:200], holed[300], holed[400] = np.nan, np.inf, 1e200
    sounds = {
        "8kHz.wav": (tone[8000], 8000, "PCM_16"),
        "96kHz.wav": (tone[96_000], 96_000, "PCM_24"),
        "5.1.wav": (tone[48_000][:, None] * rng.uniform(0.1, 1, 6), 48_000, "PCM_16"),
        "float64.wav": (tone[16_000], 16_000, "DOUBLE"),
        "holes.wav": (holed, 16_000, "DOUBLE"),
        "loud.wav": (1e5 * tone[16_000], 16_000, "DOUBLE"),
        "silent.wav": (np.zeros(1600), 16_000, "PCM_16"),
        "brief.wav": (tone[16_000][:150], 16_000, "PCM_16"),
    }
    for name, (samples, hz, kind) in sounds.items():
        soundfile.write(folder / name, samples, hz, subtype=kind)
    return [folder / name for name in sounds]
