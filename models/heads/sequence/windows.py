"""From windows of features to tensors, and from tensors to outputs for every frame. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from affstore.models.engines.torch_network import device_of
from affstore.models.heads.sequence.dataset import Streams, merge
from affstore.models.heads.sequence.labelled_videos import LabelledVideos, Window
from affstore.models.heads.sequence.losses import activated
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.sequence.tcn_transformer import TcnTransformer, build, load_arrays
from affstore.store.contract.windows import window_starts

_WINDOWS_A_PASS = {"cpu": 1, "cuda": 32}
"""When predicting. The number is fixed, for a kernel's last bits depend on it; on a CPU one window is work enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows of one length, padded at the end.

    Attributes:
        streams: `(windows, length, width)` float32 each.
        present: `(windows, length, streams)` bool.
        real: `(windows, length)` bool: no padding.
    """

    streams: tuple[torch.Tensor, ...]
    present: torch.Tensor
    real: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(tuple(x.to(device) for x in self.streams), self.present.to(device), self.real.to(device))


def stack(windows: Sequence[Streams], length: int, count: int) -> Batch:
    """Windows of `length` frames or fewer as a batch of `count`, which is filled up with empty ones."""
    values = [np.zeros((count, length, width), np.float32) for width in windows[0].widths]
    present = np.zeros((count, length, len(values)), bool)
    real = np.zeros((count, length), bool)
    for i, window in enumerate(windows):
        present[i, : len(window)], real[i, : len(window)] = window.present, True
        for padded, array in zip(values, window.values, strict=True):
            padded[i, : len(window)] = array
    return Batch(tuple(map(torch.from_numpy, values)), torch.from_numpy(present), torch.from_numpy(real))


def outputs_of(
    network: TcnTransformer, read: Callable[[Sequence[int]], Sequence[Streams]], frames: int, device: torch.device
) -> NDArray[np.float32]:
    """The network's outputs for every frame of a video; overlaps of windows are averaged once.

    Args:
        network: on the device.
        read: from the windows' first frames to the frames of each that exist.
        frames: of the video, 1 or more.
        device: where the network is.

    Returns:
        `(frames, outputs)`.
    """
    spec, count = network.spec, _WINDOWS_A_PASS[device.type]
    starts = window_starts(spec.window, frames)
    outputs: list[NDArray[np.float32]] = []
    training = network.training
    network.eval()
    for begin in range(0, len(starts), count):
        windows = read(starts[begin : begin + count].tolist())
        batch = stack(windows, spec.window.length, count).to(device)
        with torch.inference_mode():
            rows = activated(spec, network(batch.streams, batch.present, batch.real)).cpu().numpy()
        outputs += np.split(rows, np.cumsum([len(window) for window in windows])[:-1])
    network.train(training)
    return merge(frames, starts, outputs)


def outputs_of_known(network: TcnTransformer, videos: LabelledVideos, device: torch.device) -> NDArray[np.float32]:
    """The network's outputs for every frame whose label is known, video after video, `(frames, outputs)`."""
    length = network.spec.window.length
    parts = []
    for video, labels in enumerate(videos.labels):
        if labels.known.any():

            def read(starts: Sequence[int], video: int = video) -> Sequence[Streams]:
                return videos.read([Window(video, start) for start in starts], length)

            parts.append(outputs_of(network, read, len(labels.known), device)[labels.known])
    return np.concatenate(parts)


def predict(
    spec: SequenceSpec, parameters: Mapping[str, NDArray[np.float32]], streams: Streams, device: str
) -> NDArray[np.float32]:
    """See `affstore.models.heads.sequence.head.predict_sequence`."""
    network = build(spec, streams.widths)
    load_arrays(network, parameters)
    at = device_of(device)
    network.to(at)
    length = spec.window.length
    with one_thread():
        return outputs_of(
            network, lambda starts: [streams.cut(start, start + length) for start in starts], len(streams), at
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, whose sums do not depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
