"""Publish predictions: the official challenge file of each experiment, and a tag on the snapshot they come from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from affstore import FeatureStore
from affstore.models.challenge_file import SampleList, Submission, every_frame, read_sample, write_submission
from affstore.models.evaluation.thresholds import decide
from affstore.store.contract.errors import AffstoreError, StoreUnavailableError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import join_subject, split_subject
from affstore.store.contract.records import Address
from affstore.store.engine.reading import find_source, video_names
from affstore.tasks.outcomes import Outcome, as_state, refused, shown_as
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.examples import subject_of


@task(
    name="publish", task_run_name=shown_as("publish {experiment.name}"), cache_policy=NO_CACHE, persist_result=False,
)  # fmt: skip
def publish_experiment(
    context: WorkerContext, tag: str, experiment: HeadRun, folder: Path, sample: Path | None
) -> State[Any]:
    """Write an experiment's challenge file into `folder`, from the tagged snapshot."""
    return as_state(publish(FeatureStore(context.store_url, tag), experiment, folder, sample))


def publish(store: FeatureStore, experiment: HeadRun, folder: Path, sample: Path | None) -> Outcome:
    """The body of `publish_experiment`, for those without Prefect."""
    try:
        listed = read_sample(sample, experiment.space) if sample else _all_frames(store, experiment)
        if not listed.videos:
            return Outcome("publish", experiment.name, "failed", "there is no prediction to publish")
        predictions = _predictions(store, experiment, listed)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{experiment.name}.txt"
        written, news = _write(path, listed, predictions)
    except AffstoreError as error:
        return refused("publish", experiment.name, error)
    except OSError as error:
        full = StoreUnavailableError(f"'{folder}' cannot be written: {error.strerror}.")
        return refused("publish", experiment.name, full)
    said = f"{written.rows} rows of {written.videos} videos in {path.name}"
    return Outcome("publish", experiment.name, "done" if news else "cached", said)


def _write(path: Path, listed: SampleList, predictions: dict[str, NDArray[Any]]) -> tuple[Submission, bool]:
    """Write a challenge file, and say whether it is other than what was there."""
    before = digest_file(path) if path.exists() else ""
    written = write_submission(path, listed, predictions)
    return written, digest_file(path) != before


def _all_frames(store: FeatureStore, experiment: HeadRun) -> SampleList:
    """Every frame of every face that has a prediction."""
    found = [r for r in store.records("prediction") if r.address.producer == experiment.name]
    return every_frame(
        experiment.space,
        {join_subject(r.address.video, r.address.subject): int(r.attributes["frames"]) for r in found},
    )


def _predictions(store: FeatureStore, experiment: HeadRun, listed: SampleList) -> dict[str, NDArray[Any]]:
    """The decisions for every listed video; a person whose face was never found gets the head's prior."""
    named: dict[str, set[str]] = defaultdict(set)
    known = video_names(store)
    for name in listed.videos:
        video, subject = split_subject(name, known)
        named[video].add(subject)
    found = {}
    for name in listed.videos:
        video, subject = split_subject(name, known)
        source = find_source(store, video)
        meant = Address("prediction", experiment.name, source.address.video, subject)
        shown = subject_of(store, experiment, meant, named[video])
        record = store.find(replace(meant, subject=shown)) if shown else None
        frames = int(source.attributes["frames"])
        found[name] = (
            store.read(record.address, ["prediction"])["prediction"] if record else _prior(store, experiment, frames)
        )
    return found


def _prior(store: FeatureStore, experiment: HeadRun, frames: int) -> NDArray[Any]:
    head = store.read(Address("head", experiment.name))
    outputs = np.broadcast_to(head["parameter_prior"], (frames, len(head["parameter_prior"])))
    return decide(experiment.space, np.ascontiguousarray(outputs), head.get("parameter_thresholds"))
