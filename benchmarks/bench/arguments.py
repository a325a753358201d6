"""Options that several benchmarks have."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

_SHARED: dict[str, dict[str, Any]] = {
    "media": {"type": Path, "default": Path("../shared/media")},
    "reference": {"type": Path, "default": Path("../shared/reference_outputs")},
    "shape": {"type": Path, "default": Path("../shared/corpus_shape/affwild2_shape.csv")},
    "engine": {"default": "auto"},
    "precision": {"default": "auto"},
    "keep": {"type": Path, "help": "where the store is built, and found again next time"},
}


def parser_of(description: str | None, *shared: str, rounds: int = 0) -> ArgumentParser:
    """The parser of a benchmark's options, with some that are shared, and how many rounds where it has any."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    for name in shared:
        parser.add_argument(f"--{name}", **_SHARED[name])
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds)
    return parser
