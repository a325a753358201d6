"""Write docs/performance.md: every table of the benchmarks that has a bar, with the machine they were taken on.

    python benchmarks/performance.py --peer PYTHON_WITH_EMOTIEFFLIB > docs/performance.md

Takes some twenty minutes on two quiet cores. What could not be measured is named at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.specs import code_versions

HERE = Path(__file__).parent
FIXED = ("--engine", "openvino", "--precision", "bfloat16")
TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("B0 from files, the engine that a run chooses", ("faces.py", "--table", "files")),
    ("B0 from files, in bfloat16", ("faces.py", "--table", "files", *FIXED)),
    ("Seven face networks in one pass", ("faces.py", "--table", "seven")),
    ("Raw video", ("faces.py", "--table", "raw")),
    ("Engines, and how faithful they are", ("engines.py",)),
    ("Memory of a long video", ("memory.py",)),
    ("Planning a large store", ("plan.py",)),
)


def machine() -> str:
    """The processor, its cores and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(code_versions().items()))
    return f"Machine: {len(os.sched_getaffinity(0))} cores of {model}, {platform.system()}.\n\nVersions: {versions}."


def measured(words: Sequence[str], more: Sequence[str]) -> str:
    """What a benchmark prints."""
    command = [sys.executable, "-W", "ignore", str(HERE / words[0]), *words[1:], *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return f"It could not be measured: {done.stderr.strip().splitlines()[-1]}"
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines() if line.strip())


def gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return "There is a GPU here, but no benchmark of it yet."
    return (
        "There is no GPU on this machine. Missing: faces/s of each network from crops and from JPEG files beside the bare "
        "pass in bfloat16, the agreement of CPU and GPU, and a projection for the 3.09 million frames of Aff-Wild2."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment that has EmotiEffLib")
    parser.add_argument("--table", type=int, action="append", help="by its place in the list; all if none is named")
    parser.add_argument("--rounds", help="of each table of faces")
    asked = parser.parse_args(arguments)
    chosen = [TABLES[index] for index in asked.table or range(len(TABLES))]
    print(f"# Performance\n\nMade by `python benchmarks/performance.py`. Read the ratios.\n\n{machine()}\n")
    for title, words in chosen:
        more = ["--peer", asked.peer] if asked.peer and "files" in words else []
        more += ["--rounds", asked.rounds] if asked.rounds and words[0] in ("faces.py", "engines.py") else []
        said = measured(words, more)
        print(f"## {title}\n\n`python benchmarks/{' '.join(words)}`\n\n```\n{said}\n```\n", flush=True)
    print(f"## On a GPU\n\n{gpu()}")


if __name__ == "__main__":
    main()
