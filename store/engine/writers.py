"""Who is writing to a store: marks that the kernel lifts however a process ends, so that none can be left behind."""

from __future__ import annotations

import fcntl
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary, finalize

from affstore.store.contract.errors import ConflictError
from affstore.store.engine.places import is_local, local_folder, translate_errors


class _SharedLock:
    """A shared lock on `STORE.writers`, let go when no mark of this process holds it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._process = file, os.getpid()
        finalize(self, _let_go, file, self._process)  # not `__del__`: another thread could still find this in `_held`

    def is_at(self, path: Path) -> bool:
        """Whether it is of this process, and the file still the one at that path, where others look for it."""
        try:
            same = os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except OSError:
            return False
        return same and self._process == os.getpid()


def _let_go(file: IO[bytes], process: int) -> None:
    """Unlock a file that a process has locked, and close it.

    A child that was forked meanwhile has the file open too, so that closing it here would leave it locked until the
    child ends; the child itself must not unlock what is its parent's.
    """
    with file:
        if process == os.getpid():
            fcntl.flock(file, fcntl.LOCK_UN)


_held: WeakValueDictionary[Path, _SharedLock] = WeakValueDictionary()
"""The locks of this process by their files: of a run of many short videos, thousands of drafts wait for a commit, and
each with an open file of its own would reach the system's limit."""
_holding = threading.Lock()


class WriterMark:
    """A share of this process's lock on `STORE.writers`: while it is held, nobody removes what a draft has written.

    A store in memory has one process, and one on S3 cannot be locked: there it is nothing.
    """

    def __init__(self, url: str) -> None:
        """Take the mark.

        Raises:
            ConflictError: somebody is removing things from the store.
        """
        self._url = url
        self._lock = _shared(url)

    def __reduce__(self) -> tuple[type[WriterMark], tuple[str]]:
        return WriterMark, (self._url,)

    def release(self) -> None:
        """Let go of it."""
        self._lock = None


def _shared(url: str) -> _SharedLock | None:
    if not is_local(url):
        return None
    path = _path(url)  # whole, as the process may go to another folder
    with _holding:
        lock = _held.get(path)
        if lock is None or not lock.is_at(path):
            file = _opened(url)
            lock = _SharedLock(file)
            if not _locked(file, fcntl.LOCK_SH):
                raise ConflictError(
                    f"Nothing can be written to the store at '{url}' now: `affstore forget`, `affstore gc`, "
                    "`affstore generation` or `affstore upgrade` is at work there. Run the command again when it has "
                    "ended."
                )
            _held[path] = lock
        return lock


@contextmanager
def marked_as_writing(url: str) -> Iterator[None]:
    """Hold a mark of a run's own: drafts that travel between its processes hold none on the way."""
    mark = WriterMark(url)
    try:
        yield
    finally:
        mark.release()


@contextmanager
def alone_in(url: str) -> Iterator[None]:
    """Keep everybody else from writing to a store, for those who remove what no snapshot needs.

    Raises:
        ConflictError: somebody is writing.
    """
    if not is_local(url):
        yield
        return
    with _opened(url) as file:
        process = os.getpid()
        if not _alone(file):
            raise ConflictError(
                f"Another run is writing to the store at '{url}', and what it has not committed must stay. "
                "Wait until it has ended, and run the command again; nothing was changed."
            )
        try:
            yield
        finally:
            _let_go(file, process)


def sees_a_writer(url: str) -> bool:
    """Whether this process sees that somebody writes to a store; always so where nothing can be locked.

    A worker asks this while the run that it is of writes: where it sees nobody, its machine does not share the locks.
    """
    if not is_local(url):
        return True
    with _opened(url) as file:
        alone = _locked(file, fcntl.LOCK_EX)
        _let_go(file, os.getpid())
    return not alone


def _path(url: str) -> Path:
    folder = local_folder(url)
    return folder.with_name(f"{folder.name}.writers")


def _opened(url: str) -> IO[bytes]:
    with translate_errors(url, "Writing to"):
        return _path(url).open("a+b")  # NFS gives a shared lock only on what can be read


def _alone(file: IO[bytes]) -> bool:
    """Lock a file for oneself; the drafts of work that failed in this process may wait for Python to collect them."""
    if _locked(file, fcntl.LOCK_EX):
        return True
    gc.collect()
    return _locked(file, fcntl.LOCK_EX)


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
