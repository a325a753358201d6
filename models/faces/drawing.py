"""Drawing what is known of people into a picture: their faces, what they are called, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOURS = ("#ffd34e", "#5ec8ff", "#ff8fb1", "#8be28b", "#c9a6ff", "#ffa860", "#7fe3d4", "#e6e6e6")
_BEHIND = (0, 0, 0)
_SMALLEST_TEXT_PX = 11


@dataclass(frozen=True, slots=True, eq=False)
class DrawnPerson:
    """What is drawn of one person, frame by frame.

    Attributes:
        name: what the person is called.
        present: `(frames,)` bool; in other frames nothing is drawn.
        box: `(frames, 4)` x0, y0, x1, y1 in px, NaN where it is not known; None without any.
        landmark: `(frames, points, 2)` x, y in px; None without any.
        said: for each line below the name, its text in every frame; None where there is nothing to say.
    """

    name: str
    present: NDArray[np.bool_]
    box: NDArray[np.float32] | None = None
    landmark: NDArray[np.float32] | None = None
    said: tuple[Sequence[str | None], ...] = ()


def drawn(picture: NDArray[np.uint8], people: Sequence[DrawnPerson], frame: int) -> NDArray[np.uint8]:
    """A picture `(height, width, 3)` with what is known of the people in that frame; those without a box at its corner.

    The picture itself is left as it is.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    size_px = max(_SMALLEST_TEXT_PX, image.height // 28)
    font = _font(size_px)
    line_px, corner_px = size_px + size_px // 3, 2
    stroke_px = max(1, image.height // 240)
    for number, person in enumerate(people):
        if not person.present[frame]:
            continue
        colour = _COLOURS[number % len(_COLOURS)]
        lines = [person.name, *(line for texts in person.said if (line := texts[frame]))]
        box = None if person.box is None else person.box[frame]
        wide, high = max(canvas.textlength(line, font) for line in lines) + 2, line_px * len(lines)
        if box is None or not np.isfinite(box).all():
            top, left = corner_px, 2.0
            corner_px += high
        else:
            x0, y0, x1, y1 = (float(corner) for corner in box)
            canvas.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=stroke_px)
            below = round(y1) + stroke_px
            top = below if high > y0 and below + high <= image.height else max(0, round(y0) - high)
            left = max(0.0, min(x0, image.width - wide))
        if person.landmark is not None:
            _points(canvas, person.landmark[frame], 1 + stroke_px, colour)
        _lines(canvas, lines, (round(left), top, line_px), (font, colour))
    return np.asarray(image)


def _points(canvas: Any, landmark: NDArray[np.float32], radius_px: int, colour: str) -> None:
    for x, y in landmark[np.isfinite(landmark).all(axis=1)].tolist():
        canvas.ellipse((x - radius_px, y - radius_px, x + radius_px, y + radius_px), fill=colour)


def _lines(canvas: Any, lines: Sequence[str], at: tuple[int, int, int], style: tuple[Any, str]) -> None:
    """Lines of text on black, one below the other; `at` is the left, the top and the height of a line."""
    (left, top, line_px), (font, colour) = at, style
    for row, text in enumerate(lines):
        y = top + row * line_px
        canvas.rectangle((left, y, left + canvas.textlength(text, font) + 2, y + line_px - 1), fill=_BEHIND)
        canvas.text((left + 1, y), text, fill=colour, font=font)


@lru_cache(maxsize=4)
def _font(size_px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size_px)
