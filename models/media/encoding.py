"""Writing decoded pictures as a video again, at the instants that they had, with the sound of the file they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags as CodecFlags
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_sound, opened, reason
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError

_ENCODERS: dict[str, dict[str, str]] = {
    "libopenh264": {},
    "libx264": {"crf": "20", "preset": "veryfast", "mbtree": "0"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qmin": "2", "qmax": "5"},
}
"""Encoders by preference, with their options: H.264 plays everywhere, FFmpeg always has the last one."""

_FINEST = {"mpeg4": 65_535}
"""The most ticks a second that an encoder can count."""

_COPIED = frozenset({"aac", "mp3", "mp3float", "opus", "libopus", "ac3", "eac3", "flac", "alac"})
"""Sound that an .mp4 can hold as it is; other sound is encoded as AAC."""


@cache
def encoder() -> str:
    """The encoder of pictures that this machine's FFmpeg has.

    Raises:
        MediaError: it has none.
    """
    found = next((name for name in _ENCODERS if _opens(name)), None)
    if found is None:
        raise MediaError(f"This FFmpeg encodes no video: it has none of {', '.join(_ENCODERS)}. Install PyAV's wheel.")
    return found


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], clock: FrameClock, sound_of: Path | None) -> None:
    """Write an `.mp4`; pictures are encoded as they come, and none is kept.

    Args:
        path: of the new file.
        pictures: `(height, width, 3)` RGB, one a frame of the clock; an odd side gets another row or column.
        clock: when each of them plays, which is kept to the tick.
        sound_of: the file whose best sound goes with them, as it is where an .mp4 can hold it; None for silence.

    Raises:
        MediaError: it cannot be encoded, or the sound cannot be read.
    """
    try:
        with ExitStack() as stack:
            options = {"fflags": "+bitexact", "movflags": "+faststart"}
            out = stack.enter_context(av.open(str(path), "w", format="mp4", options=options))
            source = stack.enter_context(opened(sound_of)) if sound_of else None
            shown = iter(pictures)
            first = next(shown, None)
            if first is None:
                raise MediaError(f"There is no picture for '{path.name}'.")
            video = _stream(out, first, clock)
            sound = _Sound(out, source)  # both streams are known before the first packet is written
            for packet in _encoded(video, first, shown, clock):
                sound.write_until(None if packet.dts is None else packet.dts * as_fraction(packet.time_base))
                out.mux(packet)
            sound.write_until(None)
    except av.FFmpegError as error:
        raise MediaError(f"'{path.name}' cannot be encoded by {encoder()}: {reason(error)}.") from error


def _opens(name: str) -> bool:
    try:
        context = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"  # type: ignore[attr-defined]
        context.time_base = Fraction(1, 25)
        context.open()
    except (av.FFmpegError, ValueError):  # PyAV's error for a codec that is not there is a ValueError
        return False
    return True


def _stream(out: OutputContainer, first: NDArray[np.uint8], clock: FrameClock) -> VideoStream:
    name = encoder()
    rate = Fraction(clock.rate_hz).limit_denominator(1000)
    stream = cast(VideoStream, out.add_stream(name, rate=rate, options=dict(_ENCODERS[name])))
    height, width = first.shape[:2]
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    finest = _FINEST.get(name, clock.time_base.denominator)
    base = clock.time_base if clock.time_base.denominator <= finest else Fraction(1, finest)
    stream.codec_context.time_base = base
    stream.codec_context.flags |= CodecFlags.bitexact
    return stream


def _encoded(
    stream: VideoStream, first: NDArray[np.uint8], rest: Iterator[NDArray[np.uint8]], clock: FrameClock
) -> Iterator[Any]:
    """The packets of all pictures."""
    base = as_fraction(stream.codec_context.time_base or clock.time_base)
    # Strict, as asking for one more picture lets the decoder say whether the file is still what it was.
    for pixels, pts in zip(chain([first], rest), clock.pts, strict=True):
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, "rgb24")
        frame.pts, frame.time_base = round(int(pts) * clock.time_base / base), base
        yield from stream.encode(frame)
    yield from stream.encode(None)


class _Sound:
    """The sound of a file, written into another beside its pictures."""

    def __init__(self, out: OutputContainer, source: Any) -> None:
        self._out = out
        stream = best_sound(source) if source is not None else None
        self._packets: Iterator[Any] = iter(())
        self._held: Any = None
        if stream is None:
            return
        if stream.codec_context.name in _COPIED:
            target = out.add_stream_from_template(stream)
            self._packets = _copied(source, stream, target)
        else:
            rate = min(stream.rate or 48_000, 96_000)
            aac = out.add_stream("aac", rate=rate, layout="stereo" if stream.channels > 1 else "mono")
            aac.codec_context.flags |= CodecFlags.bitexact
            self._packets = _as_aac(source, stream, aac)

    def write_until(self, instant_s: Fraction | None) -> None:
        """Write what must reach a player before an instant; all that is left without one."""
        while True:
            self._held = self._held or next(self._packets, None)
            if self._held is None:
                return
            if instant_s is not None and self._held.dts * as_fraction(self._held.time_base) > instant_s:
                return
            self._out.mux(self._held)
            self._held = None


def _copied(source: Any, stream: AudioStream, target: Any) -> Iterator[Any]:
    for packet in source.demux(stream):
        if packet.dts is not None and packet.size:
            packet.stream = target
            yield packet


def _as_aac(source: Any, stream: AudioStream, target: AudioStream) -> Iterator[Any]:
    resampler = av.AudioResampler("fltp", target.layout.name, target.rate)
    for frame in Decoding(source, stream):
        for part in resampler.resample(frame):
            yield from target.encode(part)
    for part in resampler.resample(None):
        yield from target.encode(part)
    yield from target.encode(None)
