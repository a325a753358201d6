"""The size and length that a video's container announces, for estimates: nothing is decoded, so it may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affstore.models.media.container import best_sound, best_video, opened
from affstore.store.contract.errors import MediaError

_SECOND = 1_000_000
"""Of FFmpeg's own clock, which containers give their length in."""

_USUAL_HZ = 30


@dataclass(frozen=True, slots=True)
class Announced:
    """What a container declares.

    Attributes:
        frames: of the video; by its length and rate where no number is declared.
        width_px: of a coded picture.
        height_px: of a coded picture.
        sound_hz: samples a second; 0 without sound.
        length_s: of the film.
    """

    frames: int
    width_px: int
    height_px: int
    sound_hz: int
    length_s: float


def announced(path: Path) -> Announced | None:
    """What a file says that it holds; None where it cannot be opened or has no video."""
    try:
        with opened(path) as container:
            video, sound = best_video(container, path.name), best_sound(container)
            own_s = float(video.duration * video.time_base) if video.duration and video.time_base else 0.0
            length_s = max(own_s, (container.duration or 0) / _SECOND)
            rate_hz = float(video.average_rate or _USUAL_HZ)
            return Announced(
                frames=video.frames or round(length_s * rate_hz),
                width_px=video.width,
                height_px=video.height,
                sound_hz=(sound.rate or 0) if sound is not None else 0,
                length_s=length_s or video.frames / rate_hz,
            )
    except MediaError:
        return None
