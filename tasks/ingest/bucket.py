"""Files of a bucket: copied into a local folder, where videos are decoded from and found again later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from affstore.store.contract.errors import SourceError
from affstore.store.contract.keys import key_of
from affstore.store.engine.objects import s3_files

_PART = ".affstore-part"


def copy_new(url: str, folder: Path) -> list[Path]:
    """Copy the files below a bucket's prefix that the folder lacks, or has in another size or from another time.

    A copy has the time at which its object was written, and appears under its name when it is whole. Nothing is removed
    from the folder: its videos may be needed again after the bucket has let them go.

    Args:
        url: `s3://bucket/prefix`; credentials and server as for a store there.
        folder: where the copies are, under the same names below the prefix.

    Returns:
        The copies that were made.

    Raises:
        SourceError: there is no such bucket, it cannot be read, or one of its names would lead out of the folder.
        OSError: the folder cannot be written.
    """
    copied: list[Path] = []
    with _reading(url):
        system, place = s3_files(url)
        found = _files(system, place)
    for name, info in sorted(found.items()):
        path = folder / name
        if not _is_copy(path, info):
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(_pieces(url, system, info), info, path)
            copied.append(path)
    return copied


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
    files = {name: one for name, one in found.items() if one.type == fs.FileType.File}
    for name in files:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() or "\0" in name:
            raise SourceError(f"The bucket has a file called '{name}', which leads out of any folder. Rename it.")
    return files


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
