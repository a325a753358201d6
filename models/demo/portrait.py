"""Two seconds of the demonstration's photograph as it is, nothing bent: a real face for networks that know faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.demo.voice import control_times, speak
from affstore.store.contract.clock import FrameClock

_RATE_HZ, _FRAMES, _SOUND_HZ = 25, 50, 48_000


def write_portrait(path: Path) -> Path:
    """Write the film of scikit-image's astronaut, with a voice made by formulas, unless it is there.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_file():
        return path
    from skimage.data import astronaut

    photo = np.asarray(astronaut())  # type: ignore[no-untyped-call]
    length_s = _FRAMES / _RATE_HZ
    times_s = control_times(length_s)
    loudness = np.clip(np.sin(2 * np.pi * 2 * times_s), 0, 1)
    wave = speak(np.zeros((len(times_s), 2)), loudness, _SOUND_HZ, np.random.default_rng(7))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    pictures = Pictures([photo] * _FRAMES, (photo.shape[1], photo.shape[0]), FrameClock.uniform(_RATE_HZ, _FRAMES))
    write_film(part, pictures, Recording(wave[: int(length_s * _SOUND_HZ)], _SOUND_HZ))
    part.replace(path)
    return path
