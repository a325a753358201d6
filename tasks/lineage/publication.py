"""The note beside published files: which experiment, tag and snapshot each came from, and its digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SignatureError, SpecError
from affstore.store.contract.files import write_json
from affstore.store.contract.keys import digest_file

NOTE = "publication.json"
"""How the note is called; it is in the folder of the files, or in one above it."""

_LEVELS = 8


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """Where a published file came from.

    Attributes:
        producer: the experiment whose predictions it holds.
        snapshot: of the store that it was written from.
        tag: that names the snapshot; empty where none does.
        sha256: of the file.
    """

    producer: str
    snapshot: str
    tag: str
    sha256: str


def write_note(folder: Path, files: Iterable[tuple[Path, str]], snapshot: str, tag: str = "") -> Path:
    """Note where published files came from, beside what is noted already of others in their folder.

    Args:
        folder: gets the note.
        files: below it, each with the experiment whose predictions it holds.
        snapshot: of the store that they were written from.
        tag: that names it.

    Returns:
        The note.
    """
    noted = _read(folder / NOTE) if (folder / NOTE).is_file() else {}
    for path, producer in files:
        published = PublishedFile(producer, snapshot, tag, digest_file(path))
        noted[path.relative_to(folder).as_posix()] = published
    write_json(folder / NOTE, {name: asdict(noted[name]) for name in sorted(noted)}, 2)
    return folder / NOTE


def find_note(path: Path) -> PublishedFile | None:
    """What is noted of a published file, or None.

    Raises:
        SpecError: there is a note, and it is damaged.
    """
    whole = path.resolve()
    for folder in whole.parents[:_LEVELS]:
        if (folder / NOTE).is_file():
            found = _read(folder / NOTE).get(whole.relative_to(folder).as_posix())
            if found is not None:
                return found
    return None


def read_note(folder: Path) -> dict[str, PublishedFile]:
    """What is noted of the files of a published folder, by their names in it.

    Raises:
        SpecError: there is no note, or it is damaged.
        NotFoundError: there is no such folder.
    """
    check_folder(folder)
    if not (folder / NOTE).is_file():
        raise SpecError(f"'{folder}' is no publication: it has no '{NOTE}'. Name the folder that is called as the tag.")
    noted = _read(folder / NOTE)
    if not noted:
        raise SpecError(f"'{folder / NOTE}' names no file. Publish again to another folder.")
    return noted


def check_folder(folder: Path) -> None:
    """See that a publication's folder is one.

    Raises:
        NotFoundError: there is none.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise NotFoundError(f"'{folder}' {found}, so it is no publication. Name the folder that is called as the tag.")


def published_state(folder: Path, noted: Mapping[str, PublishedFile]) -> tuple[str, str]:
    """The snapshot that the files of a publication were written from, and its tag.

    Raises:
        SpecError: there are several.
    """
    snapshots = {(one.snapshot, one.tag) for one in noted.values()}
    if len(snapshots) > 1:
        raise SpecError(f"'{folder}' holds files of {len(snapshots)} snapshots. Name the folder of one publication.")
    ((snapshot, tag),) = snapshots
    return snapshot, tag


def check_published(folder: Path, name: str, sha256: str) -> None:
    """See that a file of a publication is as it was published.

    Raises:
        SignatureError: it is not there, has other bytes, or lies outside the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SignatureError(f"The publication in '{folder}' names '{name}', which lies outside it.")
    if not path.is_file():
        raise SignatureError(f"'{path}' was published and is not there any more. Get the publication anew.")
    if digest_file(path) != sha256:
        raise SignatureError(f"'{path}' has other bytes than were published. Get the publication anew.")


def opened_at(store_url: str, published: Path, noted: PublishedFile, in_copies: bool = False) -> FeatureStore:
    """The store at the snapshot that something was published from.

    Args:
        store_url: of the store.
        published: the file or folder.
        noted: what the note says of it.
        in_copies: whether a copy of the store will do, which has another snapshot under the same tag.

    Raises:
        NotFoundError: the store has no such snapshot, or the publication was retracted.
    """
    with suppress(NotFoundError):
        return FeatureStore(store_url, noted.snapshot)
    store = FeatureStore(store_url)
    if in_copies and noted.tag in store.tags():
        return store.state(noted.tag)
    store.check_not_retracted(noted.tag)
    raise NotFoundError(
        f"'{published}' was published from the snapshot {noted.snapshot}, which the store at '{store_url}' lacks: it "
        "was published from another store, or the snapshot has expired. Name the store with --store."
    )


def _read(note: Path) -> dict[str, PublishedFile]:
    try:
        document = json.loads(note.read_text(encoding="utf-8"))
        found = {str(name): PublishedFile(**one) for name, one in document.items()}
        if all(isinstance(text, str) for one in found.values() for text in asdict(one).values()):
            return found
    except OSError as error:
        raise SpecError(f"'{note}' cannot be read: {error.strerror}. Publish again to another folder.") from error
    except (ValueError, TypeError, AttributeError):
        pass  # the sentence below says more of it than Python does
    wanted = ", ".join(field.name for field in fields(PublishedFile))
    raise SpecError(
        f"'{note}' is no note of a publication, which has the texts {wanted} for each file in JSON. Publish again to "
        "another folder."
    )
