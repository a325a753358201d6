"""What must be imported before TensorFlow is, in a process that may use torch as well."""

from __future__ import annotations

import importlib.util
import sys


def import_triton() -> None:
    """Load the LLVM of torch's compiler, if torch has one, before TensorFlow loads its own.

    The other way round, the process is aborted when torch imports its compiler, as its optimisers, timm and torchvision
    do. Where TensorFlow is imported already, torch goes without its compiler.
    """
    if "tensorflow" in sys.modules:
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type] # so that importing it says that it is not there
    elif importlib.util.find_spec("triton"):
        importlib.import_module("triton")
