"""Windows over the frames of a video, planned before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import SpecError


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Windows of `length` frames that begin every `stride` frames.

    Every frame of every video is covered: the last window is moved back to end at the last frame, and a video shorter
    than a window gives one window that is padded.

    Attributes:
        length: frames in a window; the papers use 300 (ABAW6 §3.5).
        stride: frames from one window's begin to the next one's; the papers use 200.

    Examples:
        >>> import affstore
        >>> affstore.WindowSpec(length=60, stride=40)
        WindowSpec(length=60, stride=40)
    """

    KIND: ClassVar[str] = "windows"

    length: int = 300
    stride: int = 200

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.length:
            raise SpecError(f"A window needs 1 ≤ stride ≤ length; found stride {self.stride}, length {self.length}.")


def window_starts(spec: WindowSpec, frames: int) -> NDArray[np.int64]:
    """The first frame of every window over a video of `frames` frames; none for an empty video."""
    if frames <= 0:
        return np.empty(0, np.int64)
    last = max(0, frames - spec.length)
    starts = np.arange(0, last + 1, spec.stride, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)
