"""Where a sound is cut, in vectors of the network's own clock; see `Segmenting`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.torch_network import Pieces
from affstore.models.extractor_specs import Segmenting, SoundExtractorSpec
from affstore.store.contract.errors import SpecError

_SHORTEST_REMAINDER_S = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """What one forward pass hears, and what is kept of it; all 0-based, ends excluded.

    Attributes:
        begin: its first vector.
        end: after its last vector.
        first: the first vector that is taken from it.
        last: after the last vector that is taken from it.
    """

    begin: int
    end: int
    first: int
    last: int

    @property
    def vectors(self) -> int:
        """How many a forward pass gives."""
        return self.end - self.begin


def cut(
    vectors: int, segmenting: Segmenting, vectors_hz: Fraction, shortest_s: int = _SHORTEST_REMAINDER_S
) -> list[Segment]:
    """Cut a sound of so many vectors so that each one is taken from exactly one segment.

    Blocks: a remainder shorter than `shortest_s` joins the block before it. Windows: window `k` begins `k · step_s`
    after the beginning, wherever the sound ends; each vector is taken from the window whose middle is nearest, and the
    first and the last window keep their outer edges. The last window ends with the sound, so it may be shorter; every
    other one is whole and does not know what follows it.

    Raises:
        SpecError: segments do not begin on vectors.
    """
    length, step = segmenting.length_s * vectors_hz, segmenting.step_s * vectors_hz
    if segmenting.mode == "whole":
        return [Segment(0, vectors, 0, vectors)] if vectors else []
    if length.denominator != 1 or step.denominator != 1:
        raise SpecError(f"{segmenting} does not begin on a vector each time: there are {vectors_hz} a second.")
    if segmenting.mode == "blocks":
        return _blocks(vectors, int(length), int(shortest_s * vectors_hz))
    return _windows(vectors, int(length), int(step))


def _blocks(vectors: int, length: int, shortest: int) -> list[Segment]:
    starts = list(range(0, vectors, length))
    if len(starts) > 1 and vectors - starts[-1] < shortest:
        starts.pop()
    return [Segment(begin, end, begin, end) for begin, end in pairwise((*starts, vectors))]


def _windows(vectors: int, length: int, step: int) -> list[Segment]:
    if not vectors:
        return []
    starts = range(0, max(0, vectors - length) + step, step)
    seams = [0, *(start + (length - step) // 2 for start in starts[1:]), vectors]
    return [
        Segment(begin, min(begin + length, vectors), first, last)
        for begin, (first, last) in zip(starts, pairwise(seams), strict=True)
    ]


def check_waveform(spec: SoundExtractorSpec, wave: NDArray[Any]) -> None:
    """See that a waveform is what a torch network hears.

    Raises:
        SpecError: it is not float32 `(samples,)`.
    """
    if wave.dtype != np.float32 or wave.ndim != 1:
        raise SpecError(f"'{spec.name}' hears float32 (samples,); found {wave.dtype} {wave.shape}.")


def one_segment_a_pass(spec: SoundExtractorSpec) -> Pieces:
    """Passes over single segments, with what to say where a GPU has no memory for one."""
    return Pieces(
        1,
        f"The GPU has no memory for one segment of sound in '{spec.name}'. Stop what else runs on it, or cut the sound "
        "into shorter segments.",
    )
