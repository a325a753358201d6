"""Between a network's outputs and their record in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.faces.specs import DetectorSpec
from affstore.store.contract.errors import OutOfRangeError
from affstore.store.contract.half_floats import to_float16
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import MAIN, join_subject
from affstore.store.contract.records import Address, Artifact, Record, rows
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.ingest.sources import lift_quarantine, quarantine_artifact
from affstore.tasks.outcomes import PartOutcome


def run_facts(spec: ExtractorSpec | DetectorSpec, device: str, elapsed_s: float) -> dict[str, Any]:
    """How something was made; nothing of it is part of a key that is not part of the spec."""
    return {
        "extractor": spec.name,
        "engine": spec.engine,
        "precision": spec.precision,
        "device": device,
        "elapsed_s": elapsed_s,
    }


def network_facts(spec: ExtractorSpec) -> dict[str, Any]:
    """Which parameters a network ran with, and in which type its embeddings are stored."""
    weights = spec.weights
    return {
        "weights": weights.sha256,
        "weights_name": weights.name,
        "provenance": weights.provenance,
        "stored": spec.stored,
    }


def put_feature(
    store: FeatureStore, draft: Draft, spec: ExtractorSpec, artifact: Artifact, place: Path
) -> list[PartOutcome]:
    """Put a network's outputs into a draft, the embedding in the type that its spec states.

    Args:
        store: that the draft is for.
        draft: where to.
        spec: of the network.
        artifact: its outputs, all in float32.
        place: of the file or folder that they were computed from.

    Returns:
        What float16 cannot hold; it is in quarantine instead.
    """
    address = artifact.address
    name = join_subject(address.video, address.subject or MAIN)
    try:
        if spec.stored == "float16":
            half = to_float16(artifact.arrays["embedding"], f"'{address}'")
            artifact = replace(artifact, arrays={**artifact.arrays, "embedding": half})
    except OutOfRangeError as error:
        key, stage = key_of(artifact.recipe), recipes.float16_stage(spec)
        draft.put(quarantine_artifact(stage, name, place, key, str(error)))
        return [PartOutcome("quarantined", str(error))]
    draft.put(artifact)
    lift_quarantine(store, draft, recipes.float16_stage(spec), name=name)
    return []


def visual_artifact(
    spec: FaceExtractorSpec, source: Record, face: Record, arrays: Mapping[str, Any], how: Mapping[str, Any]
) -> Artifact:
    """A face network's outputs for one subject, as they are stored.

    Args:
        spec: of the network.
        source: the video.
        face: the subject's face.
        arrays: as `FaceRows.of` gives them.
        how: see `run_facts`.
    """
    return Artifact(
        Address("visual", spec.name, face.address.video, face.address.subject),
        recipes.feature(spec, face.key),
        arrays,
        {"frames": len(arrays["present"]), "classes": list(spec.logits.names) if spec.logits else None},
        (source.as_parent(), face.as_parent()),
        {**how, **network_facts(spec), "faces": rows(arrays["present"])},
    )
