"""Small artifacts for tests of the store."""

from __future__ import annotations

import numpy as np

from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address, Artifact

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
        made={"provenance": "untrained"},
    )


def commit(store, *artifacts, message="test", run_id="run"):
    """Commit artifacts in one draft and give back the newest store."""
    draft = store.newest().draft(CODE, run_id)
    for artifact in artifacts:
        draft.put(artifact)
    store.commit([draft], message)
    return store.newest()


def odd_sounds(folder):
    """Files of 0.1 s that somebody might bring."""
    import soundfile

    rng, short = np.random.default_rng(0), 1 / 10
    tone = {
        hz: 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(short * hz)) / hz) for hz in (8000, 16_000, 48_000, 96_000)
    }
    holed = tone[16_000].copy()
    holed[100:200], holed[300], holed[400] = np.nan, np.inf, 1e200
    sounds = {
        "8kHz.wav": (tone[8000], 8000, "PCM_16"),
        "96kHz.wav": (tone[96_000], 96_000, "PCM_24"),
        "5.1.wav": (tone[48_000][:, None] * rng.uniform(0.1, 1, 6), 48_000, "PCM_16"),
        "float64.wav": (tone[16_000], 16_000, "DOUBLE"),
        "holes.wav": (holed, 16_000, "DOUBLE"),
        "loud.wav": (1e5 * tone[16_000], 16_000, "DOUBLE"),
        "silent.wav": (np.zeros(1600), 16_000, "PCM_16"),
        "brief.wav": (tone[16_000][:150], 16_000, "PCM_16"),
    }
    for name, (samples, hz, kind) in sounds.items():
        soundfile.write(folder / name, samples, hz, subtype=kind)
    return [folder / name for name in sounds]
