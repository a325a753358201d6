"""Features that another program computed, as artifacts on the frames of a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from affstore import FeatureStore
from affstore.models.extractor_specs import IMPORTED
from affstore.models.feature_files import FeatureFile
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.names import name_fault
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.engine.reading import find_source


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
        SpecError: the file has another length than the video, or the name cannot be one.
    """
    video, subject = of
    if fault := name_fault(name):
        raise SpecError(f"No features can be called '{name}': {fault}.")
    source: Record = find_source(store, video)
    frames, found = int(source.attributes["frames"]), len(features.values)
    if found != frames:
        raise SpecError(
            f"'{path}' has {found} rows, and '{source.address.video}' has {frames} frames by full decode. Features are "
            "taken with a row a frame: compute them on all frames, with NaN where there is nothing."
        )
    present = ~np.isnan(features.values).any(axis=1)
    recipe = {
        "imported": {"bytes": digest_file(path), "take": [features.array, *features.columns]},
        "source": source.key,
    }
    sense = "visual" if subject else "audio"
    attributes = {"classes": None} if subject else {"vectors": frames, "complaint": None}
    made = {
        "engine": "imported",
        "provenance": "unofficial",
        "imported": {"file": path.name, "columns": list(features.columns)},
    }
    return Artifact(
        Address(sense, IMPORTED + name, source.address.video, subject),
        recipe,
        {"embedding": np.where(present[:, None], features.values, np.float32(0)), "present": present},
        {"frames": frames, **attributes},
        (source.as_parent(),),
        made,
    )


def is_new(store: FeatureStore, artifact: Artifact) -> bool:
    """Whether a store lacks an artifact of imported features."""
    stored = store.find(artifact.address)
    return stored is None or stored.key != key_of(artifact.recipe)


def keep(store: FeatureStore, artifact: Artifact, code: dict[str, str]) -> bool:
    """Write an artifact unless the store has it; whether it was written."""
    if not is_new(store, artifact):
        return False
    draft = store.draft(code, "import")
    draft.put(artifact)
    store.commit([draft], "import of features")
    return True
