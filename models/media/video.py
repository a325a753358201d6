"""What a video really holds, found by decoding all of it, and its frames upright with square pixels."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_video, opened, sentence
from affstore.models.media.sound import SoundFacts, sound_facts
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError

_LARGEST_SIDE_PX = 16_384
_LONGEST_JUMP_BACK_S = 1
_SWSCALE = Interpolation.BILINEAR | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class DecodeSpec:
    """What decides a video's pixels and instants besides its bytes: part of every key. Nothing in it can be chosen.

    Attributes:
        version: raised whenever the same bytes would give other pixels or instants.
        stream: which video stream is taken when there are several.
        instants: where the clock comes from.
        upright: the container's display matrix is applied.
        pixels: non-square pixels are stretched along their short side, so that no detail is lost.
        colour: how decoded pixels become RGB; an undeclared matrix is taken as BT.601, as swscale and OpenCV do.
    """

    KIND: ClassVar[str] = "decode"

    version: int = field(default=1, init=False)
    stream: str = field(default="largest picture, then most frames", init=False)
    instants: str = field(default="pts of decoded frames", init=False)
    upright: bool = field(default=True, init=False)
    pixels: str = field(default="square, enlarged only", init=False)
    colour: str = field(default="rgb24 by swscale, bilinear, declared matrix or bt601", init=False)


DECODE = DecodeSpec()
"""The one way videos are decoded."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a full decode of a video found.

    Attributes:
        clock: when each decoded frame begins to play.
        width: of the displayed picture, in px.
        height: of the displayed picture, in px.
        rotation_deg: counterclockwise turn from the coded to the displayed picture; already applied.
        sample_aspect: width of a coded pixel divided by its height; already applied.
        codec: of the video stream.
        declared_frames: what the container claims; None where it claims nothing.
        complaint: one sentence on what is wrong with the video; None when all of it decoded as declared.
        sound: of the best audio stream; None without one.
    """

    clock: FrameClock
    width: int
    height: int
    rotation_deg: int
    sample_aspect: Fraction
    codec: str
    declared_frames: int | None
    complaint: str | None
    sound: SoundFacts | None


def probe(path: Path) -> VideoFacts:
    """Decode a video from end to end and say what it holds; memory does not grow with its pictures.

    Raises:
        MediaError: it is no video, or not one frame of it decodes.
    """
    sound = sound_facts(path)
    with opened(path) as container:
        stream = best_video(container, path.name)
        reel = _Reel(Decoding(container, stream), stream)
        instants = array("q", (pts for pts, _ in reel))
        if reel.first is None:
            raise MediaError(_nothing_decodes(path.name, stream.frames))
        clock = _clock(np.array(instants, np.int64), reel)
        aspect = _sample_aspect(stream)
        width, height = _displayed(reel.first, aspect, path.name)
        said_s = (container.duration or 0) / 1e6
        return VideoFacts(
            clock,
            width,
            height,
            int(reel.first.rotation),
            aspect,
            stream.codec_context.name,
            stream.frames or None,
            _complaint(reel, clock, stream.frames, said_s),
            sound,
        )


def frames(path: Path, facts: VideoFacts) -> Iterator[NDArray[np.uint8]]:
    """Each frame of a video, in the order of `facts.clock`: RGB `(height, width, 3)`, upright, square pixels.

    Args:
        path: the video.
        facts: what `probe` said of it.

    Raises:
        MediaError: the file does not decode to the same instants any more.
    """
    reformatter = VideoReformatter()
    with opened(path) as container:
        stream = best_video(container, path.name)
        reel = _Reel(Decoding(container, stream), stream)
        for decoded, pts in zip_longest(reel, facts.clock.pts.tolist()):
            if decoded is None or decoded[0] != pts:
                raise MediaError(f"'{path.name}' has changed since it was examined. Add it again.")
            orientation = _Orientation.of(reel.first)
            width, height = orientation.of_coded(facts.width, facts.height)
            picture = reformatter.reformat(decoded[1], width, height, "rgb24", interpolation=_SWSCALE, threads=1)
            yield orientation.upright(picture.to_ndarray())


class _Reel:
    """Decoded frames with instants that increase strictly.

    A missing PTS is the one before plus a step; one that does not increase becomes the one before plus one unit, so
    that a single duplicate moves no other frame. A long jump back (films glued together) ends the video.

    Attributes:
        first: the first frame; None before it is decoded.
        resized: frames whose coded size is not that of the first.
        repaired: instants that had to be changed.
        decoding: what the frames come from.
    """

    def __init__(self, decoding: Decoding, stream: VideoStream) -> None:
        self.decoding = decoding
        self.first: VideoFrame | None = None
        self.resized = self.repaired = 0
        self.time_base = as_fraction(stream.time_base or Fraction(1, 90_000))
        rate = as_fraction(stream.average_rate or stream.guessed_rate or Fraction(25))
        self.step = max(1, round(1 / rate / self.time_base))
        self.last_duration = 0

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        previous: int | None = None
        for frame in self.decoding:
            back = 0 if previous is None or frame.pts is None else previous - frame.pts
            if back * self.time_base > _LONGEST_JUMP_BACK_S:
                self.decoding.stopped = "its clock jumps back, as in films glued together"
                return
            self.first = self.first or frame
            self.resized += (frame.width, frame.height) != (self.first.width, self.first.height)
            previous = self._instant(frame.pts, previous)
            self.last_duration = frame.duration or 0
            yield previous, frame

    def _instant(self, pts: int | None, previous: int | None) -> int:
        if pts is not None and (previous is None or pts > previous):
            return pts
        self.repaired += 1
        return 0 if previous is None else previous + (self.step if pts is None else 1)


@dataclass(frozen=True, slots=True)
class _Orientation:
    """How a coded picture is turned and mirrored to be shown: the signs of its display matrix."""

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame | None) -> _Orientation:
        """As a frame says of itself; upright where it says nothing."""
        matrix: Any = frame.side_data.get("DISPLAYMATRIX") if frame is not None else None
        if matrix is None:
            return cls()
        # x' = a·x + c·y, y' = b·x + d·y in 16.16 fixed point; turns that are not quarters go to the nearest one.
        a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
        return cls(True, c < 0, b < 0) if abs(b) > abs(a) else cls(False, a < 0, d < 0)

    def of_coded(self, width: int, height: int) -> tuple[int, int]:
        """The displayed size before turning, and the other way round."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, picture: NDArray[Any]) -> NDArray[np.uint8]:
        """`(height, width, 3)` pixels as they are shown."""
        pixels = picture.view("V3")[..., 0]  # three bytes move as one, which is twice as fast
        turned = pixels.T if self.transposed else pixels
        placed = turned[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]
        return np.ascontiguousarray(placed).view(np.uint8).reshape(*placed.shape, 3)


def _displayed(first: VideoFrame, aspect: Fraction, name: str) -> tuple[int, int]:
    """Width and height in px of the picture as it is shown."""
    width = round(first.width * max(aspect, Fraction(1)))
    height = round(first.height / min(aspect, Fraction(1)))
    if max(width, height) > _LARGEST_SIDE_PX:
        raise MediaError(
            f"'{name}' would be shown at {width}x{height} px, with pixels of {aspect}; a side may have "
            f"{_LARGEST_SIDE_PX} px. Correct the aspect ratio in its header."
        )
    return _Orientation.of(first).of_coded(width, height)


def _sample_aspect(stream: VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return as_fraction(aspect) if aspect and as_fraction(aspect) > 0 else Fraction(1)


def _clock(instants: NDArray[np.int64], reel: _Reel) -> FrameClock:
    """The last frame ends after its own duration or, without one, after the median step."""
    step = round(float(np.median(np.diff(instants)))) if len(instants) > 1 else reel.step
    return FrameClock(instants, reel.time_base, int(instants[-1]) + max(1, reel.last_duration or step))


def _complaint(reel: _Reel, clock: FrameClock, declared: int, said_s: float) -> str | None:
    found, decoding = len(clock), reel.decoding
    ends_s = float(clock.end_pts * clock.time_base)
    faults = []
    if decoding.stopped:
        claim = f" of {declared} declared" if declared else ""
        faults.append(f"decoding stopped after {found}{claim} frames ({decoding.stopped})")
    elif found + decoding.discarded < declared:
        faults.append(f"{found} frames decode although {declared} are declared")
    elif not declared and said_s - ends_s > 1:
        faults.append(f"the pictures end at {ends_s:.2f} s although the file claims {said_s:.2f} s")
    if reel.repaired:
        faults.append(f"{reel.repaired} timestamps were missing, repeated or out of order and were repaired")
    if decoding.damaged:
        faults.append(f"{decoding.damaged} frames are damaged")
    if reel.resized:
        faults.append(f"{reel.resized} frames have another size than the first and are scaled to it")
    return sentence(faults)


def _nothing_decodes(name: str, declared: int) -> str:
    claim = f"declares {declared} frames" if declared else "has a video stream"
    return f"'{name}' {claim}, but not one frame can be decoded. Copy it again from its source."
