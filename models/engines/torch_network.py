"""What networks on torch share: where they run, in which precision, and in batches of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, Precision
from affstore.store.contract.errors import DeviceMemoryError, SpecError

if TYPE_CHECKING:
    import torch


def check_engine(spec: ExtractorSpec, engines: Sequence[str] = ("torch",)) -> None:
    """See that a spec asks for an engine that runs its network, and for a precision that there is.

    Raises:
        SpecError: it does not.
    """
    if spec.engine not in engines:
        names = " or ".join(f"'{name}'" for name in engines)
        raise SpecError(f"'{spec.name}' runs on the engine {names}; found '{spec.engine}'.")
    if spec.precision not in ("float32", "bfloat16"):
        raise SpecError(f"'{spec.name}' runs in float32 or bfloat16; found '{spec.precision}'.")


def device_of(name: str) -> torch.device:
    """The device of that name, with the settings that make its numbers repeatable.

    Raises:
        SpecError: there is no such device on this machine.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SpecError(f"'{name}' is not a device. Use 'cpu' or 'cuda', 'cuda:0' …") from error
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise SpecError(f"There is no device '{name}' on this machine, which has {torch.cuda.device_count()} GPUs.")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    elif device.type != "cpu":
        raise SpecError(f"affstore runs networks on 'cpu' or 'cuda'; found '{name}'.")
    return device


@contextmanager
def forward_pass(device: torch.device, precision: Precision) -> Iterator[None]:
    """No gradients, and convolutions and products in `precision`."""
    import torch

    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


class Pieces:
    """Passes in pieces that a GPU has memory for: after one that it has none for, in half as many rows from then on.

    Args:
        least: rows that are not halved any more.
        fault: what cannot be done then, and what to do; the message of the error.
    """

    def __init__(self, least: int, fault: str) -> None:
        self._least, self._fault = least, fault
        self._most: int | None = None

    def run(
        self, step: Callable[[NDArray[Any]], tuple[NDArray[np.float32], ...]], rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], ...]:
        """Give `rows` to `step`, all at once or in pieces, and join what it gives.

        Raises:
            DeviceMemoryError: there is no memory for even the smallest piece.
        """
        import torch

        while True:
            size = min(self._most or len(rows), len(rows))
            try:
                outputs = [step(rows[start : start + size]) for start in range(0, len(rows), size)]
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if size // 2 < self._least:
                    raise DeviceMemoryError(self._fault) from error
                self._most = size // 2
            else:
                return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


def in_padded_batches(
    crops: NDArray[np.uint8], size: int, network: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Run `network` over batches of exactly `size` crops, the last one filled up with its own last crop.

    With one shape there is one choice of kernels, so that a row depends on its crop alone.

    Args:
        crops: `(n, size_px, size_px, 3)`, `n` ≥ 1.
        size: crops a batch.
        network: from `(size, size_px, size_px, 3)` to `(size, outputs)`.

    Returns:
        `(n, outputs)`.
    """
    parts = []
    for start in range(0, len(crops), size):
        batch = crops[start : start + size]
        filled = np.pad(batch, ((0, size - len(batch)), (0, 0), (0, 0), (0, 0)), "edge")
        parts.append(network(filled)[: len(batch)])
    return np.concatenate(parts)


def normalised(crops: NDArray[np.uint8], spec: FaceExtractorSpec, device: torch.device) -> torch.Tensor:
    """Bytes `(n, height, width, 3)` as the network's input `(n, 3, height, width)`, channels last in memory."""
    import torch

    return scaled(torch.from_numpy(crops).to(device), *scales(spec, device))


def scales(spec: FaceExtractorSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation `(3, 1, 1)` of a network's input, on its device."""
    import torch

    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (spec.mean, spec.std))
    return mean, std


def scaled(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Bytes that are on the device as the network's input; nothing in it waits for the device."""
    import torch

    pictures = pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
    return pictures.contiguous(memory_format=torch.channels_last)
