"""The machine that a run was begun on, without the names of its users or its own."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affstore.models.engines.gpu import has_gpu
from affstore.store.contract.printable import counted
from affstore.store.contract.usable import usable_cores


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
        system = f"{platform.system()} {platform.machine()}"
        return cls(_processor(), usable_cores(), _gpu() if uses_gpu else "", system)

    @classmethod
    def from_document(cls, found: Mapping[str, Any]) -> Machine:
        """What a note says of a machine; it may lack something, as one that another affstore wrote."""
        texts = {name: str(found.get(name, "")) for name in ("processor", "gpu", "platform")}
        cores = found.get("cores")
        return cls(texts["processor"], cores if isinstance(cores, int) else 0, texts["gpu"], texts["platform"])

    def as_document(self) -> dict[str, str | int]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        cores = counted(self.cores, "core", "cores") if self.cores else ""
        gpu = f"GPU {self.gpu}" if self.gpu else "no GPU used"
        return ", ".join(filter(None, (self.processor or "an unknown processor", cores, gpu, self.platform)))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, models), "") or platform.processor() or platform.machine()


def _gpu() -> str:
    if not has_gpu():
        return ""
    import torch

    return str(torch.cuda.get_device_name())
