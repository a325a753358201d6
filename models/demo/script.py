"""What a face does in a video: episodes of expressions, their action units, and the labels that follow."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.units import COLUMN, UNITS
from affstore.store.contract.labels import AU, EXPR

LETTERS = "NADFHSUO"
"""A letter for each expression, in the order of `affstore.store.contract.labels.EXPR`; U is surprise."""

_PROTOTYPES: dict[str, dict[str, float]] = {
    "Neutral": {},
    "Anger": {"AU4": 1.0, "AU5": 0.4, "AU7": 0.9, "AU23": 1.0, "AU24": 0.9},
    "Disgust": {"AU4": 0.6, "AU7": 0.7, "AU9": 1.0, "AU10": 1.0, "AU25": 0.6},
    "Fear": {"AU1": 1.0, "AU2": 0.7, "AU4": 0.6, "AU5": 1.0, "AU20": 1.0, "AU25": 0.9, "AU26": 0.25},
    "Happiness": {"AU6": 0.9, "AU7": 0.2, "AU12": 1.0, "AU25": 0.9},
    "Sadness": {"AU1": 0.9, "AU4": 0.6, "AU15": 1.0},
    "Surprise": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.6, "AU25": 0.8, "AU26": 1.0},
    "Other": {"AU2": 0.8, "AU12": 0.55, "AU24": 1.0},
}
_ACTIVE = 0.4  # intensity from which a unit is annotated as present
_VALENCE = {
    "AU2": 0.1,
    "AU4": -0.5,
    "AU6": 0.4,
    "AU9": -0.5,
    "AU10": -0.3,
    "AU12": 1.2,
    "AU15": -1.1,
    "AU20": -0.6,
    "AU24": -0.4,
}
_AROUSAL = {
    "AU4": 0.3,
    "AU5": 0.6,
    "AU7": 0.3,
    "AU12": 0.3,
    "AU15": -0.9,
    "AU20": 0.4,
    "AU23": 0.3,
    "AU25": 0.2,
    "AU26": 0.7,
}
_RAMP_S = 0.4
_SYLLABLES_HZ = 4.0

Series = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What one subject does.

    Attributes:
        expressions: `(episodes,)` classes of `EXPR`.
        starts_s: `(episodes,)` when each episode is half-way in.
        strengths: `(episodes, units)` intensity of each unit at the height of the episode.
        vague: `(episodes,)` whether the way into the episode is left unlabelled.
        phases: `(3,)` of the slow wandering of the face and of its syllables, in radians.
        end_s: when the video ends.
    """

    expressions: NDArray[np.int64]
    starts_s: NDArray[np.float64]
    strengths: Series
    vague: NDArray[np.bool_]
    phases: NDArray[np.float64]
    end_s: float


def random_of(seed: int, *names: str) -> np.random.Generator:
    """A stream of random numbers of its own for each name."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def episode_lengths(act: str, mean_s: float, random: np.random.Generator) -> NDArray[np.float64]:
    """How long each episode of an act lasts, `(episodes,)` seconds."""
    return mean_s * random.uniform(0.9, 1.15, len(act))


def write_script(act: str, lengths_s: NDArray[np.float64], random: np.random.Generator) -> Script:
    """The script of an act.

    Args:
        act: a letter of `LETTERS` for each episode.
        lengths_s: `(episodes,)` from `episode_lengths`.
        random: what decides how strongly each episode is played.
    """
    expressions = np.array([LETTERS.index(letter) for letter in act], np.int64)
    pure = np.zeros((len(EXPR), len(UNITS)), np.float32)
    for row, name in enumerate(EXPR.names):
        for unit, intensity in _PROTOTYPES[name].items():
            pure[row, COLUMN[unit]] = intensity
    played = random.uniform(0.8, 1.0, (len(act), 1)) * random.uniform(0.9, 1.0, (len(act), len(UNITS)))
    return Script(
        expressions=expressions,
        starts_s=np.concatenate([[0.0], np.cumsum(lengths_s)[:-1]]),
        strengths=(pure[expressions] * played).astype(np.float32),
        vague=random.random(len(act)) < 0.4,
        phases=random.uniform(0.0, 2 * np.pi, 3),
        end_s=float(lengths_s.sum()),
    )


def presence(script: Script, times_s: NDArray[np.float64]) -> Series:
    """`(times, episodes)` share of each episode, in [0, 1]; every row sums to 1."""
    since = np.clip((times_s[:, None] - script.starts_s) / _RAMP_S + 0.5, 0.0, 1.0)
    begun = since * since * (3.0 - 2.0 * since)
    begun[:, 0] = 1.0
    return (begun - np.pad(begun[:, 1:], ((0, 0), (0, 1)))).astype(np.float32)


def syllables(script: Script, times_s: NDArray[np.float64]) -> Series:
    """`(times,)` loudness of the speech in [0, 1]: four syllables a second, in phrases."""
    beat = 0.5 - 0.5 * np.cos(2 * np.pi * _SYLLABLES_HZ * times_s + script.phases[0])
    phrase = np.clip(1.5 + 3.0 * np.sin(2 * np.pi * 0.45 * times_s + script.phases[1]), 0.0, 1.0)
    return (beat * phrase).astype(np.float32)


def states(script: Script, times_s: NDArray[np.float64]) -> Series:
    """`(times, units)` intensities in [0, 1]: the episodes, a slow wandering, and lips that move a little in speech."""
    played = (presence(script, times_s)[:, :, None] * script.strengths).sum(1)
    drift = 2 * np.pi * times_s[:, None] * (0.31 + 0.07 * np.arange(len(UNITS))) + script.phases[2]
    moving = played * (1.0 + 0.08 * np.sin(drift))
    moving[:, COLUMN["AU25"]] += 0.12 * syllables(script, times_s)
    return np.clip(moving, 0.0, 1.0).astype(np.float32)


def expr_labels(script: Script, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """`(times,)` expression; -1 on the way into a vague episode."""
    share = presence(script, times_s)
    strongest = share.argmax(1)
    into = np.minimum(np.searchsorted(script.starts_s, times_s + _RAMP_S, side="right") - 1, len(script.vague) - 1)
    unsure = (share.max(1) < 0.95) & script.vague[into]
    return np.where(unsure, -1, script.expressions[strongest])


def au_labels(state: Series) -> NDArray[np.int64]:
    """`(times, 12)` 1 where a unit is active, in the order of `AU`."""
    return (state[:, : len(AU)] > _ACTIVE).astype(np.int64)


def va_labels(state: Series) -> NDArray[np.float64]:
    """`(times, 2)` valence and arousal in [-1, 1], a smooth function of the face's state."""
    weights = np.zeros((len(UNITS), 2))
    for column, of_unit in enumerate((_VALENCE, _AROUSAL)):
        for unit, weight in of_unit.items():
            weights[COLUMN[unit], column] = weight
    resting = np.array([0.05, -0.1])
    return np.tanh((state[:, :, None] * weights).sum(1) + resting)
