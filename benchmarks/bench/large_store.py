"""Stores of many videos with the records that real ones have, and arrays of a few rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.labels.base import LabelFile
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import TASKS, task_space
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.contract.schema import family
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.specs import Profile
from bench.workplace import Workplace

EXPERIMENTS = {"expr-mlp": "expr", "au-mlp": "au"}
"""The experiments of every video, each with its task; the first takes one embedding, the second all of them."""

FRAMES = 8
_TRAINED_ON, _VALIDATED_ON = 0.4, 0.12
"""Shares of the videos that have a part in a head, as 248 and 70 of the 598 of Aff-Wild2's expressions."""


def put_videos(place: Workplace, videos: int, a_commit: int) -> None:
    """Commit the source, face, embeddings and labels of every video that the store lacks, so many videos a commit."""
    have = len(place.store().addresses("source"))
    for first in track(range(have, videos, a_commit), "building the store", transient=True):
        draft = _draft(place)
        for number in range(first, min(first + a_commit, videos)):
            put_video(draft, f"{number:03}-30-1280x720", place.profile)
        place.store().commit([draft], f"extract: {len(draft.records)}", {"run_id": place.context.run_id})


def put_heads(place: Workplace) -> None:
    """Commit heads, the predictions of every video, and results over the videos of validation."""
    store = place.store()
    sources = store.addresses("source")
    seen = [address.video for address in sources[: max(2, int((_TRAINED_ON + _VALIDATED_ON) * len(sources)))]]
    validated = seen[-max(1, int(_VALIDATED_ON * len(sources))) :]
    everything = store.records("visual", "audio")
    first = [record for record in everything if record.address.producer == place.profile.extractors[0].name]
    labels = {record.address: record for record in store.records("label")}
    draft = _draft(place)
    for (name, task), features in zip(EXPERIMENTS.items(), (first, everything), strict=True):
        mine = [labels[Address("label", task, video, "main")] for video in seen]
        inputs = [record for record in features if record.address.video in set(seen)]
        head = put_head(draft, name, task, [*inputs, *mine])
        given = _by_video(features)
        made = [put_prediction(draft, name, head, given[address.video]) for address in sources]
        of_result = [record for record in made if record.address.video in set(validated)]
        put_result(draft, name, task, [*of_result, *mine[-len(of_result) :]])
    place.store().commit([draft], f"predict: {len(draft.records)}", {"run_id": place.context.run_id})


def put_video(draft: Draft, video: str, profile: Profile) -> list[Record]:
    """All that stands on a video alone, with the recipes that a plan wants; gives its embeddings."""
    attributes = {
        **{"sha256": key_of(video), "bytes": 1, "aliases": [], "location": f"/videos/{video}.mp4"},
        **{"time_base": [1, 25], "end_pts": FRAMES, "width": 64, "height": 48},
    }
    source = put(draft, Address("source", video=video), recipes.source(key_of(video)), **attributes)
    detector = profile.detector
    recipe = recipes.face(detector, profile.tracking, source.key, "main")
    face = put(draft, Address("face", detector.name, video, "main"), recipe, source)
    for task in TASKS:
        file = LabelFile(task, "train", video, "main", Path(video))
        recipe = recipes.label(file, key_of([task, video]), source.key, "main")
        known = {
            "task": task,
            "labels": list(task_space(task).names)[:FRAMES],
            "split": "train",
            "location": f"/a/{video}.txt",
        }
        put(draft, Address("label", task, video, "main"), recipe, source, **known)
    return [put_feature(draft, spec, source, face) for spec in profile.extractors]


def put_feature(draft: Draft, spec: ExtractorSpec, source: Record, face: Record) -> Record:
    video = source.address.video
    if isinstance(spec, FaceExtractorSpec):
        recipe = recipes.feature(spec, face.key)
        return put(draft, Address("visual", spec.name, video, "main"), recipe, source, face)
    return put(draft, Address("audio", spec.name, video), recipes.feature(spec, source.key), source)


def put_head(draft: Draft, name: str, task: str, seen: Sequence[Record]) -> Record:
    recipe = recipes.head({"name": name}, [record.key for record in seen], [])
    known = {
        "task": task,
        "labels": list(task_space(task).names)[:FRAMES],
        "scores": {"headline": "macro F1", "value": 0.5},
    }
    return put(draft, Address("head", name), recipe, *seen, **known)


def put_prediction(draft: Draft, name: str, head: Record | None, features: Sequence[Record]) -> Record:
    recipe = recipes.prediction({"of": name}, head.key if head else "", [record.key for record in features])
    parents = (*([head] if head else ()), *features)
    task = EXPERIMENTS[name]
    known = {"task": task, "labels": list(task_space(task).names)[:FRAMES]}
    return put(draft, Address("prediction", name, features[0].address.video, "main"), recipe, *parents, **known)


def put_result(draft: Draft, name: str, task: str, looked_at: Sequence[Record]) -> Record:
    recipe = recipes.result({"of": name}, [record.key for record in looked_at])
    known = {
        **{"row": name, "task": task, "protocol": "papers", "interval": [0.4, 0.6], "chosen": {}, "paper": {}},
        **{"seen": False, "scores": {"headline": "macro F1", "value": 0.5, "frames": FRAMES * len(looked_at)}},
    }
    return put(draft, Address("result", f"{name}@papers"), recipe, *looked_at, **known)


def put(draft: Draft, address: Address, recipe: dict[str, object], *parents: Record, **attributes: object) -> Record:
    """An artifact of zeros that its family accepts."""
    schema = family(address.family)
    arrays = {
        name: np.zeros([schema.sizes.get(dim, FRAMES) for dim in array.dims], array.dtypes[0])
        for name, array in schema.arrays.items()
    }
    if "pts" in arrays:
        arrays["pts"] += np.arange(FRAMES)
    known = dict.fromkeys(schema.attributes) | ({"frames": FRAMES} if "frames" in schema.attributes else {})
    made = {"extractor": address.producer, "engine": "torch", "precision": "float32", "elapsed_s": 1.5}
    return draft.put(
        Artifact(address, recipe, arrays, known | attributes, tuple(each.as_parent() for each in parents), made)
    )


def _draft(place: Workplace) -> Draft:
    return place.store().draft(place.context.code, place.context.run_id)


def _by_video(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.address.video, []).append(record)
    return found
