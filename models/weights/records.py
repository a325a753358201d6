"""What the weights folder writes down about each set of parameters, and how its files are written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from affstore.store.contract.errors import WeightsError
from affstore.store.contract.files import cache_folder, locked, write_text
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


def weights_root() -> Path:
    """The folder that `AFFSTORE_WEIGHTS` names, else `weights` of the cache folder."""
    named = os.environ.get("AFFSTORE_WEIGHTS")
    return Path(named).expanduser() if named else cache_folder() / "weights"


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
    with writing_to(path.parent):
        write_text(path, json.dumps(dataclasses.asdict(record), indent=1))


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in one sentence that the weights folder cannot be written.

    Raises:
        WeightsError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"The weights folder {folder} cannot be written: {error}. Set AFFSTORE_WEIGHTS to one that can."
        ) from error


@contextmanager
def entry_lock(path: Path) -> Iterator[None]:
    """Be the only process at work on a file of the weights folder.

    Raises:
        WeightsError: the folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    with writing_to(path.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with locked(lock):
        yield
