"""Shooting a take: when its frames play, what they show, and what is heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.face import Face
from affstore.models.demo.film import Recording
from affstore.models.demo.scene import cast, develop, light, placement, put
from affstore.models.demo.script import Script, episode_lengths, random_of, states, syllables, va_labels, write_script
from affstore.models.demo.takes import LATE_S, Take
from affstore.models.demo.voice import control_times, speak
from affstore.store.contract.clock import FrameClock

_SOUND_HZ = {"mp4": 48_000, "avi": 44_100}
_TICKS_HZ = 600
_GONE_S, _WAY_S = 1.3, 0.4  # how long a face stays away, and how long its way out takes


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A take, worked out.

    Attributes:
        take: which.
        seed: of everything random in it.
        clock: of its frames.
        scripts: one a subject.
        away: `(frames,)` float64: 0 while the subjects are there, 1 while they are gone.
    """

    take: Take
    seed: int
    clock: FrameClock
    scripts: tuple[Script, ...]
    away: NDArray[np.float64]


def stage(take: Take, seed: int, episode_s: float) -> Stage:
    """Work a take out.

    Args:
        take: which.
        seed: of the corpus.
        episode_s: mean length of an episode.
    """
    random = random_of(seed, take.name, "script")
    lengths = [episode_lengths(act, episode_s, random) for act in take.acts]
    end_s = lengths[0].sum()
    scripts = [
        write_script(act, length * end_s / length.sum(), random) for act, length in zip(take.acts, lengths, strict=True)
    ]
    clock = _clock(take, end_s, random)
    return Stage(take, seed, clock, tuple(scripts), _away(take, clock.starts_s, end_s))


def frames(staged: Stage, face: Face) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a take, `(height, width, 3)` uint8 RGB each."""
    take, times_s = staged.take, staged.clock.starts_s
    names = take.annotation_names
    looks = [cast(random_of(staged.seed, name, "look"), mirrored=name != names[0]) for name in names]
    lit = light(take.size_px, random_of(staged.seed, take.name, "light"))
    acted = [states(script, times_s) for script in staged.scripts]
    for frame, time_s in enumerate(times_s):
        picture = lit.wall.copy()
        for subject, look in enumerate(looks):
            if take.absence == "cut" and staged.away[frame] > 0:
                continue
            centre = (subject + 0.5) / len(looks) + 0.9 * staged.away[frame]
            put(picture, face.draw(acted[subject][frame]), face.alpha, placement(look, take.size_px, centre, time_s))
        yield develop(picture, lit, frame)


def recording(staged: Stage) -> Recording | None:
    """What is heard in a take: its first subject; None where it has no sound."""
    take, script = staged.take, staged.scripts[0]
    if take.sound == "none":
        return None
    start = Fraction(LATE_S) if take.sound == "late" else Fraction(0)
    length_s = script.end_s - float(start)
    rate_hz = _SOUND_HZ[take.suffix]
    heard_s = control_times(length_s) + float(start)
    feeling = va_labels(states(script, heard_s))
    loudness = syllables(script, heard_s).astype(np.float64)
    wave = speak(feeling, loudness, rate_hz, random_of(staged.seed, take.name, "voice"))
    return Recording(wave[: int(length_s * rate_hz)], rate_hz, start)


def _clock(take: Take, end_s: float, random: np.random.Generator) -> FrameClock:
    """Even frames, or frames of five lengths in a random order around the same rate."""
    if not take.variable:
        return FrameClock.uniform(take.rate_hz, int(end_s * take.rate_hz))
    lengths = np.array([20, 24, 30, 36, 40]) * 20 // take.rate_hz
    ticks = np.cumsum(random.choice(lengths, int(end_s * take.rate_hz)))
    ticks = ticks[ticks <= end_s * _TICKS_HZ]
    return FrameClock(np.concatenate([[0], ticks[:-1]]), Fraction(1, _TICKS_HZ), int(ticks[-1]))


def _away(take: Take, times_s: NDArray[np.float64], end_s: float) -> NDArray[np.float64]:
    """How far the subjects are gone at each instant: around the middle of the video, or never."""
    from_middle = np.abs(times_s - end_s / 2)
    if take.absence == "leaves":
        return np.clip((_GONE_S / 2 + _WAY_S - from_middle) / _WAY_S, 0.0, 1.0)
    return (from_middle < _GONE_S / 2).astype(np.float64) * (take.absence == "cut")
