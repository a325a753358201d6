"""What the weights folder writes down about each set of parameters, and how a file is put in place."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from affstore.store.contract.errors import WeightsError
from affstore.store.contract.records import Provenance, provenance_of


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """One set of parameters in the folder.

    Attributes:
        name: the entry it was made for.
        sha256: digest of the parameters themselves: names, dtypes, shapes and numbers, whatever file holds them.
        trained: False for seeded, untrained parameters.
        official: whether the file's digest was the published one.
        source: the address, the file, or the untrained recipe.
        file_sha256: digest of the file they were read from, empty for untrained parameters.
    """

    name: str
    sha256: str
    trained: bool
    official: bool
    source: str
    file_sha256: str = ""

    @property
    def provenance(self) -> Provenance:
        """`published`, `unofficial` or `untrained`."""
        return provenance_of(self.trained, self.official)


def read_record(path: Path) -> WeightsRecord | None:
    """The record in that file, or None where there is no file.

    Raises:
        WeightsError: the file is not a record.
    """
    try:
        return WeightsRecord(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Delete it and fetch the weights again.") from error


def write_record(path: Path, record: WeightsRecord) -> None:
    """Put the record in place of whatever was there."""
    text = json.dumps(dataclasses.asdict(record), indent=1)
    with replacing(path) as new:
        new.write_text(text, "utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to fill, which takes the place of `path` in one step when it is whole; readers see the old or the new.

    Raises:
        WeightsError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        new = Path(name)
        try:
            yield new
            new.chmod(0o644)
            _flush(new)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"The weights folder {path.parent} cannot be written: {error}. Set AFFSTORE_WEIGHTS to one that can."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process at work on `path`; the lock goes with the process that holds it."""
    import fcntl

    lock = path.parent / f".{path.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise WeightsError(f"The weights folder cannot be written: {error}. Set AFFSTORE_WEIGHTS.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
