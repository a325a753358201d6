"""Between a network's outputs and their record in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.faces.specs import DetectorSpec
from affstore.store.contract.records import Address, Artifact, Record, rows
from affstore.tasks import recipes


def run_facts(spec: ExtractorSpec | DetectorSpec, device: str, elapsed_s: float) -> dict[str, Any]:
    """How something was made; nothing of it is part of a key that is not part of the spec."""
    return {
        "extractor": spec.name,
        "engine": spec.engine,
        "precision": spec.precision,
        "device": device,
        "elapsed_s": elapsed_s,
    }


def weights_of(spec: ExtractorSpec) -> dict[str, Any]:
    """Which parameters a network ran with."""
    weights = spec.weights
    return {"weights": weights.sha256, "weights_name": weights.name, "provenance": weights.provenance}


def visual_artifact(
    spec: FaceExtractorSpec, source: Record, face: Record, arrays: Mapping[str, Any], how: Mapping[str, Any]
) -> Artifact:
    """A face network's outputs for one subject, as they are stored.

    Args:
        spec: of the network.
        source: the video.
        face: the subject's face.
        arrays: as `FaceRows.of` gives them.
        how: see `made`.
    """
    return Artifact(
        Address("visual", spec.name, face.address.video, face.address.subject),
        recipes.feature(spec, face.key),
        arrays,
        {"frames": len(arrays["present"]), "classes": list(spec.logits.names) if spec.logits else None},
        (source.as_parent(), face.as_parent()),
        {**how, **weights_of(spec), "faces": rows(arrays["present"])},
    )
