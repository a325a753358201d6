"""The files of a store, and the table of the corpus's videos."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path


def files_of(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def folder_bytes(folder: Path) -> int:
    """How large they are together."""
    return sum(path.stat().st_size for path in files_of(folder))


def forget(paths: Iterable[Path]) -> None:
    """Ask the kernel to drop these files from its cache; nothing may have them mapped."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def frame_counts(table: Path) -> dict[str, int]:
    """The frames of each video of a table, by its name, or its line where it has none."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = enumerate(csv.DictReader(file))
        return {row.get("video") or str(line): int(row["frames"]) for line, row in rows if row.get("frames")}
