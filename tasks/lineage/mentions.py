"""Files that name a video: reports, pages, records of runs and Prefect's database, which lie beside a store."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from affstore.tasks.lineage.erasure import Erasure
from affstore.tasks.lineage.publication import NOTE

_PAGES = ("report.html", "artifacts.json", "run.json")
"""What tells that a folder is a run's: all in it was drawn from the store, and can be drawn again."""

_SHORT_BYTES = 8
_TEXTS = (".html", ".json", ".txt", ".csv", ".md", ".log", ".db")


def needles(erasure: Erasure, in_text: bool = True) -> re.Pattern[bytes]:
    """What to look for in bytes: names as whole words, places and digests, in every way in which files write them.

    Args:
        erasure: what has to go.
        in_text: whether short names are looked for; pictures and chunks of numbers hold any three letters by chance.
    """
    texts = {form for text in (*erasure.locations, *erasure.digests) for form in _forms(text)}
    names = {form for name in erasure.names for form in _forms(name) if in_text or len(form) >= _SHORT_BYTES}
    return re.compile(b"|".join([*map(re.escape, sorted(texts)), *map(_as_word, sorted(names))]) or rb"(?!)")


def _as_word(name: bytes) -> bytes:
    """A short name counts between signs that stand around names, for a letter alone is in any text."""
    if len(name) < _SHORT_BYTES:
        return rb"[/\">]" + re.escape(name) + rb"[/\"<.\0]"
    return rb"(?<![A-Za-z0-9])" + re.escape(name) + rb"(?![A-Za-z0-9])"


def _forms(text: str) -> Iterator[bytes]:
    yield text.encode()
    yield json.dumps(text)[1:-1].encode()
    yield quote(text).encode()


def mentioning(folder: Path, erasure: Erasure) -> list[Path]:
    """The files below a folder whose name or content names what has to go, in order."""
    in_text, in_numbers = needles(erasure), needles(erasure, in_text=False)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [
        path
        for path in paths
        if in_text.search(f"/{path.relative_to(folder)}".encode())
        or _holds(path, in_text if path.suffix in _TEXTS else in_numbers)
    ]


def _holds(path: Path, wanted: re.Pattern[bytes]) -> bool:
    try:
        return wanted.search(path.read_bytes()) is not None
    except OSError:
        return False


def remove_mentions(runs: Path, files: Iterable[Path], heads: Iterable[str]) -> list[Path]:
    """Remove what a runs folder holds of a video: the pages of runs that name it, and what heads left that saw it.

    Returns:
        What could not be removed: Prefect's database while a server uses it, and files that cannot be written.
    """
    left = []
    for head in heads:
        for folder in (runs / "trainings").glob(f"{head}-*"):
            shutil.rmtree(folder, ignore_errors=True)
    for path in files:
        run = next((above for above in path.parents if any((above / page).is_file() for page in _PAGES)), None)
        if not path.exists():
            continue
        if path.is_relative_to(runs / "prefect"):
            left += [] if _drop_database(runs / "prefect") else [path]
        elif run is not None and run.is_relative_to(runs):
            shutil.rmtree(run, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if path.exists() and path not in left:
            left.append(path)
    return left


def _drop_database(folder: Path) -> bool:
    """Remove Prefect's database and log, unless a server uses them; the next run begins new ones."""
    with (folder / "users.lock").open("ab") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if (folder / "server.json").exists():
            return False
        for path in (*folder.glob("prefect*.db*"), *folder.glob("*.log")):
            path.unlink(missing_ok=True)
    return True


def published_copies(folder: Path, tags: Iterable[str]) -> list[Path]:
    """Folders of published files near a store that are called by one of some tags."""
    wanted = set(tags)
    return sorted(
        path for depth in ("*", "*/*") for path in folder.glob(depth) if path.name in wanted and path.is_dir()
    )


def exported_mentions(folder: Path, erasure: Erasure) -> dict[Path, list[Path]]:
    """By folder near a store that predictions were written to, its files that name what has to go.

    Args:
        folder: where the store is; two levels below it are looked at.
        erasure: what has to go.
    """
    folders = sorted(note.parent for depth in ("*", "*/*") for note in folder.glob(f"{depth}/{NOTE}"))
    found = {one: mentioning(one, erasure) for one in folders}
    return {one: files for one, files in found.items() if files}
