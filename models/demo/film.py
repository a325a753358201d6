"""Writing a video file whose bytes depend on its frames and its sound alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags as CodecFlags
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from affstore.models.media.container import as_fraction
from affstore.store.contract.clock import FrameClock

if TYPE_CHECKING:
    from av.packet import Packet

    type VideoPacket = Packet[VideoStream]
    type SoundPacket = Packet[AudioStream]

# By suffix: video codec, layout of its pixels, its options, sound codec. H.264 goes without mbtree, whose
# choices differ from run to run.
_CODECS = {
    ".mp4": ("libx264", "yuv420p", {"crf": "20", "preset": "veryfast", "mbtree": "0"}, "aac"),
    ".avi": ("mpeg4", "yuv420p", {"qmin": "3", "qmax": "5", "bf": "0"}, "libmp3lame"),
}

# An .mp4 whose index comes first can be read after its tail is cut off. MP3 begins before time 0; an .avi cannot say
# so, and must not move its pictures instead.
_CONTAINERS = {
    ".mp4": {"fflags": "+bitexact", "movflags": "+faststart"},
    ".avi": {"fflags": "+bitexact", "avoid_negative_ts": "disabled"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A sound to lay under a video.

    Attributes:
        wave: `(samples,)` float32, mono.
        rate_hz: sample rate.
        start_s: when the first sample plays.
    """

    wave: NDArray[np.float32]
    rate_hz: int
    start_s: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """A film without sound.

    Attributes:
        frames: `(height, width, 3)` uint8 RGB, one a sample of the clock.
        size_px: width and height, both even.
        clock: when each frame plays.
    """

    frames: Iterable[NDArray[np.uint8]]
    size_px: tuple[int, int]
    clock: FrameClock


def write_film(path: Path, pictures: Pictures, recording: Recording | None) -> None:
    """Encode pictures and sound; one thread, no date, no version.

    Args:
        path: of an `.mp4` (H.264, AAC) or `.avi` (MPEG-4, MP3).
        pictures: what is seen.
        recording: the sound, or None for a silent file.
    """
    with av.open(str(path), "w", options=_CONTAINERS[path.suffix]) as container:
        packets: list[VideoPacket | SoundPacket] = [*_picture(container, path.suffix, pictures)]
        if recording is not None:
            packets += _sound(container, path.suffix, recording)
        for packet in sorted(packets, key=_instant):
            container.mux(packet)


def _picture(container: OutputContainer, suffix: str, pictures: Pictures) -> list[VideoPacket]:
    """The video stream's packets."""
    clock = pictures.clock
    codec, layout, options, _ = _CODECS[suffix]
    rate = Fraction(clock.rate_hz).limit_denominator(1000)
    stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
    stream.width, stream.height = pictures.size_px
    stream.pix_fmt = layout
    stream.codec_context.time_base = clock.time_base
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= CodecFlags.bitexact
    packets: list[VideoPacket] = []
    for pixels, pts in zip(pictures.frames, clock.pts, strict=True):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frame.pts, frame.time_base = int(pts), clock.time_base
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _sound(container: OutputContainer, suffix: str, recording: Recording) -> list[SoundPacket]:
    """The audio stream's packets."""
    stream = cast(AudioStream, container.add_stream(_CODECS[suffix][3], rate=recording.rate_hz, layout="mono"))
    stream.bit_rate = 64_000
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= CodecFlags.bitexact
    frame = av.AudioFrame.from_ndarray(recording.wave[None, :], "fltp", "mono")
    frame.sample_rate, frame.time_base = recording.rate_hz, Fraction(1, recording.rate_hz)
    frame.pts = int(recording.start_s * recording.rate_hz)
    return [*stream.encode(frame), *stream.encode(None)]


def _instant(packet: VideoPacket | SoundPacket) -> Fraction:
    """When a packet must reach the decoder."""
    if packet.dts is None:
        return Fraction(0)
    return packet.dts * as_fraction(packet.time_base)
