"""Small artifacts for tests of the store."""

from __future__ import annotations

import numpy as np

from store.contract.keys import key_of
from store.contract.records import Address, Artifact

CODE = {"affstore": "test"}


def source(video: str, frames: int = 40, **attributes) -> Artifact:
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


def visual(video: str, frames: int = 40, width: int = 8, seed: int = 0, extractor: str = "toy") -> Artifact:
    embedding = np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)
    present = np.ones(frames, bool)
    return Artifact(
        Address("visual", extractor, video, "main"),
        {"extractor": {"name": extractor, "seed": seed}, "source": key_of(video)},
        {"embedding": embedding, "present": present},
        {"frames": frames, "classes": None},
        made={"trained": False},
    )


def commit(store, *artifacts, message="test", run_id="run"):
    """Commit artifacts in one draft and give back the newest store."""
    draft = store.newest().draft(CODE, run_id)
    for artifact in artifacts:
        draft.put(artifact)
    store.commit([draft], message)
    return store.newest()
