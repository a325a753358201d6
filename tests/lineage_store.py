"""A small store with a whole chain: videos, faces, embeddings, labels, a head and its predictions."""

from __future__ import annotations

import numpy as np

from affstore import FeatureStore
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.labels import task_space
from affstore.store.contract.records import Address, Artifact
from tests.factories import commit, source

FRAMES = 40
NAMES = task_space("expr").names
FACE_WEIGHTS, NETWORK_WEIGHTS = "f" * 64, "e" * 64
NETWORK = {
    "kind": "face extractor",
    "name": "toy",
    "weights": {"kind": "weights", "name": "toy_weights", "sha256": NETWORK_WEIGHTS},
}
HOW = {"engine": "torch", "precision": "float32", "device": "cpu"}


def face(store, video):
    parent = store.get(Address("source", video=video))
    rng = np.random.default_rng(1)
    return Artifact(
        Address("face", "mtcnn", video, "main"),
        {"detector": {"kind": "detector", "weights_sha256": FACE_WEIGHTS}, "source": parent.key, "subject": "main"},
        {
            "box": rng.uniform(size=(FRAMES, 4)).astype(np.float32),
            "landmark": rng.uniform(size=(FRAMES, 5, 2)).astype(np.float32),
            "score": np.full(FRAMES, 0.75, np.float32),
            "present": np.ones(FRAMES, bool),
        },
        {"frames": FRAMES, "prominent": True},
        (parent.as_parent(),),
        HOW | {"weights": FACE_WEIGHTS},
    )


def visual(store, video, seed=0):
    parents = [store.get(Address("face", "mtcnn", video, "main")), store.get(Address("source", video=video))]
    embedding = np.random.default_rng(seed).normal(size=(FRAMES, 8)).astype(np.float32)
    return Artifact(
        Address("visual", "toy", video, "main"),
        {"extractor": NETWORK, "face": parents[0].key, "seed": seed},
        {"embedding": embedding, "present": np.ones(FRAMES, bool)},
        {"frames": FRAMES, "classes": None},
        tuple(parent.as_parent() for parent in parents),
        HOW | {"weights": NETWORK_WEIGHTS, "weights_name": "toy_weights", "provenance": "published"},
    )


def label(store, video, split, file):
    """A label from a real annotation file: the class of frame n is n modulo 8."""
    value = np.arange(FRAMES, dtype=np.int8)[:, None] % 8
    file.write_text("\n".join([",".join(NAMES), *map(str, value[:, 0])]), encoding="utf-8")
    parent = store.get(Address("source", video=video))
    return Artifact(
        Address("label", "expr", video, "main"),
        {"task": "expr", "split": split, "annotation": 1, "bytes": digest_file(file), "source": parent.key},
        {"value": value, "known": np.ones((FRAMES, 1), bool)},
        {
            "frames": FRAMES,
            "task": "expr",
            "labels": list(NAMES),
            "split": split,
            "location": str(file),
            "complaint": None,
        },
        (parent.as_parent(),),
    )


def head(store, name="expr-mlp", score=0.5, seed=0):
    seen = store.records("visual", "label")
    return Artifact(
        Address("head", name),
        {"fit": {"head": {"kind": "mlp", "seed": seed}}, "train": key_of([record.key for record in seen])},
        {"parameter_prior": np.full(8, 1 / 8, np.float32)},
        {"task": "expr", "labels": list(NAMES), "head": {}, "scores": {"headline": "macro F1", "value": score}},
        tuple(record.as_parent() for record in seen),
        HOW | {"provenance": "published", "subjects": {"train": 1, "validation": 1}},
    )


def prediction(store, video, name="expr-mlp", shift=0):
    """Predictions of frame n: class n plus a shift, modulo 8."""
    parents = [store.get(Address("head", name)), store.get(Address("visual", "toy", video, "main"))]
    decision = (np.arange(FRAMES, dtype=np.int8)[:, None] + shift) % 8
    raw = np.eye(8, dtype=np.float32)[decision[:, 0]]
    return Artifact(
        Address("prediction", name, video, "main"),
        {"head": parents[0].key, "inputs": [parents[1].key]},
        {"raw": raw, "smoothed": raw, "prediction": decision.astype(np.int8), "present": np.ones(FRAMES, bool)},
        {"frames": FRAMES, "task": "expr", "labels": list(NAMES)},
        tuple(parent.as_parent() for parent in parents),
        {"engine": "numpy", "precision": "float32", "device": "cpu", "provenance": "published"},
    )


def whole_chain(url, folder, sources=None, names=("a", "b")):
    """Fill a new store stage by stage, each stage in a commit of its own."""
    store = FeatureStore.create(url)
    a, b = names
    store = commit(store, *(sources or (source(a, aliases=["copy"]), source(b))), message="ingest: 2", run_id="r1")
    labels = [label(store, a, "train", folder / f"{a}.txt"), label(store, b, "validation", folder / f"{b}.txt")]
    store = commit(store, *labels, message="annotate: 2", run_id="r1")
    store = commit(store, face(store, a), face(store, b), message="extract: 2", run_id="r1")
    store = commit(store, visual(store, a), visual(store, b), message="extract: 2", run_id="r1")
    store = commit(store, head(store), message="train: 1", run_id="r2")
    return commit(store, prediction(store, a), prediction(store, b), message="predict: 2", run_id="r2")
