"""A picture of a video: the face in front of a wall, moved, lit and coloured as its subject is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.face import DETAIL, LEFT_PX, TOP_PX

_PIVOT = ((226 - LEFT_PX) * DETAIL, (118 - TOP_PX) * DETAIL)  # between the eyes and the mouth
_FACES_ACROSS = 2.45  # heights of the head in the height of the picture, roughly
_HEAD = 88.0 * DETAIL
_GRAINS = 5

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How a subject looks and moves.

    Attributes:
        mirrored: whether left and right are exchanged.
        size: of the head, about 1.
        aspect: width against height, about 1.
        sway: `(4, 2)` amplitude and phase of the motion: x and y (shares of the head), scale, angle (degrees).
        periods_s: `(4,)` of the motion.
    """

    mirrored: bool
    size: float
    aspect: float
    sway: NDArray[np.float64]
    periods_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """How a video is lit, coloured and grained.

    Attributes:
        wall: `(height, width, 3)` float32, what is behind the subjects.
        tones: `(256, 1, 3)` uint8, what becomes of each level of each colour.
        grain: `(grains, height, width, 3)` int16, noise of the camera.
    """

    wall: NDArray[np.float32]
    tones: Picture
    grain: NDArray[np.int16]


def cast(random: np.random.Generator, mirrored: bool) -> Look:
    """Somebody; the second of two is mirrored, so that they are not the same picture twice."""
    reach = np.array([0.035, 0.03, 0.025, 1.8]) * random.uniform(0.5, 1.0, 4)
    return Look(
        mirrored=mirrored,
        size=random.uniform(0.94, 1.06),
        aspect=random.uniform(0.98, 1.02),
        sway=np.stack([reach, random.uniform(0.0, 2 * np.pi, 4)], 1),
        periods_s=random.uniform(2.5, 5.0, 4),
    )


def light(size_px: tuple[int, int], random: np.random.Generator) -> Light:
    """Somewhere.

    Args:
        size_px: width and height of the picture.
        random: what decides.
    """
    width, height = size_px
    clouds = random.normal(0.0, 9.0, (5, 7, 1)) + random.normal(0.0, 2.0, (5, 7, 3))
    colour = random.uniform(120.0, 205.0) + random.uniform(-14.0, 14.0, 3)
    wall = cv2.resize((clouds + colour).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    levels = np.arange(256.0)[:, None] / 255.0
    tones = 255.0 * random.uniform(0.97, 1.02) * random.uniform(0.99, 1.01, 3) * levels ** random.uniform(0.98, 1.02)
    grain = random.normal(0.0, random.uniform(1.0, 2.0), (_GRAINS, height, width, 3))
    return Light(
        np.asarray(wall, np.float32),
        np.clip(tones + 0.5, 0, 255).astype(np.uint8)[:, None, :],
        np.round(grain).astype(np.int16),
    )


def placement(look: Look, size_px: tuple[int, int], centre: float, time_s: float) -> NDArray[np.float64]:
    """`(2, 3)` matrix from the portrait to the picture.

    Args:
        look: whose portrait.
        size_px: width and height of the picture.
        centre: where the head is, as a share of the width.
        time_s: when.
    """
    swing = look.sway[:, 0] * np.sin(2 * np.pi * time_s / look.periods_s + look.sway[:, 1])
    scale = look.size * (1.0 + swing[2]) * size_px[1] / (_FACES_ACROSS * _HEAD)
    angle = np.deg2rad(swing[3])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([scale * look.aspect * (-1.0 if look.mirrored else 1.0), scale])
    head_px = scale * _HEAD
    place = np.array([centre * size_px[0] + swing[0] * head_px, (0.52 + 0.5 * swing[1]) * size_px[1]])
    return np.column_stack([linear, place - linear @ _PIVOT])


def put(
    picture: NDArray[np.float32], portrait: Picture, alpha: NDArray[np.float32], matrix: NDArray[np.float64]
) -> None:
    """Lay a portrait over a picture, in place.

    Args:
        picture: `(height, width, 3)`.
        portrait: from `Face.draw`.
        alpha: `Face.alpha`.
        matrix: from `placement`.
    """
    size = (picture.shape[1], picture.shape[0])
    warped = cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    picture += cover * (warped - picture)


def develop(picture: NDArray[np.float32], lit: Light, frame: int) -> Picture:
    """`(height, width, 3)` uint8 RGB: the picture with the video's tones and the frame's grain."""
    toned = cv2.LUT(np.clip(picture, 0, 255).astype(np.uint8), lit.tones)
    return np.clip(toned + lit.grain[frame * 7 % _GRAINS], 0, 255).astype(np.uint8)
