"""The digests of files that were read before: a file that has not changed since is not read again."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from affstore.store.contract.files import cache_folder
from affstore.store.contract.keys import digest_file

_SETTLED_NS = 2_000_000_000
"""How long ago a file must have changed: on some file systems two changes within a second have one time."""

_WAIT_S = 2.0
_TABLE = "CREATE TABLE IF NOT EXISTS digests (file TEXT PRIMARY KEY, facts TEXT, sha256 TEXT) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the file system says of a file; numbers as text, since an inode may need all 64 bits."""

    file: str
    facts: str
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _Facts:
        """What is true of a file now."""
        found = os.stat(path)
        facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        return cls(f"{found.st_dev} {found.st_ino}", facts, max(found.st_mtime_ns, found.st_ctime_ns))


_read_here: dict[_Facts, str] = {}
"""What this process has read: the cache may be of no use, and a run asks several times."""


class FileDigests:
    """SHA-256 of this user's files, kept in `digests.sqlite` of the cache folder.

    A file is known by its device, inode, size and the times of its content and of its inode; the last is set by the
    system at every change, whatever a program says of the first. Where the cache cannot be used, every file is read.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the cache, or make it.

        Args:
            path: another file than that of the cache folder.
        """
        self._connection = _connection(path or cache_folder() / "digests.sqlite")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def digest(self, path: Path, anew: bool = False) -> str:
        """The SHA-256 of a file's bytes.

        Args:
            path: the file.
            anew: read it, unless this process has read it already.

        Raises:
            OSError: it cannot be read.
        """
        before = _Facts.of(path)
        known = _read_here.get(before) or (None if anew else self._find(before))
        if known is not None and os.access(path, os.R_OK):
            return known
        began_ns = time.time_ns()
        sha256 = digest_file(path)
        if before.changed_ns < began_ns - _SETTLED_NS and _Facts.of(path) == before:
            _read_here[before] = sha256
            self._write("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", [(before.file, before.facts, sha256)])
        return sha256

    def forget(self, digests: Iterable[str]) -> None:
        """Remove every file with one of these digests."""
        self._write("DELETE FROM digests WHERE sha256 = ?", [(sha256,) for sha256 in digests])

    def _find(self, file: _Facts) -> str | None:
        if self._connection is None:
            return None
        question = "SELECT sha256 FROM digests WHERE file = ? AND facts = ?"
        try:
            found = self._connection.execute(question, (file.file, file.facts)).fetchone()
        except sqlite3.Error:
            return None
        return str(found[0]) if found else None

    def _write(self, statement: str, rows: list[tuple[str, ...]]) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany(statement, rows)
        except sqlite3.Error:
            return


def _connection(path: Path) -> sqlite3.Connection | None:
    """The database in a file, made anew where it is damaged; None where it cannot be used at all."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_WAIT_S)
        except (OSError, sqlite3.Error):
            return None
        try:
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no bytes behind
            with connection:
                connection.execute(_TABLE)
            return connection
        except sqlite3.OperationalError:
            connection.close()
            return None
        except sqlite3.DatabaseError:
            connection.close()
            with suppress(OSError):
                path.unlink()
    return None
