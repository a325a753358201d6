"""From a video's sound to what every sound network says of every frame, from one decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import SoundExtractorSpec
from affstore.models.extractors.audio.align import heard_by_time, heard_in_notebook, to_frames
from affstore.models.extractors.base import SoundOutput
from affstore.models.media.resample import resampled
from affstore.models.media.sound import Sound, read_sounds
from affstore.models.media.video import VideoFacts
from affstore.store.contract.clock import SILENT

WaveformFormat = tuple[int, str]
"""A rate in Hz, and the resampler that makes it."""


def waveform_format(spec: SoundExtractorSpec) -> WaveformFormat:
    """What networks that hear the same waveform have in common."""
    return spec.rate_hz, spec.resampler


def read_waveforms(path: Path, specs: Sequence[SoundExtractorSpec], facts: VideoFacts) -> dict[WaveformFormat, Sound]:
    """The waveform that each network hears, each made once; empty for a video without sound.

    Raises:
        MediaError: the sound cannot be read.
    """
    formats = {waveform_format(spec) for spec in specs}
    if facts.sound is None or not formats:
        return {}
    own_hz = facts.sound.rate_hz
    rates_hz = sorted({hz if resampler == "swresample" else own_hz for hz, resampler in formats})
    sounds = read_sounds(path, rates_hz, facts.sound.channel)
    return {(hz, resampler): _tuned(sounds, own_hz, hz, resampler) for hz, resampler in sorted(formats) if sounds}


def align_to_frames(
    spec: SoundExtractorSpec, output: SoundOutput, sound: Sound | None, facts: VideoFacts
) -> dict[str, NDArray[Any]]:
    """A network's outputs for a sound, by the video's frames.

    Returns:
        `embedding (frames, width)`, `present (frames,)`, and `logits` and `affect` of networks that give them; zeros
        where no sound plays.
    """
    vectors, frames = len(output.embedding), facts.clock
    if spec.align == "notebook":
        heard = heard_in_notebook(vectors, len(frames), facts.declared_frames)
    else:
        heard = heard_by_time(spec, sound, vectors, frames) if sound else np.full(len(frames), SILENT, np.int64)
    outputs = {"embedding": output.embedding, "logits": output.logits, "affect": output.affect}
    rows = {name: to_frames(values, heard) for name, values in outputs.items() if values is not None}
    return {**rows, "present": heard != SILENT}


def _tuned(sounds: dict[int, Sound], own_hz: int, rate_hz: int, resampler: str) -> Sound:
    if resampler == "swresample":
        return sounds[rate_hz]
    own = sounds[own_hz]
    return replace(own, samples=resampled(own.samples, own_hz, rate_hz, resampler), rate_hz=rate_hz)
