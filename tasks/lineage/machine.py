"""The machine that a run was begun on, without the names of its users or its own."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides how long a run takes.

    Attributes:
        processor: its model.
        cores: how many this process may use.
        gpu: the model of the GPU that networks ran on; empty for none.
        platform: operating system and kind of processor, e.g. `Linux x86_64`.
    """

    processor: str
    cores: int
    gpu: str
    platform: str

    @classmethod
    def here(cls, uses_gpu: bool) -> Machine:
        """This machine.

        Args:
            uses_gpu: whether the run uses the GPU; else it is not asked for, which would load torch.
        """
        return cls(_processor(), _cores(), _gpu() if uses_gpu else "", f"{platform.system()} {platform.machine()}")

    def as_document(self) -> dict[str, str | int]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        gpu = f"GPU {self.gpu}" if self.gpu else "no GPU used"
        return f"{self.processor}, {self.cores} core{'s' if self.cores != 1 else ''}, {gpu}, {self.platform}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, models), "") or platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""
