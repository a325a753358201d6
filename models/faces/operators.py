"""torchvision's compiled operators by themselves: importing torchvision brings torch's compiler with it, for 2 s."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch


@cache
def operators() -> Any:
    """`torch.ops.torchvision`, with `nms` and `roi_align` as torchvision itself loads and calls them."""
    found = importlib.util.find_spec("torchvision")
    places = map(Path, (found and found.submodule_search_locations) or ())
    libraries = [path for place in places for path in sorted(place.glob("_C*.so"))]
    for library in libraries:
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    if not libraries:
        importlib.import_module("torchvision")  # which knows where its operators are, or says what is wrong
    return torch.ops.torchvision
