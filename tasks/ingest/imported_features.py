"""Features that another program computed, as artifacts on the frames of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from affstore import FeatureStore
from affstore.models.extractor_specs import IMPORTED, Stored, split_variant
from affstore.models.extractors.registry import names
from affstore.models.feature_files import FeatureFile, read_features
from affstore.store.contract.errors import AffstoreError, MediaError, NotFoundError, SourceError, SpecError
from affstore.store.contract.half_floats import to_float16
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.names import MAIN, name_fault
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.engine.reading import find_source
from affstore.tasks.ingest.sources import place_of


def imported_artifact(
    store: FeatureStore, name: str, of: tuple[str, str], path: Path, features: FeatureFile
) -> Artifact:
    """A file's features as an artifact; frames on which it says nothing are not present.

    Args:
        store: that has the video.
        name: what the features are called.
        of: the video; and the subject, or an empty text for features of its sound.
        path: of the file.
        features: what it holds.

    Raises:
        NotFoundError: there is no such video.
        MediaError: the file has another length than the video.
    """
    video, subject = of
    source: Record = find_source(store, video)
    frames, found = int(source.attributes["frames"]), len(features.values)
    if found != frames:
        raise MediaError(
            f"'{path}' has {found} rows, and '{source.address.video}' has {frames} frames by full decode. Features are "
            "taken with a row a frame: compute them on all frames, with NaN where there is nothing."
        )
    present = ~np.isnan(features.values).any(axis=1)
    recipe = {
        "imported": {"bytes": digest_file(path), "take": [features.array, *features.columns]},
        "source": source.key,
    }
    recipe |= {"subject": subject} if subject not in ("", MAIN) else {}
    sense = "visual" if subject else "audio"
    attributes = {"classes": None} if subject else {"vectors": frames, "complaint": None}
    made = {
        "engine": "imported",
        "provenance": "unofficial",
        "stored": "float32",
        "imported": {
            "file": path.name,
            "location": place_of(path),
            "columns": list(features.columns),
            "width": features.values.shape[1],
        },
    }
    return Artifact(
        Address(sense, IMPORTED + name, source.address.video, subject),
        recipe,
        {"embedding": np.where(present[:, None], features.values, np.float32(0)), "present": present},
        {"frames": frames, **attributes},
        (source.as_parent(),),
        made,
    )


def in_float16(artifact: Artifact) -> Artifact:
    """Imported features as they are stored in half the room.

    Raises:
        OutOfRangeError: a number is too large for float16.
    """
    half = to_float16(artifact.arrays["embedding"], f"'{artifact.made['imported']['file']}'")
    return replace(
        artifact,
        recipe={**artifact.recipe, "stored": "float16"},
        arrays={**artifact.arrays, "embedding": half},
        made={**artifact.made, "stored": "float16"},
    )


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What became of a file of features.

    Attributes:
        artifact: its address in the store.
        new: whether the store lacked it.
        frames: of the video.
        present: those on which the file says something.
        width: numbers a frame.
    """

    artifact: str
    new: bool
    frames: int
    present: int
    width: int


@dataclass(frozen=True, slots=True)
class ImportSpec:
    """How files of features are taken in.

    Attributes:
        name: what the features are called.
        take: of every file, the columns or the array; see `read_features`.
        stored: the type that they are stored in; `auto` is that of what the store has of them, or float32.
    """

    name: str
    take: tuple[str, ...] = ()
    stored: Literal["auto"] | Stored = "auto"


def import_files(
    store: FeatureStore,
    spec: ImportSpec,
    files: Mapping[Path, tuple[str, str]],
    code: Mapping[str, str] | None,
) -> tuple[list[ImportedFile], list[AffstoreError]]:
    """Take in files of features in one commit; a file that cannot be taken in stops no other.

    Args:
        store: that has the videos.
        spec: how they are taken in.
        files: each with its video and its subject, which is empty for features of the sound.
        code: versions of the packages at work; None to write nothing.

    Returns:
        What was found in the files, and why others were refused.

    Raises:
        SpecError: the name cannot be one, or is an extractor's.
    """
    _check_name(spec.name)
    found: list[ImportedFile] = []
    refused: list[AffstoreError] = []
    draft = store.draft(code or {}, "import")
    seen: dict[Address, Path] = {}
    for path, of in files.items():
        try:
            artifact = imported_artifact(store, spec.name, of, path, read_features(path, spec.take))
            there = store.find(artifact.address)
            if _stored_type(spec, there) == "float16":
                artifact = in_float16(artifact)
            first = seen.setdefault(artifact.address, path)
            if first != path:
                raise SpecError(f"'{first}' and '{path}' are both of '{artifact.address}'; the first was looked at.")
        except (SpecError, SourceError, NotFoundError) as error:
            refused.append(error)
            continue
        new = there is None or there.key != key_of(artifact.recipe)
        frames, width = artifact.arrays["embedding"].shape
        present = int(artifact.arrays["present"].sum())
        found.append(ImportedFile(artifact.address.path, new, frames, present, width))
        if new and code is not None:
            draft.put(artifact)
    if draft.records:
        store.commit([draft], "import of features")
    return found, refused


def _check_name(name: str) -> None:
    if fault := name_fault(name):
        raise SpecError(f"No features can be called '{name}': {fault}.")
    if split_variant(name)[0] in names():
        raise SpecError(f"An extractor of affstore's is called '{name}'. Give the features another --name.")


def _stored_type(spec: ImportSpec, there: Record | None) -> str:
    """The type to store features in: as asked for, else as the store has them."""
    if spec.stored != "auto":
        return spec.stored
    return str(there.made.get("stored", "float32")) if there else "float32"
