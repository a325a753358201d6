"""A command of affstore as a process of its own: what a user waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def affstore(*words: object, folder: Path | None = None) -> str:
    """Run a command, in a folder if one is given; all that it printed.

    Raises:
        SystemExit: it fails.
    """
    command = [sys.executable, "-m", "affstore.flows.cli", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"affstore {' '.join(command[3:])} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout + done.stderr
