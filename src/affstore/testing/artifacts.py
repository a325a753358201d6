"""Small artifacts for tests of what reads a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.records import Address, Artifact

CODE = {"affstore": "test"}


def source(video: str, frames: int = 40, **attributes: Any) -> Artifact:
    """A video at 25 frames/s."""
    pts = np.arange(frames, dtype=np.int64) * 40
    found = {
        "sha256": key_of(video),
        "bytes": 1,
        "location": f"/videos/{video}.mp4",
        "aliases": [],
        "frames": frames,
        "time_base": [1, 1000],
        "end_pts": frames * 40,
        "width": 64,
        "height": 48,
        "rotation_deg": 0,
        "sample_aspect": [1, 1],
        "codec": "h264",
        "declared_frames": frames,
        "sound": None,
        "complaint": None,
    }
    return Artifact(
        Address("source", video=video),
        {"decode": 1, "bytes": key_of(video)},
        {"pts": pts, "time_s": pts / 1000},
        found | attributes,
    )


def film(path: Path, frames: int = 40) -> Path:
    """Write the file of such a video, as `.mkv`: 64 x 48 px of grey, without sound."""
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 + frame, np.uint8), "rgb24")
            picture.pts = frame
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def visual(
    video: str, frames: int = 40, width: int = 8, seed: int = 0, extractor: str = "toy", **rows: Sequence[int]
) -> Artifact:
    """Random embeddings of a video's faces; the rows `gaps` have no face, the rows `zeros` are zero."""
    embedding = np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)
    present = np.ones(frames, bool)
    present[list(rows.get("gaps", ()))] = False
    embedding[[*rows.get("gaps", ()), *rows.get("zeros", ())]] = 0
    return Artifact(
        Address("visual", extractor, video, "main"),
        {"extractor": {"name": extractor, "seed": seed}, "source": key_of(video)},
        {"embedding": embedding, "present": present},
        {"frames": frames, "classes": None},
        made={"provenance": "untrained"},
    )


def label(video: str, space: LabelSpace, value: NDArray[Any], subject: str = "main") -> Artifact:
    """Labels of a video, `(frames, columns)`; NaN where nothing is known."""
    known = np.isfinite(value)
    attributes = {"frames": len(value), "task": space.name, "labels": list(space.names), "split": "train"}
    return Artifact(
        Address("label", space.name, video, subject),
        {"space": space.name, "of": key_of(video)},
        {"value": np.where(known, value, 0).astype(space.dtype), "known": known},
        attributes | {"location": "", "complaint": None},
    )


def prediction(
    video: str, space: LabelSpace, raw: NDArray[Any], name: str = "mlp", gaps: Sequence[int] = ()
) -> Artifact:
    """What a head gives for a video, `(frames, names)`; in the rows `gaps` there is no face."""
    raw, present = np.asarray(raw, np.float32), np.ones(len(raw), bool)
    present[list(gaps)] = False
    decided: NDArray[Any] = raw.argmax(1)[:, None]
    if space.kind is not SpaceKind.CLASSES:
        decided = raw if space.kind is SpaceKind.VALUES else raw > 0.5
    return Artifact(
        Address("prediction", name, video, "main"),
        {"head": name, "of": key_of(video)},
        {"raw": raw, "smoothed": raw.copy(), "prediction": decided.astype(space.dtype), "present": present},
        {"frames": len(raw), "task": space.name, "labels": list(space.names)},
    )


def commit(store: FeatureStore, *artifacts: Artifact, message: str = "test", run_id: str = "run") -> FeatureStore:
    """Commit artifacts in one draft, as a run does, and give back the newest store."""
    draft = store.newest().draft(CODE, run_id)
    for artifact in artifacts:
        draft.put(artifact)
    store.commit([draft], message, {"run_id": run_id})
    return store.newest()
