"""Files of a bucket: copied into a local folder, where videos are decoded from and found again later."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from affstore.store.contract.errors import SourceError
from affstore.store.contract.keys import key_of
from affstore.store.engine.objects import s3_files

_PART = ".affstore-part"
_OF_A_NAME = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ, errno.EINVAL}
"""What a file system says to a name that it cannot have, or not beside another one; the rest are faults of the disk."""


class NotCopied(NamedTuple):
    """A file of a bucket that was not copied.

    Attributes:
        name: below the bucket's prefix.
        reason: why, without a full stop.
        unfit: whether it is so as long as the file is called so.
    """

    name: str
    reason: str
    unfit: bool


class Copied(NamedTuple):
    """What a call of `copy_new` did.

    Attributes:
        copied: files that were new, or others than their copies.
        left: those that could not be copied.
    """

    copied: tuple[Path, ...]
    left: tuple[NotCopied, ...] = ()


def copy_new(url: str, folder: Path) -> Copied:
    """Copy the files below a bucket's prefix that the folder lacks, or has in another size or from another time.

    A copy has the time at which its object was written, and appears under its name when it is whole. Nothing is removed
    from the folder: its videos may be needed again after the bucket has let them go.

    Args:
        url: `s3://bucket/prefix`; credentials and server as for a store there.
        folder: where the copies are, under the same names below the prefix.

    Raises:
        SourceError: there is no such bucket, or it cannot be read.
        OSError: the folder cannot be written.
    """
    copied: list[Path] = []
    left: list[NotCopied] = []
    with _reading(url):
        system, place = s3_files(url)
        found = _files(system, place)
    folder.mkdir(parents=True, exist_ok=True)
    for name, info in sorted(found.items()):
        if not _is_of_a_file(name):
            left.append(NotCopied(name, "its name is that of no file in a folder", unfit=True))
            continue
        path = folder / name
        try:
            if not _is_copy(path, info):
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy(_pieces(f"{url}/{name}", system, info), info, path)
                copied.append(path)
        except SourceError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                continue  # it was taken away meanwhile, or is but the mark of a folder
            with _reading(url):  # which raises where no file can be read
                system.get_file_info(place)
            left.append(NotCopied(name, str(error).rstrip("."), unfit=False))
        except OSError as error:
            if error.errno not in _OF_A_NAME:
                raise
            left.append(NotCopied(name, f"'{folder}' has no place for its name ({error.strerror})", unfit=True))
    return Copied(tuple(copied), tuple(left))


def _is_of_a_file(name: str) -> bool:
    """Whether a name is a path within a folder."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Turn what a bucket's server says into a sentence; only reading stands here, as a full disk is no fault of it."""
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0][:300]
        raise SourceError(
            f"'{url}' cannot be read: {reason}. Check its name, the credentials, and AWS_ENDPOINT_URL."
        ) from error


def _pieces(url: str, system: Any, info: Any) -> Iterator[bytes]:
    """The bytes of a bucket's file."""
    with _reading(url), system.open_input_stream(info.path) as source:
        while piece := source.read(1 << 20):
            yield piece


def _files(system: Any, place: str) -> dict[str, Any]:
    """What is there by its name below the place."""
    from pyarrow import fs

    bucket = place.partition("/")[0]
    if system.get_file_info(bucket).type == fs.FileType.NotFound:
        raise SourceError(f"There is no bucket '{bucket}'. Check its name, and AWS_ENDPOINT_URL.")
    selector = fs.FileSelector(place, recursive=True, allow_not_found=True)
    found = {one.path.removeprefix(f"{place}/"): one for one in system.get_file_info(selector)}
    return {name: one for name, one in found.items() if one.type == fs.FileType.File}


def _is_copy(path: Path, info: Any) -> bool:
    try:
        here = path.stat()
    except FileNotFoundError:
        return False
    return (here.st_size, here.st_mtime_ns) == (info.size, info.mtime_ns)


def _copy(pieces: Iterable[bytes], info: Any, path: Path) -> None:
    # The same name each time, so that the next copy replaces what a killed one left; short, as a name may be long.
    part = path.with_name(f".{key_of(path.name)[:16]}{_PART}")
    try:
        with part.open("wb") as target:
            target.writelines(pieces)
        os.utime(part, ns=(info.mtime_ns, info.mtime_ns))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)  # the disk may be full
        error.filename = str(path)  # of which writing says nothing
        raise
