"""One picture file as the pixels a face network may see: RGB and upright, whatever the file holds."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

_MOST_PX = 1 << 25
_ORIENTATION = 0x0112
_FORMATS = ("JPEG", "PNG")

_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises where bytes are not the picture they claim to be."""


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """What decides a picture file's pixels besides its bytes: part of every key. Nothing in it can be chosen.

    Attributes:
        version: raised whenever the same bytes would give other pixels.
        colour: how pixels become RGB; as EmotiEffLib opens its files, but of 16 bits a grey value the upper 8 are
            taken, which Pillow would clip to white.
        upright: the turn that EXIF asks for is applied.
    """

    KIND: ClassVar[str] = "pictures"

    version: int = field(default=1, init=False)
    colour: str = field(default="rgb by pillow, alpha dropped, upper 8 of 16 bits", init=False)
    upright: bool = field(default=True, init=False)


PICTURES = PictureSpec()
"""The one way picture files are decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture.

    Attributes:
        rgb: `(height, width, 3)` uint8.
        turned: whether EXIF asked for a turn or a mirroring, which was applied.
    """

    rgb: NDArray[np.uint8]
    turned: bool


def decode(content: bytes) -> Decoded:
    """Decode a JPEG or PNG file's bytes.

    Raises:
        MediaError: they are no whole picture; the message is the reason alone.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise MediaError("it is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > _MOST_PX:
                raise MediaError(f"{picture.width}x{picture.height} px are too many for a face")
            plain = _plain_jpeg(content, picture)
            if plain is not None:
                return Decoded(plain, turned=False)
            picture.load()
            turn = _turn(picture)
            upright = picture if turn is None else picture.transpose(turn)
            return Decoded(np.asarray(_rgb(upright), np.uint8), turn is not None)
    except UnidentifiedImageError as error:
        raise MediaError("it is no JPEG or PNG picture") from error
    except Image.DecompressionBombError as error:
        raise MediaError("it has too many pixels for a face") from error
    except _BROKEN as error:
        raise MediaError(" ".join(str(error).split()) or "it is damaged") from error


def _plain_jpeg(content: bytes, picture: Image.Image) -> NDArray[np.uint8] | None:
    """The pixels of an upright, undamaged colour JPEG; None of anything else.

    They are Pillow's, in half the time. Both rest on libjpeg-turbo, here in its strict reading: at the least doubt
    Pillow decides, and gives the reason.
    """
    import simplejpeg

    if picture.format != "JPEG" or picture.mode != "RGB" or _turn(picture) is not None:
        return None
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, "RGB", strict=True), np.uint8)
    except ValueError:
        return None


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright, by its EXIF; None where nothing does, or where its EXIF is damaged."""
    from PIL.Image import Transpose

    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except _BROKEN:
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def _rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image

    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
