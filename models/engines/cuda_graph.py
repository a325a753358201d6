"""A forward pass on a GPU, recorded once as a CUDA graph and played back from then on.

A small network has hundreds of kernels, and launching them one by one takes the host longer than a GPU needs to run
them. A graph launches all of them at once, on the same memory each time, so batches have one shape. Written after
torch's "CUDA graphs" notes; no GPU has been at hand to run `record_on_gpu` on, all else here is tested with another
recorder on a CPU.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Step = Callable[["Tensor"], "Tensor"]
"""From bytes on the device to what a network says of them, without waiting for the device."""

Recorder = Callable[[Step, "Tensor"], "Tape"]
"""Records a step on the input it will always read."""

_WARM_UPS = 3
_STAGES = 2
"""While the GPU works on one batch, the next one is brought to where it can read it."""

_RECORDING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Tape:
    """A recorded step.

    Attributes:
        pixels: the input, written before each playing.
        output: the output, overwritten by each playing.
        play: runs the step on `pixels`.
    """

    pixels: Tensor
    output: Tensor
    play: Callable[[], object]


class Recorded:
    """A step that is recorded for the shape of its input, or run as it is where that fails. Not for several threads."""

    def __init__(self, step: Step, record: Recorder, device: torch.device) -> None:
        self._step, self._record, self._device = step, record, device
        self._tape: Tape | None = None
        self._recordable = True

    def __call__(self, pixels: Tensor) -> Tensor:
        """The step's output for pixels in the host's memory; valid until the next call.

        Raises:
            torch.cuda.OutOfMemoryError: the device has no memory for so many rows.
        """
        tape = self._tape_for(pixels)
        if tape is None:
            return self._step(pixels.to(self._device, non_blocking=True))
        tape.pixels.copy_(pixels, non_blocking=True)
        tape.play()
        return tape.output

    def _tape_for(self, pixels: Tensor) -> Tape | None:
        import torch

        if self._tape is not None and self._tape.pixels.shape == pixels.shape:
            return self._tape
        self._tape = None  # its memory is what a smaller batch may need
        if not self._recordable:
            return None
        try:
            self._tape = self._record(self._step, torch.zeros_like(pixels, device=self._device))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._recordable = False
            warnings.warn(f"A network runs kernel by kernel: it cannot be recorded ({error}).", stacklevel=2)
        return self._tape


def record_on_gpu(step: Step, pixels: Tensor) -> Tape:
    """Record a step as a CUDA graph.

    Kernels are chosen and memory is set aside by runs before the recording, on a stream of their own as torch asks.
    Other threads may use the GPU meanwhile: only what this one does is watched for what cannot be recorded.
    """
    import torch

    with _RECORDING, torch.cuda.device(pixels.device):
        now = torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                step(pixels)
        now.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = step(pixels)
    return Tape(pixels, output, graph.replay)


class Staging:
    """Places in the host's memory for batches on their way to a GPU, page-locked so that copies need not wait.

    Args:
        shape: of a batch of bytes.
        locked: False where there is no GPU.
    """

    def __init__(self, shape: tuple[int, ...], locked: bool) -> None:
        import torch

        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        for _ in range(_STAGES):
            self._free.put(torch.empty(shape, dtype=torch.uint8, pin_memory=locked).numpy())

    @contextmanager
    def holding(self, batch: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """A batch in such a place; waits for one while all are taken."""
        place = self._free.get()
        try:
            np.copyto(place, batch)
            yield place
        finally:
            self._free.put(place)


def to_host(tensor: Tensor) -> NDArray[np.float32]:
    """What is on a device as an array of its own, once it is there."""
    import torch

    on_gpu = tensor.device.type == "cuda"
    landed = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=on_gpu)
    landed.copy_(tensor, non_blocking=on_gpu)
    if on_gpu:
        torch.cuda.current_stream(tensor.device).synchronize()
    array: NDArray[np.float32] = landed.numpy()
    return array
