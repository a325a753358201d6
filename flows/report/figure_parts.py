"""What all figures are drawn with: one style, one canvas, and colours that colour-blind readers tell apart."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

# The palette of Okabe and Ito.
BLUE, VERMILLION, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
ORANGE, PURPLE, YELLOW, DARK = "#E69F00", "#CC79A7", "#F0E442", "#333333"
PALE = "#EEEEEE"
CLASS_COLOURS = (SKY, VERMILLION, GREEN, PURPLE, YELLOW, BLUE, ORANGE, DARK)
"""Of the eight expressions, in the order of `EXPR`."""
PROTOCOL_COLOURS = {"papers": BLUE, "honest": ORANGE}

_DPI = 100
_HATCH: dict[str, Any] = {"hatch": "////", "facecolor": "white", "edgecolor": "#AAAAAA", "linewidth": 0.0}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # it comes with matplotlib, so that figures do not depend on the machine's fonts
    "font.size": 10,
    "text.parse_math": False,  # a class may be called `$x$`
    "axes.titlesize": 10.5,
    "axes.edgecolor": "#666666",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "hatch.color": "#AAAAAA",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: its file's, without ending.
        caption: what it shows and how to read it.
        alt: what it says, for who does not see it.
        png: the file's bytes.
        size_px: width and height.
    """

    name: str
    caption: str
    alt: str
    png: bytes
    size_px: tuple[int, int]

    @property
    def data_url(self) -> Markup:
        """The file as an address that a page can hold."""
        return Markup(f"data:image/png;base64,{base64.b64encode(self.png).decode()}")


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the style of all figures, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def canvas(width_px: int, height_px: int) -> Figure:
    """An empty figure that no global state knows of."""
    figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in pixels from the lower left corner; laying out by measuring text would take twice as long."""
    whole_width, whole_height = figure.get_size_inches() * _DPI
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def as_png(figure: Figure) -> tuple[bytes, tuple[int, int]]:
    """A figure as a file that holds neither date nor version, of at most 256 colours so that a page can be mailed."""
    drawn: Any = FigureCanvasAgg(figure)
    drawn.draw()
    image = Image.fromarray(np.asarray(drawn.buffer_rgba())[..., :3].copy())
    file = io.BytesIO()
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue(), image.size


def class_colours(classes: int) -> tuple[str, ...]:
    """A colour for each class: those of the palette, and shades of a colour map where there are more classes."""
    if classes <= len(CLASS_COLOURS):
        return CLASS_COLOURS[:classes]
    shades = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, classes - len(CLASS_COLOURS)))
    return (*CLASS_COLOURS, *map(to_hex, shades))


def plain_text(text: str) -> str:
    """A text whose every letter the figures' font has; others become `?`."""
    return "".join(letter if letter.isprintable() and ord(letter) < 0x250 else "?" for letter in text)


def unknown_patch() -> Patch:
    """The legend's sign of frames that are unknown."""
    return Patch(label="unknown", **(_HATCH | {"linewidth": 0.5}))


def hatched(axes: Axes, left: float, bottom: float, width: float, height: float) -> None:
    """An area of unknown frames, behind whatever is drawn on it."""
    axes.add_patch(Rectangle((left, bottom), width, height, zorder=0, **_HATCH))


def shades(shares: NDArray[np.float64], colour: str) -> NDArray[np.float64]:
    """Shares from 0 to 1 as colours from pale to full, `(…, 4)`; NaN is see-through."""
    finite = np.isfinite(shares)
    share = np.where(finite, shares, 0.0)[..., None]
    mixed = (1 - share) * np.array(to_rgb(PALE)) + share * np.array(to_rgb(colour))
    return np.concatenate([mixed, finite[..., None].astype(np.float64)], axis=-1)
