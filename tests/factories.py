"""Small artifacts and inputs for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affstore.models.challenge_file import read_sample
from affstore.models.evaluation.metrics import score
from affstore.store.contract.labels import task_space
from affstore.testing.artifacts import CODE, commit, source, visual

__all__ = ["CODE", "MemoryCrops", "commit", "mean_ccc", "odd_sounds", "read_submission", "source", "visual"]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryCrops:
    """Labelled crops of one video, of all its frames, that lie in memory."""

    crops: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def frame(self) -> np.ndarray:
        return np.arange(len(self.crops))

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.crops[rows]


def mean_ccc(prediction, value) -> float:
    """Mean of the CCC of valence and of arousal."""
    return score("va", prediction, value).value


def read_submission(path, task):
    """The list of a challenge file, and the values of its rows."""
    space = task_space(task)
    columns = range(1, space.columns + 1)
    values = np.loadtxt(path, space.dtype, comments=None, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    return read_sample(path, task), values


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
