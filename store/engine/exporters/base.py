"""What an exporter is: it copies artifacts for tools that do not know the store. A file here or a plugin adds one."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from affstore.store.contract.errors import SpecError, StoreUnavailableError
from affstore.store.contract.records import Record
from affstore.store.contract.registry import Registry
from affstore.store.engine.catalogue import JoinedColumns
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.places import check_outside, translate_errors


class Written(list[Path]):
    """What an exporter wrote, with what a person should know of it; an exporter that has nothing to say gives a list.

    Attributes:
        left_out: a sentence for each video that could not be exported, while others were.
        notes: other sentences.
        without: artifacts that the format has a place for, and of which nothing was written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self.without: list[Record] = []

    def leave(self, records: Sequence[Record], why: str) -> None:
        """Note artifacts of which nothing is written, if there are any, and why, as the end of a sentence."""
        if records:
            kinds = ", ".join(sorted({f"{one.address.family}/{one.address.producer}" for one in records}))
            self.notes.append(f"Nothing is written of {len(records)} artifacts, {why}: {kinds}.")
        self.without.extend(records)


class Exporter(ABC):
    """A format that artifacts are copied into.

    It says in its own way where nothing is (no face, no sound, no label): never by zeros.

    Attributes:
        contract: number of this contract that a plugin was written for; today's is 1.
        name: what it is called on the command line.
        description: what it writes, in one line.
        needs: what must be installed for it, as `pip install …`; empty where nothing is missing.
    """

    contract: ClassVar[int]
    name: ClassVar[str]
    description: ClassVar[str]
    needs: ClassVar[str] = ""

    @abstractmethod
    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Copy the artifacts of these records into a folder that is empty or does not exist.

        Returns:
            What was written; as `Written`, with sentences on what was not.
        """

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """Those of the artifacts that the format has a place for; all of them, unless an exporter says otherwise."""
        return list(records)

    def beside(self, columns: JoinedColumns) -> Exporter:
        """The same with a user's columns beside each row.

        Raises:
            SpecError: the format has no rows.
        """
        names = ", ".join(columns.names)
        raise SpecError(f"'{self.name}' has no place for the columns {names}. Export tables: --to csv or --to parquet.")


EXPORTERS: Registry[Exporter] = Registry(
    "exporter", "affstore.store.engine.exporters", "affstore.exporters", base=Exporter
)
EXPORTERS.also_from("affstore.tasks.exporters")  # those that decode videos, which the store's engine cannot


def export(
    store: FeatureStore,
    records: Sequence[Record],
    folder: Path,
    exporter: str,
    columns: JoinedColumns | None = None,
) -> list[Path]:
    """Copy artifacts out of the store, by the exporter of that name.

    Args:
        store: where they are.
        records: what is copied.
        folder: gets it.
        exporter: its name.
        columns: a user's, which are put beside each row.

    Returns:
        What was written; a `Written` where the exporter has something to say.

    Raises:
        UnknownNameError: there is no such exporter.
        SpecError: `folder` exists and is not empty or is within the store, or the format has no place for columns, or
            for any of the artifacts.
        StoreUnavailableError: `folder` cannot be written.
    """
    chosen = EXPORTERS.get(exporter)
    chosen = chosen.beside(columns) if columns is not None else chosen
    check_target(store, folder)
    check_taken(chosen, records)
    was_there = folder.is_dir()
    with translate_errors(store.url, "Exporting"):
        try:
            written = chosen.write(store, records, folder)
        except SpecError:
            _clear(folder, was_there)
            raise
        except OSError as error:
            raise StoreUnavailableError(
                f"The export to '{folder}' cannot be written: {error.strerror or error}. Check room and rights, or "
                "name another place."
            ) from error
    if records and not (written or (isinstance(written, Written) and written.left_out)):
        raise _without_place(chosen, records)
    return written


def _clear(folder: Path, was_there: bool) -> None:
    """Remove what a refused export began, so that the corrected command finds the folder as this one did."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not was_there and folder.is_dir():
        folder.rmdir()


def check_target(store: FeatureStore, folder: Path) -> None:
    """See that a folder can be exported to.

    Raises:
        SpecError: it exists and is not empty, or is within the store.
    """
    check_outside(store.url, folder)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise SpecError(f"Nothing is exported over what exists: '{folder}' is not empty. Name another place.")


def check_taken(exporter: Exporter, records: Sequence[Record]) -> list[Record]:
    """Those of the artifacts that a format has a place for.

    Raises:
        SpecError: it has none for any of them.
    """
    taken = exporter.taken(records)
    if records and not taken:
        raise _without_place(exporter, records)
    return taken


def _without_place(exporter: Exporter, records: Sequence[Record]) -> SpecError:
    kinds = ", ".join(sorted({one.address.family for one in records}))
    return SpecError(
        f"Nothing is exported: '{exporter.name}' has no place for any of the {len(records)} artifacts that are meant "
        f"({kinds}). Export others as well, or choose another format: --to zarr has a place for all."
    )
