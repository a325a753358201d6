"""Files that appear whole or not at all, files that one process at a time works on, and the cache folder."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from affstore.store.contract.errors import SpecError

_PASSING = {
    errno.EAGAIN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO,
    errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip
"""What a file system over a network, or a disk, says when it does not answer."""


def may_pass(error: OSError) -> bool:
    """Whether what the system says may be gone a moment later; a full disk, or a lack of rights, is not."""
    return isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING


def cache_folder() -> Path:
    """The folder that `AFFSTORE_CACHE` names, else `~/.cache/affstore`."""
    return Path(os.environ.get("AFFSTORE_CACHE") or "~/.cache/affstore").expanduser()


def check_file(path: Path) -> None:
    """See that a path can be a file's that is to be written.

    Raises:
        SpecError: it is a folder.
    """
    if path.name in ("", "..") or path.is_dir():
        raise SpecError(f"'{path}' is a folder, and a file is to be written. Name a file.")


def writing_fault(error: OSError) -> str:
    """Why a video's file cannot be written, in words for after a colon."""
    if error.errno == errno.ENAMETOOLONG:
        return "a file of this name is too long for the disk. Rename the video's file, and add it again"
    return f"{error.strerror or error}. Look at the rights of its folder, and at the room there"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to fill, which takes the place of `path` in one step when it is whole; readers see the old or the new.

    It may be read by whom the umask says, also where a library makes files for one user alone, as safetensors does.

    Raises:
        SpecError: `path` is a folder.
        OSError: the folder cannot be made or written.
    """
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".affstore-{secrets.token_hex(4)}")  # short, as `path` may have the longest name there is
    try:
        new.touch()
        rights = stat.S_IMODE(new.stat().st_mode)
        yield new
        new.chmod(rights)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        if error.filename == str(new):
            error.filename = str(path)  # which the user knows
        raise
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as a file, whole or not at all; see `replacing`."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any, indent: int) -> None:
    """Write a document as a file, whole or not at all; see `replacing`."""
    write_text(path, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file alone, across processes; the lock ends with the process that holds it.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile has the file open too


def lock_holds(path: Path) -> bool:
    """Whether a lock on a file keeps others out, as it does not on some network file systems.

    Raises:
        OSError: the file cannot be opened, or nothing can be locked there.
    """
    with path.open("a+b") as one, path.open("a+b") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True  # another opening of the file, of this process or of another one, keeps it
    return False


_HERE, _EXCHANGE = -100, 2
"""Linux's `AT_FDCWD` and `RENAME_EXCHANGE`."""


def exchange_folders(one: Path, other: Path) -> None:
    """Let two folders of one file system change places in one step, so that neither name is ever missing.

    Raises:
        OSError: the kernel or the file system cannot do that.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError("this system cannot exchange two folders")
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
