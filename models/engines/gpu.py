"""Whether this machine has a GPU."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_CUDA, _ROCM = "libcuda.so.1", "/dev/kfd"


def has_gpu() -> bool:
    """Whether torch finds a GPU; it is not imported to be asked where the system has no driver of one."""
    if "torch" not in sys.modules and sys.platform == "linux" and not _has_driver():
        return False
    import torch

    return bool(torch.cuda.is_available())


def _has_driver() -> bool:
    if Path(_ROCM).exists():
        return True
    try:
        ctypes.CDLL(_CUDA)  # which is what torch loads, too
    except OSError:
        return False
    return True
