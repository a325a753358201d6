"""How the first layer of some speech networks normalises each channel over all of the sound; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ChannelNorm:
    """A first layer that normalises each channel over all of the sound.

    A channel is a weighted sum of a few samples, so its mean and variance follow from those samples' own.

    Attributes:
        kernel: `(channels, samples)` float64.
        weight: `(channels,)` float64, by which each normalised channel is multiplied.
        bias: `(channels,)` float64, which is added to it.
        eps: added to the variance.
        stride: samples from one sum to the next.
    """

    kernel: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    eps: float
    stride: int

    def scales(self, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What each channel of this sound is multiplied with, and what is then added to it: both `(1, channels, 1)`."""
        heard = sliding_window_view(wave.astype(np.float64), self.kernel.shape[1])[:: self.stride]
        mean = heard.mean(0)
        spread = np.einsum("ni,nj->ij", heard, heard) / len(heard) - np.outer(
            mean, mean
        )  # the same on any number of threads
        variance = np.einsum("ci,ij,cj->c", self.kernel, spread, self.kernel)
        scale = self.weight / np.sqrt(np.maximum(variance, 0) + self.eps)
        shift = self.bias - (self.kernel * mean).sum(1) * scale
        return scale.astype(np.float32)[None, :, None], shift.astype(np.float32)[None, :, None]
