"""The sound of a file as mono waveforms on its own clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil, lcm
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from affstore.models.media.container import Decoding, as_fraction, best_sound, opened, sentence
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.printable import counted

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
_LOUDEST = 1e6
"""Times full scale. Beyond it squares and their sums leave float32: no sound, whatever a file of floats may say."""

_LONGEST_GAP_S = 3600
_LONGEST_JUMP_S = 1
_SHORTEST_HOLE_S = Fraction(1, 2)
"""Coders that leave out what is silent say so more often: Opus every 0.4 s."""
_MOST_ODD_FRAMES = 8
_UNSAFE_PLANES = 8  # from here on PyAV reads outside the frame; packed samples are one plane
_CANCELLED = 1 / 20


@dataclass(frozen=True, slots=True)
class SoundSpec:
    """What decides a waveform besides the file's bytes and the rate: part of every key. Nothing in it can be chosen.

    Attributes:
        version: raised whenever the same bytes would give other samples, or other frames would hear them.
        stream: which audio stream is taken when there are several.
        channels: how they become one. They cancel each other where their mean has less than a twentieth of their power,
            as those of a microphone wired in opposite phase.
        resampler: swresample's filter; 64 taps are flat to 7/8 of the Nyquist rate.
        tolerance_s: by how much timestamps may disagree with the sample count before silence is put in or
            an overlap is cut; containers round timestamps to a millisecond or worse.
    """

    KIND: ClassVar[str] = "sound"

    version: int = field(default=4, init=False)  # 4: frames hear wherever sound plays, and not in holes
    stream: str = field(default="as filmed, then default, then most samples a second over all channels", init=False)
    channels: str = field(default="mean, or the loudest where they cancel each other", init=False)
    resampler: str = field(default="swresample, 64 taps", init=False)
    tolerance_s: Fraction = field(default=Fraction(1, 50), init=False)


SOUND = SoundSpec()
"""The one way sound is read."""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What a full decode of the best audio stream found.

    Attributes:
        codec: of the stream.
        rate_hz: samples a second.
        channels: how many.
        start_s: when the sound begins, on the clock of the video.
        stream: its index in the file.
        channel: the one that is heard alone, 0-based; None where the mean of all is.
        complaint: one sentence on what is wrong with the sound; None when all of it decoded.
    """

    codec: str
    rate_hz: int
    channels: int
    start_s: Fraction
    stream: int = 0
    channel: int | None = None
    complaint: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A mono waveform on the clock of the file it came from.

    Attributes:
        samples: `(samples,)`, full scale ±1; float32, or float64 where a network's own resampler gives that.
        rate_hz: samples a second.
        start_s: when the first sample plays; late sound starts late, it is not moved.
        complaint: one sentence on what is wrong with it; None when all of it decoded.
        holes: from when to when the file has no sound between packets, in s, where that is more than half a second; the
            samples there are zeros.
    """

    samples: NDArray[np.floating[Any]]
    rate_hz: int
    start_s: Fraction
    complaint: str | None = None
    holes: tuple[tuple[Fraction, Fraction], ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the end of the last."""
        return len(self.samples) / self.rate_hz

    def plays_at(self, frames: FrameClock) -> NDArray[np.bool_]:
        """Whether it plays when each frame begins, `(frames,)`: not before it or after it, and not in its holes."""
        edges = (self.start_s, *chain(*self.holes), self.start_s + Fraction(len(self.samples), self.rate_hz))
        units = lcm(frames.time_base.denominator, *(edge.denominator for edge in edges))  # a second
        zero = frames.pts[:1]  # counted from another zero, instants might not fit, as nanoseconds since 1970
        begins = sum(zero.tolist()) * frames.time_base
        instants = (frames.pts - zero) * int(frames.time_base * units)
        passed = np.searchsorted([int((edge - begins) * units) for edge in edges], instants, side="right")
        return np.asarray(passed % 2 == 1)


def sound_facts(path: Path) -> SoundFacts | None:
    """Decode the best audio stream and say what it holds; None where there is none or nothing of it decodes.

    Raises:
        MediaError: the file cannot be opened.
    """
    with opened(path) as container:
        stream = best_sound(container)
        if stream is None:
            return None
        track = _Track(Decoding(container, stream), path.name)
        fault = None
        try:
            for _ in track:
                pass
        except MediaError as error:
            fault = str(error)
        if not track.rate_hz:
            return None
        codec, channel = stream.codec_context.name, track.loudest if track.cancelled else None
        complaint = fault or track.complaint
        return SoundFacts(codec, track.rate_hz, track.channels, track.start_s, stream.index, channel, complaint)


def read_sound(path: Path, rate_hz: int) -> Sound | None:
    """The sound of a file at one rate; see `read_sounds`. None where there is none."""
    facts = sound_facts(path)
    return read_sounds(path, [rate_hz], facts.channel).get(rate_hz) if facts else None


def read_sounds(path: Path, rates_hz: Sequence[int], channel: int | None = None) -> dict[int, Sound]:
    """The sound of a file as mono waveforms at several rates, from one decode.

    The waveform begins at the first timestamp (an encoder's priming is left out where the container says so); gaps in
    the timestamps are silence and overlaps are cut. A packet that cannot be decoded, or samples that are no finite
    numbers or absurdly large, are silence, and the complaint says so.

    Args:
        path: a video or sound file.
        rates_hz: samples a second of each waveform wanted.
        channel: the one to hear, as `SoundFacts` has it; else the mean of all.

    Returns:
        By rate; empty where there is no audio stream or nothing of it decodes.

    Raises:
        MediaError: the file cannot be opened, or its samples are of a kind that cannot be read.
    """
    with opened(path) as container:
        stream = best_sound(container)
        if stream is None:
            return {}
        track = _Track(Decoding(container, stream), path.name, channel)
        tapes: dict[int, _Tape] = {}
        for chunk in track:
            tapes = tapes or {rate: _Tape(track.rate_hz, rate) for rate in rates_hz}
            for tape in tapes.values():
                tape.write(chunk)
        found = track.start_s, track.complaint, tuple(track.holes)
        return {rate: Sound(tape.samples(), rate, *found) for rate, tape in tapes.items()}


class _Track:
    """Decoded sound as one seamless mono waveform at the rate it begins with, in chunks.

    Attributes:
        rate_hz: of its first frame; 0 before that.
        channels: of its first frame.
        start_s: the first timestamp.
        holes: see `Sound`.
    """

    def __init__(self, decoding: Decoding, name: str, channel: int | None = None) -> None:
        """Read what `decoding` gives; `channel` is heard alone, or the mean of all."""
        self._decoding, self._name, self._channel = decoding, name, channel
        self.rate_hz = self.channels = 0
        self.start_s = Fraction(0)
        self.holes: list[tuple[Fraction, Fraction]] = []
        self._other: _Rate | None = None
        self._written = self._missing = self._cut = self._unreal = self._odd = self._other_rate = 0
        self._power = np.zeros(0)
        self._mean_power = 0.0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for frame, following in _with_following(self._decoding):
            if not self.rate_hz:
                self._begin(frame, following)
            late = self._late(frame, following)
            if late > _LONGEST_GAP_S * self.rate_hz:
                self._decoding.stopped = "its clock jumps"
                break
            yield from self._written_down(self._at_own_rate(self._mono(frame), frame.sample_rate), late)
        if self._other is not None:
            yield from self._written_down(self._other.rest(), 0)

    @property
    def loudest(self) -> int:
        """The channel with the most power."""
        return int(np.argmax(self._power))

    @property
    def cancelled(self) -> bool:
        """Whether the mean of the channels heard so far has lost nearly all that they hold."""
        return bool(self._mean_power < _CANCELLED * self._power.mean()) if len(self._power) > 1 else False

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
        if self._missing > _SHORTEST_HOLE_S * self.rate_hz:
            faults.append(f"{self._missing / self.rate_hz:.2f} s of sound are missing between packets and silent")
        if self._cut > self.rate_hz:
            faults.append(f"{self._cut / self.rate_hz:.2f} s of sound overlap other sound and are cut")
        if self._odd:
            faults.append(f"timestamps of sound that leap away and back are passed over: {self._odd}")
        if self._other_rate:
            resampled = counted(self._other_rate, "packet of it is", "packets of it are")
            faults.append(f"the sound changes its sample rate, and {resampled} resampled")
        if self.cancelled:
            faults.append(
                f"the {self.channels} channels of sound cancel each other, so only the loudest is heard: "
                f"channel {self.loudest + 1}"
            )
        return sentence(faults)

    def _begin(self, frame: AudioFrame, following: Sequence[AudioFrame]) -> None:
        self.rate_hz, self.channels = frame.sample_rate, frame.layout.nb_channels
        self.start_s, self._power = _instant_s(frame) or Fraction(0), np.zeros(self.channels)
        next_s = _instant_s(following[0]) if following else None
        if next_s is not None and next_s < self.start_s - _LONGEST_JUMP_S:
            self.start_s = next_s - Fraction(frame.samples, frame.sample_rate)

    def _late(self, frame: AudioFrame, following: Sequence[AudioFrame]) -> int:
        """Samples by which a frame begins after the end of what came before; negative where they overlap.

        It is in time where those after it go on as if it were: then its own timestamp is wrong.
        """
        late = self._behind(frame, self._written)
        if abs(late) > _LONGEST_JUMP_S * self.rate_hz:
            expected = self._written
            for before, after in pairwise((frame, *following)):
                expected += before.samples * self.rate_hz // before.sample_rate
                if after.pts is not None and abs(self._behind(after, expected)) <= _LONGEST_JUMP_S * self.rate_hz:
                    self._odd += 1
                    return 0
        return late if abs(late) > SOUND.tolerance_s * self.rate_hz else 0

    def _behind(self, frame: AudioFrame, expected: int) -> int:
        instant = _instant_s(frame)
        return 0 if instant is None else round((instant - self.start_s) * self.rate_hz) - expected

    def _at_own_rate(self, mono: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Samples at the rate that the sound began with; a resampler holds a few back until the next."""
        rest = np.zeros(0, np.float32)
        if self._other is not None and self._other.rate_hz != rate_hz:
            rest, self._other = self._other.rest(), None
        if rate_hz == self.rate_hz:
            return np.concatenate([rest, mono])
        self._other = self._other or _Rate(rate_hz, self.rate_hz)
        self._other_rate += 1
        return np.concatenate([rest, self._other.write(mono)])

    def _written_down(self, chunk: NDArray[np.float32], late: int) -> Iterator[NDArray[np.float32]]:
        for piece in self._fit(chunk, late):
            self._written += len(piece)
            yield piece

    def _fit(self, chunk: NDArray[np.float32], late: int) -> Iterator[NDArray[np.float32]]:
        self._missing += max(0, late)
        if late > _SHORTEST_HOLE_S * self.rate_hz:
            begin_s = self.start_s + Fraction(self._written, self.rate_hz)
            self.holes.append((begin_s, begin_s + Fraction(late, self.rate_hz)))
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
        waves = (waves - (_FULL_SCALE[kind] if kind == "u8" else 0.0)) / _FULL_SCALE[kind]
        mean = waves.mean(axis=0)
        if channels == len(self._power):
            self._weigh(waves, mean)
        mono = waves[self._channel] if self._channel is not None and self._channel < channels else mean
        real = np.abs(mono) <= _LOUDEST  # not so for NaN
        self._unreal += int(np.count_nonzero(~real))
        return np.where(real, mono, 0.0).astype(np.float32)

    def _weigh(self, waves: NDArray[np.float64], mean: NDArray[np.float64]) -> None:
        real = np.abs(waves).max(axis=0) <= _LOUDEST
        if not real.all():
            waves, mean = waves[:, real], mean[real]
        self._power += np.square(waves).sum(axis=1)
        self._mean_power += float(np.square(mean).sum())


class _Rate:
    """Sound at a rate that a stream changed to, on its way to the rate that it began with."""

    def __init__(self, rate_hz: int, to_hz: int) -> None:
        self.rate_hz = rate_hz
        self._resampler = AudioResampler("fltp", "mono", to_hz, options={"filter_size": "64"})

    def write(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples in; as many out as are ready."""
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(chunk[None]), "fltp", "mono")
        frame.sample_rate = self.rate_hz
        return self._joined(self._resampler.resample(frame))

    def rest(self) -> NDArray[np.float32]:
        """The last samples out."""
        return self._joined(self._resampler.resample(None))

    def _joined(self, frames: Sequence[Any]) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])


def _with_following(frames: Iterable[AudioFrame]) -> Iterator[tuple[AudioFrame, Sequence[AudioFrame]]]:
    """Each frame with the few after it."""
    waiting: deque[AudioFrame] = deque()
    for frame in frames:
        waiting.append(frame)
        if len(waiting) > _MOST_ODD_FRAMES:
            yield waiting.popleft(), waiting
    while waiting:
        yield waiting.popleft(), waiting


class _Tape:
    """What is resampled to one rate, growing in one piece of memory."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        self._in_hz, self._out_hz = rate_in_hz, rate_out_hz
        self._rate = _Rate(rate_in_hz, rate_out_hz) if rate_in_hz != rate_out_hz else None
        self._heard = 0
        self._bytes = bytearray()

    def write(self, chunk: NDArray[np.float32]) -> None:
        """The next samples, at the rate they come in."""
        self._heard += len(chunk)
        self._bytes += (chunk if self._rate is None else self._rate.write(chunk)).tobytes()

    def samples(self) -> NDArray[np.float32]:
        """Every sample that plays before the sound ends: `ceil(n · out / in)` of them."""
        if self._rate is not None:
            self._bytes += self._rate.rest().tobytes()
        samples = ceil(Fraction(self._heard * self._out_hz, self._in_hz))
        self._bytes += bytes(max(0, 4 * samples - len(self._bytes)))
        return np.frombuffer(self._bytes, np.float32)[:samples]


def _instant_s(frame: AudioFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * as_fraction(frame.time_base)
