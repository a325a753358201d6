"""Small artifacts and inputs for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affstore.models.challenge_file import read_sample
from affstore.models.evaluation.metrics import score
from affstore.store.contract.labels import TASKS, LabelSpace, task_space
from affstore.store.contract.names import MAIN
from affstore.store.contract.records import Address, Artifact
from affstore.testing.artifacts import CODE, commit, label, prediction, source, visual

AU_RUN = {
    "store": "store",
    "weights": "untrained",
    "engine": "openvino",
    "precision": "float32",
    "extractors": ["mt_emotimobilefacenet"],
    "experiments": [{"name": "au-mlp", "task": "au", "inputs": ["mt_emotimobilefacenet"]}],
    "publish": {"folder": "published"},
}
"""A configuration that fits one head for action units on one quick network and publishes; it lacks its sources."""

__all__ = [
    "AU_RUN",
    "CODE",
    "MemoryCrops",
    "commit",
    "decisions_of",
    "label",
    "labels_of",
    "mean_ccc",
    "odd_sounds",
    "prediction",
    "read_submission",
    "source",
    "visual",
]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryCrops:
    """Labelled crops of one video, of all its frames, that lie in memory."""

    crops: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def frame(self) -> np.ndarray:
        return np.arange(len(self.crops))

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.crops[rows]


def labels_of(space: LabelSpace, video: str, value, known=None, subject: str = MAIN) -> Artifact:
    """Labels of a video's person; known in every frame unless it is said."""
    value = np.asarray(value, space.dtype).reshape(len(value), -1)
    known = np.ones(value.shape, bool) if known is None else np.asarray(known, bool).reshape(value.shape)
    address = Address("label", space.name, video, subject)
    arrays = {"value": np.where(known, value, 0).astype(space.dtype), "known": known}
    facts = {"split": "train", "location": f"/labels/{video}", "complaint": None}
    return Artifact(address, {"of": address.path}, arrays, {**_of_space(space, len(value)), **facts})


def decisions_of(space: LabelSpace, head: str, video: str, decision, subject: str = MAIN, present=None) -> Artifact:
    """A head's decisions on a video's person, certain of them; on frames of their own unless it is said."""
    decision = np.asarray(decision, space.dtype).reshape(len(decision), -1)
    certain = np.eye(len(space), dtype=np.float32)[decision[:, 0]] if space.columns < len(space) else decision
    raw = certain.astype(np.float32)
    present = np.ones(len(decision), bool) if present is None else np.asarray(present, bool)
    address = Address("prediction", head, video, subject)
    arrays = {"raw": raw, "smoothed": raw, "prediction": decision, "present": present}
    facts = _of_space(space, len(decision))
    facts.pop("space", None)  # which its head would say
    return Artifact(address, {"of": address.path}, arrays, facts)


def _of_space(space: LabelSpace, frames: int) -> dict:
    own = {} if TASKS.get(space.name) == space else {"space": space.definition()}
    return {"frames": frames, "task": space.name, "labels": list(space.names), **own}


def mean_ccc(prediction, value) -> float:
    """Mean of the CCC of valence and of arousal."""
    return score("va", prediction, value).value


def read_submission(path, task):
    """The list of a challenge file, and the values of its rows."""
    space = task_space(task)
    columns = range(1, space.columns + 1)
    values = np.loadtxt(path, space.dtype, comments=None, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    return read_sample(path, task), values


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
