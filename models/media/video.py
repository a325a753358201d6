"""What a video really holds, found by decoding all of it, and its frames upright with square pixels."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_video, opened, sentence
from affstore.models.media.instants import UNKNOWN, Instants, repair_stamps
from affstore.models.media.sound import SoundFacts, sound_facts
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.printable import counted

_LARGEST_SIDE_PX = 16_384
_LONGEST_JUMP_S = 1
_LONGEST_STEP_IN_MEDIANS = 5
_LENGTH_FROM_ZERO = frozenset({"matroska", "webm", "flv"})
"""Formats whose length runs from 0 to the end, wherever the first frame is."""

_SWSCALE = Interpolation.BILINEAR | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class DecodeSpec:
    """What decides a video's pixels and instants besides its bytes: part of every key. Nothing in it can be chosen.

    Attributes:
        version: raised whenever the same bytes would give other pixels, instants or facts, those of the sound included.
        stream: which video stream is taken when there are several.
        instants: where the clock comes from.
        upright: the container's display matrix is applied.
        pixels: non-square pixels are stretched along their short side, so that no detail is lost. A video whose
            pictures change their size is shown at the greatest width and the greatest height of all; each picture is
            enlarged as far as it fits, its shape kept, and is in the middle of black.
        colour: how decoded pixels become RGB; an undeclared matrix is taken as BT.601, as swscale and OpenCV do.
    """

    KIND: ClassVar[str] = "decode"

    version: int = field(default=3, init=False)  # 3: clocks with pauses stay as they are
    stream: str = field(default="largest picture, then most frames", init=False)
    instants: str = field(default="pts of decoded frames, leaps of up to 8 frames repaired", init=False)
    upright: bool = field(default=True, init=False)
    pixels: str = field(default="square, enlarged only, fitted into the largest", init=False)
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
        rotation_deg: counterclockwise turn from the coded to the displayed picture, -90 to 180; already applied, and
            so is a mirroring left to right that may follow it.
        sample_aspect: width of a coded pixel divided by its height; already applied.
        codec: of the video stream.
        declared_frames: what the container claims; None where it claims nothing.
        complaint: what is wrong with the pictures and with the sound, in a sentence each; None when all of it decoded
            as declared.
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
        reel = _Reel(Decoding(container, stream, looked_at=False), stream)
        for _ in reel:
            pass
        if reel.first is None:
            raise MediaError(_nothing_decodes(path.name, stream.frames))
        instants = reel.instants()
        clock = reel.clock(instants)
        fit = _Fit.of(reel, _sample_aspect(stream), path.name)
        faults = [_complaint(reel, instants, fit, container), _sound_complaint(container, sound)]
        return VideoFacts(
            clock,
            fit.width,
            fit.height,
            reel.orientation.turn_deg,
            fit.aspect,
            stream.codec_context.name,
            stream.frames or None,
            " ".join(fault for fault in faults if fault) or None,
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
        for index, decoded in enumerate(reel):
            if index < len(facts.clock):
                yield _Fit(facts.width, facts.height, facts.sample_aspect, reel.orientation).display_pixels(
                    decoded, reformatter
                )
        if not np.array_equal(reel.instants().pts, facts.clock.pts):
            raise MediaError(f"'{path.name}' has changed since it was examined. Add it again.")


def picture_of(decoded: VideoFrame, width: int, height: int, sample_aspect: Fraction) -> NDArray[np.uint8]:
    """One decoded frame as `frames` gives it: RGB `(height, width, 3)`, upright, square pixels.

    Args:
        decoded: the frame.
        width: see `VideoFacts`.
        height: see `VideoFacts`.
        sample_aspect: see `VideoFacts`.
    """
    return _Fit(width, height, sample_aspect, _Orientation.of(decoded)).display_pixels(decoded, VideoReformatter())


class _Reel:
    """Decoded frames in the order they play; after iterating, when each of them does.

    Attributes:
        first: the first frame; None before it is decoded.
        sizes: how many undamaged frames have each coded size.
        decoding: what the frames come from.
    """

    def __init__(self, decoding: Decoding, stream: VideoStream) -> None:
        self.decoding = decoding
        self.first: VideoFrame | None = None
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._time_base = as_fraction(stream.time_base or Fraction(1, 90_000))
        rate = as_fraction(stream.average_rate or stream.guessed_rate or Fraction(25))
        self._step = max(1, round(1 / rate / self._time_base))
        self._stamps, self._durations = array("q"), array("q")

    def __iter__(self) -> Iterator[VideoFrame]:
        for frame in self.decoding:
            self.first = self.first or frame
            self._stamps.append(UNKNOWN if frame.pts is None else frame.pts)
            self._durations.append(frame.duration or 0)
            if not frame.is_corrupt or frame is self.first:
                self.sizes[frame.width, frame.height] += 1
            yield frame

    @property
    def orientation(self) -> _Orientation:
        """How the first frame says that it is turned."""
        return _Orientation.of(self.first)

    @property
    def reordered(self) -> bool:
        """Whether frames play in another order than they are stored, in a format that does not say when they play."""
        return not self.decoding.ordered and bool(np.any(np.diff(self._stamps) < 0))

    def instants(self) -> Instants:
        """When the frames play that were decoded so far."""
        stamps = np.array(self._stamps, np.int64)
        if not self.decoding.ordered:
            stamps[stamps != UNKNOWN] = np.sort(stamps[stamps != UNKNOWN])
        return repair_stamps(stamps, self._step, max(round(_LONGEST_JUMP_S / self._time_base), 2 * self._step))

    def lost_s(self, instants: Instants) -> float:
        """How long the stream has run before its first picture, in s: a key frame has to come first."""
        first = self.decoding.first_pts
        lost = 0 if first is None else int(instants.pts[0]) - first
        return float(lost * self._time_base) if 2 * lost > 3 * self._step and not instants.repaired else 0.0

    def longest_pause(self, instants: Instants) -> tuple[float, float] | None:
        """When the longest step to the next frame begins and how long it is, in s; None where it is no pause."""
        steps = np.diff(instants.pts)
        if not len(steps):
            return None
        at = int(np.argmax(steps))
        length_s = float(steps[at] * self._time_base)
        if length_s <= _LONGEST_JUMP_S or steps[at] <= _LONGEST_STEP_IN_MEDIANS * np.median(steps):
            return None
        return float(int(instants.pts[at]) * self._time_base), length_s

    def clock(self, instants: Instants) -> FrameClock:
        """The last frame ends after its own duration or, without one, after the median step."""
        pts = instants.pts
        step = round(float(np.median(np.diff(pts)))) if len(pts) > 1 else self._step
        return FrameClock(pts, self._time_base, int(pts[-1]) + max(1, self._durations[len(pts) - 1] or step))


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

    @property
    def turn_deg(self) -> int:
        """The counterclockwise turn, from -90 to 180, after which a mirrored picture is mirrored left to right."""
        if self.transposed:
            return 90 if self.flipped_y else -90
        return 180 if self.flipped_y else 0

    def of_coded(self, width: int, height: int) -> tuple[int, int]:
        """The displayed size before turning, and the other way round."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, picture: NDArray[Any]) -> NDArray[np.uint8]:
        """`(height, width, 3)` pixels as they are shown."""
        pixels = picture.view("V3")[..., 0]  # three bytes move as one, which is twice as fast
        turned = pixels.T if self.transposed else pixels
        placed = turned[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]
        return np.ascontiguousarray(placed).view(np.uint8).reshape(*placed.shape, 3)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How coded pictures come onto the one size at which a video is shown.

    Attributes:
        width: of what is shown, in px.
        height: of what is shown, in px.
        aspect: width of a coded pixel divided by its height.
        orientation: how coded pictures are turned.
    """

    width: int
    height: int
    aspect: Fraction
    orientation: _Orientation

    @classmethod
    def of(cls, reel: _Reel, aspect: Fraction, name: str) -> _Fit:
        """As wide and as high as the widest and the highest of a video's pictures.

        Raises:
            MediaError: that is more than a picture may have.
        """
        sizes = [_square(size, aspect) for size in reel.sizes]
        width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
        if max(width, height) > _LARGEST_SIDE_PX:
            raise MediaError(
                f"'{name}' would be shown at {width}x{height} px, with pixels of {aspect}; a side may have "
                f"{_LARGEST_SIDE_PX} px. Correct the aspect ratio in its header."
            )
        return cls(*reel.orientation.of_coded(width, height), aspect, reel.orientation)

    def resized(self, sizes: Counter[tuple[int, int]]) -> int:
        """How many frames are smaller than what is shown."""
        whole = self.orientation.of_coded(self.width, self.height)
        return sum(count for size, count in sizes.items() if _square(size, self.aspect) != whole)

    def display_pixels(self, frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        """A frame's pixels as they are shown, `(height, width, 3)`."""
        width, height = _square((frame.width, frame.height), self.aspect)
        whole_width, whole_height = self.orientation.of_coded(self.width, self.height)
        scale = min(Fraction(whole_width, width), Fraction(whole_height, height))
        picture = reformatter.reformat(
            frame, max(1, round(width * scale)), max(1, round(height * scale)), "rgb24", interpolation=_SWSCALE,
            threads=1,
        )  # fmt: skip
        pixels = self.orientation.upright(picture.to_ndarray())
        if pixels.shape[:2] == (self.height, self.width):
            return pixels
        whole = np.zeros((self.height, self.width, 3), np.uint8)
        top, left = (self.height - pixels.shape[0]) // 2, (self.width - pixels.shape[1]) // 2
        whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return whole


def _square(size: tuple[int, int], aspect: Fraction) -> tuple[int, int]:
    """A coded picture's width and height in px once its pixels are square, before it is turned."""
    width, height = size
    return round(width * max(aspect, Fraction(1))), round(height / min(aspect, Fraction(1)))


def _sample_aspect(stream: VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return as_fraction(aspect) if aspect and as_fraction(aspect) > 0 else Fraction(1)


def _complaint(reel: _Reel, instants: Instants, fit: _Fit, container: InputContainer) -> str | None:
    decoding, faults = reel.decoding, _missing_pictures(reel, instants, container)
    if decoding.failed:
        faults.append(f"packets of pictures that cannot be decoded are missing: {decoding.failed}")
    if instants.repaired:
        odd = counted(instants.repaired, "timestamp was", "timestamps were")
        faults.append(f"{odd} missing, repeated or out of order, and repaired")
    if reel.reordered:
        faults.append("the format keeps no presentation times, so frames play at the times of its packets in order")
    if decoding.damaged:
        faults.append(f"{counted(decoding.damaged, 'frame is', 'frames are')} damaged")
    if resized := fit.resized(reel.sizes):
        smaller = counted(resized, "frame is", "frames are")
        faults.append(f"{smaller} smaller than {fit.width}x{fit.height} px, and fitted into it")
    return sentence(faults)


def _missing_pictures(reel: _Reel, instants: Instants, container: InputContainer) -> list[str]:
    """Where a video has no pictures, or none for long."""
    found, decoding = len(instants.pts), reel.decoding
    declared = best_video(container, "").frames
    stopped = "its clock jumps back, as in films glued together" if instants.cut else decoding.stopped
    ends_s, claimed_s = reel.clock(instants).end_s, _claimed_end_s(container)
    faults = []
    if stopped:
        claim = f" of {declared} declared" if declared else ""
        faults.append(f"decoding stopped after {found}{claim} frames ({stopped})")
    elif found + decoding.discarded < declared:
        faults.append(f"{counted(found, 'frame decodes', 'frames decode')} although {declared} are declared")
    elif not declared and claimed_s - ends_s > 1:
        faults.append(f"the pictures end at {ends_s:.2f} s although the file claims {claimed_s:.2f} s")
    if lost_s := reel.lost_s(instants):
        faults.append(f"the first {lost_s:.2f} s have no picture, as the video does not begin with a key frame")
    if pause := reel.longest_pause(instants):
        faults.append(f"no new picture comes for {pause[1]:.2f} s from {pause[0]:.2f} s on")
    return faults


def _claimed_end_s(container: InputContainer) -> float:
    """When a file claims to end, on the clock of its streams; 0 where it does not say."""
    if not container.duration:
        return 0.0
    begins = 0 if set(container.format.name.split(",")) & _LENGTH_FROM_ZERO else container.start_time or 0
    return (begins + container.duration) / 1e6


def _sound_complaint(container: InputContainer, sound: SoundFacts | None) -> str | None:
    if sound is not None:
        return sound.complaint
    return "The file has sound, but nothing of it can be decoded." if container.streams.audio else None


def _nothing_decodes(name: str, declared: int) -> str:
    claim = f"declares {declared} frames" if declared else "has a video stream"
    return f"'{name}' {claim}, but not one frame can be decoded. Copy it again from its source."
