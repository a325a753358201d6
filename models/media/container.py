"""Opening a media file, choosing its best streams, and decoding one of them to the end whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import InputContainer
from av.rational import AVRational
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from affstore.store.contract.errors import MediaError

_TEXT_FORMATS = frozenset({"tty", "hls", "dash", "concat", "sdp", "rtsp", "webvtt", "srt", "ass"})
"""What FFmpeg also opens as if it were media: terminal text, and lists that point at other files."""

_NOT_A_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

_NOT_WHAT_WAS_FILMED = (
    Disposition.comment | Disposition.dub | Disposition.lyrics | Disposition.karaoke | Disposition.hearing_impaired
    | Disposition.visual_impaired | Disposition.clean_effects | Disposition.non_diegetic | Disposition.descriptions
    | Disposition.dependent
)  # fmt: skip
"""Tracks of sound that were made afterwards, or hold a part of it."""

_NO_PRESENTATION_TIMES = frozenset({"avi"})
"""Formats whose packets have a place in the file's order, but no instant at which they are shown."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a local media file for reading.

    Raises:
        MediaError: it is not a file, is empty, is a text or a still picture, or FFmpeg cannot read it.
    """
    if not path.is_file():
        raise MediaError(f"'{path}' is not a file. Give the path of a video or sound file.")
    if not path.stat().st_size:
        raise MediaError(f"'{path.name}' is empty: it has 0 bytes. Copy it again from its source.")
    try:
        # `file:` keeps a name such as `concat:a` from being read as a protocol; nothing but files is followed.
        with av.open(f"file:{path.resolve()}", options={"protocol_whitelist": "file"}) as it:
            _refuse_what_is_not_media(it, path.name)
            yield it
    except (av.FFmpegError, UnicodeError) as error:
        raise MediaError(f"'{path.name}' cannot be read: {reason(error)}. Copy it again from its source.") from error


def best_video(container: InputContainer, name: str) -> VideoStream:
    """The video stream with the largest picture, then the most frames, then the lowest index; never a cover picture.

    Raises:
        MediaError: there is none that can be decoded.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & _NOT_A_VIDEO]
    decodable = [stream for stream in films if _has_decoder(stream)]
    if decodable:
        return max(decodable, key=_picture_rank)
    if films:
        raise MediaError(f"'{name}' has a video stream that this FFmpeg has no decoder for. Convert it to H.264 first.")
    if container.streams.video:
        raise MediaError(f"'{name}' has a cover picture or a still picture, but no video. Give a video file.")
    found = "has sound but no video" if container.streams.audio else "has neither video nor sound"
    raise MediaError(f"'{name}' {found}. Give a video file.")


def best_sound(container: InputContainer) -> AudioStream | None:
    """The audio stream that goes with the pictures as they were filmed; None without any.

    That is one not marked as a commentary, a dub or made for other listeners, if there is one; then the default one;
    then the one with the most samples a second over all channels; then the lowest index.
    """
    decodable = [stream for stream in container.streams.audio if _has_decoder(stream)]
    return max(decodable, key=_sound_rank, default=None)


def reason(error: Exception) -> str:
    """Why FFmpeg gave up, in its own words."""
    return str(getattr(error, "strerror", None) or error)


def sentence(faults: list[str]) -> str | None:
    """Several faults as one sentence; None without any."""
    joined = "; ".join(faults)
    return f"{joined[0].upper()}{joined[1:]}." if faults else None


class Decoding:
    """The frames of one stream in the order they play; after iterating, what went wrong on the way.

    One thread decodes. With more, how much of a damaged stream survives, and which frames of an open beginning are
    given, depends on their number and on chance. A packet that fails costs its own frame and no other.

    A format without presentation times gives its frames the time of the packet that they were coded in, which is in
    another order where the coder looked ahead; `ordered` says whether the frames' times are those at which they play.

    Attributes:
        ordered: whether the format keeps presentation times.
        stopped: why decoding ended before the stream did; None when it reached its end.
        failed: packets that could not be decoded.
        discarded: packets that the container marks as not to be shown (edit lists).
        damaged: frames the decoder itself calls corrupt.
        first_pts: the earliest time of a packet that is to be shown; None where packets have no times.
    """

    def __init__(self, container: InputContainer, stream: VideoStream | AudioStream, looked_at: bool = True) -> None:
        """Prepare to decode `stream`.

        Args:
            container: the file.
            stream: of it.
            looked_at: whether pixels matter. Else pictures are not smoothed, which is up to a third of the work; there
                are as many of them, at the same times.
        """
        self._container, self._stream = container, stream
        self.stopped: str | None = None
        self.failed = self.discarded = self.damaged = 0
        self.first_pts: int | None = None
        formats = set(container.format.name.split(","))
        self.ordered = stream.type != "video" or not formats & _NO_PRESENTATION_TIMES
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = ThreadType.NONE
        if not looked_at:
            stream.codec_context.options = {"skip_loop_filter": "all"}

    def __iter__(self) -> Iterator[Any]:
        for packet in self._packets():
            self.discarded += packet.is_discard
            if not self.ordered:
                packet.pts = packet.dts
            if packet.pts is not None and not packet.is_discard:
                self.first_pts = packet.pts if self.first_pts is None else min(self.first_pts, packet.pts)
            for frame in self._frames_of(packet):
                self.damaged += frame.is_corrupt
                yield frame

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError as error:
            self.stopped = reason(error)
            last = av.Packet()  # an empty one makes the decoder give the frames that it still has
            last.stream = self._stream
            yield last

    def _frames_of(self, packet: Any) -> list[Any]:
        if not packet.size and packet.dts is not None:
            return []  # the place of a frame that was dropped when it was filmed
        try:
            try:
                return list(packet.decode())
            except (av.BlockingIOError, av.EOFError):
                # An error before has left the decoder with a packet that it never takes, or at its end.
                self._stream.codec_context.flush_buffers()
                return list(packet.decode())
        except (av.FFmpegError, ValueError):  # PyAV's error for a decoder that cannot be opened is a ValueError
            self.failed += 1
            return []


def _refuse_what_is_not_media(container: InputContainer, name: str) -> None:
    formats = set(container.format.name.split(","))
    if formats & _TEXT_FORMATS:
        raise MediaError(f"'{name}' is a text or a list of files, not a video. Give the video file itself.")
    if any(kind == "image2" or kind.endswith("_pipe") for kind in formats):
        raise MediaError(f"'{name}' is a still picture, not a video. Give a video file.")


def as_fraction(rational: AVRational | Fraction) -> Fraction:
    """FFmpeg's rational number as one that can be calculated with; an undefined one (`n/0`) is 0."""
    return Fraction(rational.numerator, rational.denominator) if rational.denominator else Fraction(0)


def _has_decoder(stream: Stream) -> bool:
    return stream.codec_context is not None


def _sound_rank(stream: AudioStream) -> tuple[bool, bool, int]:
    marks = stream.disposition
    samples = (stream.rate or 0) * stream.channels
    return not marks & _NOT_WHAT_WAS_FILMED, bool(marks & Disposition.default), samples


def _picture_rank(stream: VideoStream) -> tuple[int, float]:
    length_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    frames = stream.frames or length_s * float(stream.average_rate or 0)
    return stream.width * stream.height, frames
