"""The sound of a file as mono waveforms on its own clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_sound, opened, sentence
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
_LOUDEST = 1e6
"""Times full scale. Beyond it squares and their sums leave float32: no sound, whatever a file of floats may say."""

_LONGEST_GAP_S = 3600
_UNSAFE_PLANES = 8  # from here on PyAV 18 reads outside the frame; packed samples are one plane


@dataclass(frozen=True, slots=True)
class SoundSpec:
    """What decides a waveform besides the file's bytes and the rate: part of every key. Nothing in it can be chosen.

    Attributes:
        version: raised whenever the same bytes would give other samples.
        stream: which audio stream is taken when there are several.
        channels: how they become one.
        resampler: swresample's filter; 64 taps are flat to 7/8 of the Nyquist rate.
        tolerance_s: by how much timestamps may disagree with the sample count before silence is put in or
            an overlap is cut; containers round timestamps to a millisecond or worse.
    """

    KIND: ClassVar[str] = "sound"

    version: int = field(default=2, init=False)
    stream: str = field(default="most samples a second over all channels", init=False)
    channels: str = field(default="mean", init=False)
    resampler: str = field(default="swresample, 64 taps", init=False)
    tolerance_s: Fraction = field(default=Fraction(1, 50), init=False)


SOUND = SoundSpec()
"""The one way sound is read."""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What the first decoded frame of the best audio stream says.

    Attributes:
        codec: of the stream.
        rate_hz: samples a second.
        channels: how many.
        start_s: when the sound begins, on the clock of the video.
    """

    codec: str
    rate_hz: int
    channels: int
    start_s: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A mono waveform on the clock of the file it came from.

    Attributes:
        samples: `(samples,)`, full scale ±1; float32, or float64 where a network's own resampler gives that.
        rate_hz: samples a second.
        start_s: when the first sample plays; late sound starts late, it is not moved.
        complaint: one sentence on what is wrong with it; None when all of it decoded.
    """

    samples: NDArray[np.floating[Any]]
    rate_hz: int
    start_s: Fraction
    complaint: str | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the end of the last."""
        return len(self.samples) / self.rate_hz


def sound_facts(path: Path) -> SoundFacts | None:
    """What the best audio stream is, from its first decoded frame; None where there is none or nothing decodes.

    Raises:
        MediaError: the file cannot be opened.
    """
    with opened(path) as container:
        stream = best_sound(container)
        if stream is None:
            return None
        if (frame := next(iter(Decoding(container, stream, skip_failed=True)), None)) is None:
            return None
        codec, channels = stream.codec_context.name, frame.layout.nb_channels
        return SoundFacts(codec, frame.sample_rate, channels, _instant_s(frame) or Fraction(0))


def read_sound(path: Path, rate_hz: int) -> Sound | None:
    """The sound of a file at one rate; see `read_sounds`. None where there is none."""
    return read_sounds(path, [rate_hz]).get(rate_hz)


def read_sounds(path: Path, rates_hz: Sequence[int]) -> dict[int, Sound]:
    """The sound of a file as mono waveforms at several rates, from one decode.

    Channels are averaged. The waveform begins at the first timestamp (an encoder's priming is left out where the
    container says so); gaps in the timestamps are silence and overlaps are cut. A packet that cannot be decoded, or
    samples that are no finite numbers or absurdly large, are silence, and the complaint says so.

    Args:
        path: a video or sound file.
        rates_hz: samples a second of each waveform wanted.

    Returns:
        By rate; empty where there is no audio stream or nothing of it decodes.

    Raises:
        MediaError: the file cannot be opened, or its samples are of a kind that cannot be read.
    """
    with opened(path) as container:
        stream = best_sound(container)
        if stream is None:
            return {}
        track = _Track(Decoding(container, stream, skip_failed=True), path.name)
        tapes: dict[int, _Tape] = {}
        for chunk in track:
            tapes = tapes or {rate: _Tape(track.rate_hz, rate) for rate in rates_hz}
            for tape in tapes.values():
                tape.write(chunk)
        complaint = track.complaint
        return {rate: Sound(tape.samples(), rate, track.start_s, complaint) for rate, tape in tapes.items()}


def heard_fraction(sound: Sound | None, frames: FrameClock) -> float:
    """How much of the time a video plays its sound plays too, in [0, 1]; 0 without sound or without frames."""
    if sound is None or not len(frames):
        return 0.0
    start, end = int(frames.pts[0]) * frames.time_base, frames.end_pts * frames.time_base
    sound_end = sound.start_s + Fraction(len(sound.samples), sound.rate_hz)
    heard = min(end, sound_end) - max(start, sound.start_s)
    return float(max(heard, Fraction(0)) / (end - start))


class _Track:
    """Decoded sound as one seamless mono waveform at its own rate, in chunks.

    Attributes:
        rate_hz: of the stream; 0 before its first frame.
        start_s: the first timestamp.
    """

    def __init__(self, decoding: Decoding, name: str) -> None:
        self._decoding, self._name = decoding, name
        self.rate_hz = 0
        self.start_s = Fraction(0)
        self._written = self._cut = self._unreal = 0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for frame in self._decoding:
            if not self.rate_hz:
                self.rate_hz, self.start_s = frame.sample_rate, _instant_s(frame) or Fraction(0)
            late = self._late(frame)
            if frame.sample_rate != self.rate_hz or late > _LONGEST_GAP_S * self.rate_hz:
                self._decoding.stopped = "its sample rate changes or its clock jumps"
                return
            for chunk in self._fit(self._mono(frame), late):
                self._written += len(chunk)
                yield chunk

    @property
    def complaint(self) -> str | None:
        """What was wrong with the sound heard so far, as a sentence; None if nothing."""
        faults = []
        at_s = self._written / self.rate_hz if self.rate_hz else 0.0
        if self._decoding.stopped:
            faults.append(f"the sound stops after {at_s:.2f} s ({self._decoding.stopped})")
        if self._decoding.failed:
            faults.append(f"packets of sound that cannot be decoded are silent: {self._decoding.failed}")
        if self._unreal:
            faults.append(f"samples that are not finite, or absurdly loud, are silent: {self._unreal}")
        if self._cut > self.rate_hz:
            faults.append(f"{self._cut / self.rate_hz:.2f} s of sound overlap other sound and are cut")
        return sentence(faults)

    def _late(self, frame: AudioFrame) -> int:
        """Samples by which a frame begins after the end of what came before; negative where they overlap."""
        instant = _instant_s(frame)
        late = 0 if instant is None else round((instant - self.start_s) * self.rate_hz) - self._written
        return late if abs(late) > SOUND.tolerance_s * self.rate_hz else 0

    def _fit(self, chunk: NDArray[np.float32], late: int) -> Iterator[NDArray[np.float32]]:
        for begin in range(0, late, self.rate_hz):
            yield np.zeros(min(self.rate_hz, late - begin), np.float32)
        self._cut += min(max(0, -late), len(chunk))
        if len(chunk) > max(0, -late):
            yield chunk[max(0, -late) :]

    def _mono(self, frame: AudioFrame) -> NDArray[np.float32]:
        kind, channels = frame.format.name.removesuffix("p"), frame.layout.nb_channels
        if kind not in _FULL_SCALE:
            raise MediaError(f"'{self._name}' holds samples of kind '{kind}', which cannot be read. Convert it first.")
        if frame.format.is_planar and channels >= _UNSAFE_PLANES:
            frame = AudioResampler(kind, frame.layout, frame.sample_rate).resample(frame)[0]
        values = frame.to_ndarray().astype(np.float64)
        waves = values if frame.format.is_planar else values.reshape(-1, channels).T
        mono = (waves.mean(axis=0) - (_FULL_SCALE[kind] if kind == "u8" else 0.0)) / _FULL_SCALE[kind]
        real = np.abs(mono) <= _LOUDEST  # not so for NaN
        self._unreal += int(np.count_nonzero(~real))
        return np.where(real, mono, 0.0).astype(np.float32)


class _Tape:
    """What is resampled to one rate, growing in one piece of memory."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        self._in_hz, self._out_hz = rate_in_hz, rate_out_hz
        self._resampler = AudioResampler("fltp", "mono", rate_out_hz, options={"filter_size": "64"})
        self._heard = 0
        self._bytes = bytearray()

    def write(self, chunk: NDArray[np.float32]) -> None:
        """The next samples, at the rate they come in."""
        self._heard += len(chunk)
        if self._in_hz == self._out_hz:
            self._bytes += chunk.tobytes()
            return
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(chunk[None]), "fltp", "mono")
        frame.sample_rate = self._in_hz
        self._keep(self._resampler.resample(frame))

    def samples(self) -> NDArray[np.float32]:
        """Every sample that plays before the sound ends: `ceil(n · out / in)` of them."""
        if self._in_hz != self._out_hz:
            self._keep(self._resampler.resample(None))
        wanted = ceil(Fraction(self._heard * self._out_hz, self._in_hz))
        self._bytes += bytes(max(0, 4 * wanted - len(self._bytes)))
        return np.frombuffer(self._bytes, np.float32)[:wanted]

    def _keep(self, frames: Sequence[Any]) -> None:
        for frame in frames:
            self._bytes += frame.to_ndarray().tobytes()


def _instant_s(frame: AudioFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * as_fraction(frame.time_base)
