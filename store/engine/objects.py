"""The bytes of a store as its place keeps them: every object by its key, read and written past the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from affstore.store.contract.errors import StoreError
from affstore.store.engine.places import (
    drop_memory,
    is_local,
    is_memory,
    local_folder,
    s3_options,
    storage_of,
    translate_errors,
)

_TIMEOUT_S, _ATTEMPTS = 5, 4
"""How long a server may be silent, and how often it is asked."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects below a store's place, by their keys, as `chunks/0A1B`.

    Attributes:
        read: an object's bytes; raises FileNotFoundError where none is.
        write: put an object there whole, in place of any of that key.
        sizes: every object's key and how many bytes it has.
        delete: take an object away; nothing happens where none is.
    """

    read: Callable[[str], bytes]
    write: Callable[[str, bytes], None]
    sizes: Callable[[], dict[str, int]]
    delete: Callable[[str], None]


def objects_of(url: str) -> Objects | None:
    """The objects of a store; None of one in memory, whose bytes nobody but the engine can reach.

    Raises:
        SpecError: the address is of no known kind.
    """
    if is_memory(url):
        return None
    if is_local(url):
        return _in_folder(local_folder(url))
    storage_of(url)  # which refuses an address that is none, before a server is asked
    return _in_bucket(url)


def check_bucket_writable(url: str) -> None:
    """See that these credentials may write to a store in a bucket, as a worker does, before any work.

    An object of no bytes is put where chunks are, and taken away. Where credentials may write and not delete, as may be
    on purpose, it stays: one for all workers, which no snapshot needs, so that `affstore gc` removes it.

    Raises:
        StoreUnavailableError: they may not, or the server does not answer.
    """
    if is_memory(url) or is_local(url):
        return
    objects = _in_bucket(url)
    objects.write(_PROBE, b"")
    with suppress(StoreError):
        objects.delete(_PROBE)


_PROBE = f"chunks/{'0' * 20}"
"""Called as the engine calls its chunks, and never the name of one: those are drawn at random."""


def wipe(url: str) -> None:
    """Remove every object of a store."""
    objects = objects_of(url)
    if objects is None:
        drop_memory(url)
        return
    for key in objects.sizes():
        objects.delete(key)


def _in_folder(folder: Path) -> Objects:
    def write(key: str, content: bytes) -> None:
        path = folder / key
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(content)
        partial.replace(path)

    def sizes() -> dict[str, int]:
        found = {}
        for root, _, names in os.walk(folder):
            below = os.path.relpath(root, folder)
            for name in names:
                with suppress(FileNotFoundError):  # it was written under another name meanwhile, or removed
                    found[name if below == "." else f"{below}/{name}"] = os.lstat(os.path.join(root, name)).st_size
        return found

    return Objects(
        lambda key: (folder / key).read_bytes(),
        write,
        sizes,
        lambda key: (folder / key).unlink(missing_ok=True),
    )


def s3_files(url: str) -> tuple[Any, str]:
    """Arrow's view of the files of S3, and where in it an address is: `bucket/prefix`."""
    from pyarrow import fs

    parts, options = urlparse(url), s3_options()
    endpoint = options.get("endpoint_url")
    system = fs.S3FileSystem(
        region=options["region"],
        connect_timeout=_TIMEOUT_S,
        request_timeout=_TIMEOUT_S,
        allow_delayed_open=True,  # a small object is there by one request, and not by three that a deletion may part
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **({"endpoint_override": urlparse(endpoint).netloc, "scheme": urlparse(endpoint).scheme} if endpoint else {}),
    )
    return system, f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")


def _in_bucket(url: str) -> Objects:
    from pyarrow import fs

    with _said(url, "Opening"):
        system, place = s3_files(url)

    def read(key: str) -> bytes:
        with _said(url, "Reading"), system.open_input_file(f"{place}/{key}") as file:
            return bytes(file.read())

    def write(key: str, content: bytes) -> None:
        with _said(url, "Writing to"), system.open_output_stream(f"{place}/{key}") as file:
            file.write(content)

    def sizes() -> dict[str, int]:
        with _said(url, "Listing"):
            found = system.get_file_info(fs.FileSelector(place, recursive=True))
        return {one.path.removeprefix(f"{place}/"): one.size for one in found if one.type == fs.FileType.File}

    def delete(key: str) -> None:
        # It is not looked for first: another process may take it away between the look and the deed.
        with suppress(FileNotFoundError), _said(url, "Writing to"):
            system.delete_file(f"{place}/{key}")

    return Objects(read, write, sizes, delete)


@contextmanager
def _said(url: str, doing: str) -> Iterator[None]:
    """Errors of the server as sentences of ours; that an object is not there stays what it is."""
    with translate_errors(url, doing):
        try:
            yield
        except FileNotFoundError as error:
            absent = error
        else:
            return
    raise absent
