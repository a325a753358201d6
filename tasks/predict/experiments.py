"""An experiment's predictions for every video, and the challenge's file of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.challenge_file import Submission, every_frame, read_sample, write_submission
from affstore.models.ensembles.spec import heads_of
from affstore.models.evaluation.evaluate import TunedParameters, predict_labels, prediction_arrays
from affstore.store.contract.errors import AffstoreError, SpecError, StoreUnavailableError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import MAIN, join_subject, split_subject, video_name
from affstore.store.contract.records import Address, Artifact, Record, least_trusted
from affstore.store.engine.reading import find_source, video_names
from affstore.tasks import recipes
from affstore.tasks.evaluation.experiment_scores import same
from affstore.tasks.experiments import Experiment
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.retries import raise_what_passes
from affstore.tasks.specs import HeadRun, TunedPostProcessing, WorkerContext
from affstore.tasks.task import task
from affstore.tasks.training.examples import people_at, same_face, subject_of, subjects_of


@task("combine", "predict {experiment.name}")
def predict_experiment(
    context: WorkerContext, experiment: Experiment, tuned: TunedParameters, among: Sequence[str] | None = None
) -> Outcome:
    """Store an experiment's predictions for every video, or for some, unless they are in the store."""
    store = context.store()
    draft = store.draft(context.code, context.run_id)
    try:
        for artifact in experiment_predictions(store, experiment, tuned, among):
            if not same(store, artifact):
                draft.put(artifact)
    except AffstoreError as error:
        return refused("combine", experiment.name, error)
    if not draft.records:
        return Outcome("combine", experiment.name, "cached", "its predictions are in the store")
    return Outcome("combine", experiment.name, "done", f"{len(draft.records)} predictions", draft=draft)


@task("publish", "publish {experiment.name}")
def publish_experiment(  # noqa: PLR0913 - whose predictions, of which snapshot, and where to
    context: WorkerContext, at: str, experiment: Experiment, tuned: TunedParameters, folder: Path, sample: Path | None
) -> Outcome:
    """Write an experiment's challenge file into `folder`, from the predictions in the tag or snapshot `at`."""
    try:
        store = context.store(at)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{experiment.producer}.txt"
        before = digest_file(path) if path.exists() else ""
        written = write_experiment_file(store, experiment, tuned, path, sample)
        changed = digest_file(path) != before
    except AffstoreError as error:
        return refused("publish", experiment.name, error)
    except OSError as error:
        raise_what_passes(error)
        full = StoreUnavailableError(f"'{folder}' cannot be written: {error.strerror}.")
        return refused("publish", experiment.name, full)
    text = f"{written.rows} rows of {written.videos} videos in {path.name}"
    return Outcome("publish", experiment.name, "done" if changed else "cached", text)


def experiment_predictions(
    store: FeatureStore, experiment: Experiment, tuned: TunedParameters, among: Sequence[str] | None = None
) -> Iterator[Artifact]:
    """An experiment's predictions for every subject of every video that all of its heads have predictions for.

    Args:
        store: with the predictions of the experiment's heads.
        experiment: the experiment.
        tuned: what was given or searched for it.
        among: names of the videos; all of them if None.
    """
    for source in store.records("source"):
        video = source.address.video
        if among is not None and video not in among:
            continue
        people = subjects_of(store, video, _foremost(experiment))
        for subject in people:
            address = Address("prediction", experiment.producer, video, subject)
            records = _heads_of(store, experiment, address, people)
            if records is not None:
                yield _prediction(store, experiment, tuned, address, records)


def write_experiment_file(
    store: FeatureStore, experiment: Experiment, tuned: TunedParameters, path: Path, sample: Path | None
) -> Submission:
    """Write the challenge's file of an experiment whose predictions are in the store.

    Args:
        store: with them.
        experiment: the experiment.
        tuned: what was given or searched for it.
        path: of the file.
        sample: the organisers' list; without it, every frame of every video, or for an experiment on the test set, of
            every video that has no label of the task.

    Raises:
        SpecError: the list is none of the task, or there is no video to predict.
        NotFoundError: the list names a video that the store does not have.
    """
    listed = read_sample(sample, experiment.space) if sample else every_frame(experiment.space, _all(store, experiment))
    if not listed.videos:
        test_set = (
            ": every video has labels of the task, so there is no test set. Give a list" if experiment.files else ""
        )
        raise SpecError(f"'{experiment.name}' has no prediction to publish{test_set}.")
    known = video_names(store)
    meant = {name: split_subject(video_name(name), known) for name in listed.videos}
    named: dict[str, set[str]] = {}
    for video, subject in meant.values():
        named.setdefault(video, set()).add(subject)
    predictions = {}
    for name, (video, subject) in meant.items():
        found = _listed(store, experiment, video, subject, named[video])
        predictions[name] = _constant(store, experiment, tuned, video) if found is None else found
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_submission(path, listed, predictions)


def _heads_of(
    store: FeatureStore, experiment: Experiment, at: Address, people: Sequence[str]
) -> dict[str, Record] | None:
    """The prediction of each head for a subject; None where one has none."""
    found = {}
    for head in experiment.heads:
        record = _of_head(store, head, people_at(_foremost(experiment).faces, at.video, at.subject), people)
        if record is None:
            return None
        found[head.name] = record
    return found


def _of_head(store: FeatureStore, head: HeadRun, face: Address, people: Sequence[str]) -> Record | None:
    """A head's prediction for a face, which may be another producer's than its own."""
    subject = same_face(store, face, head.faces, people) if head.faces else MAIN
    return store.find(Address("prediction", head.name, face.video, subject)) if subject else None


def _prediction(
    store: FeatureStore, experiment: Experiment, tuned: TunedParameters, address: Address, records: Mapping[str, Record]
) -> Artifact:
    arrays = {name: store.read(record.address, ["raw", "present"]) for name, record in records.items()}
    outputs = {name: arrays[name]["raw"] for name in heads_of(experiment.evaluation.method)}
    finish = TunedPostProcessing(experiment.evaluation.as_for_the_challenge(), tuned)
    sees = [arrays[head.name]["present"] for head in experiment.heads if head.faces]
    present = np.logical_and.reduce(sees or [array["present"] for array in arrays.values()])
    return Artifact(
        address,
        recipes.prediction(finish.as_recipe(), experiment.producer, [r.key for r in records.values()]),
        prediction_arrays(finish.evaluation, tuned, outputs, present),
        {"frames": len(present), "task": experiment.task, "labels": list(experiment.space.names)},
        tuple(record.as_parent() for record in records.values()),
        {
            "engine": "numpy",
            "precision": "float32",
            "device": "cpu",
            "provenance": least_trusted(record.provenance for record in records.values()),
        },
    )


def _all(store: FeatureStore, experiment: Experiment) -> dict[str, int]:
    """Frames by name of the videos that are predicted; of an experiment on the test set, those without labels."""
    labels = store.records("label") if experiment.files else ()
    labelled = {label.address.video for label in labels if label.address.producer == experiment.task}
    found = [r for r in store.records("prediction") if r.address.producer == experiment.producer]
    return {
        join_subject(r.address.video, r.address.subject): int(r.attributes["frames"])
        for r in found
        if r.address.video not in labelled
    }


def _listed(
    store: FeatureStore, experiment: Experiment, video: str, subject: str, named: set[str]
) -> NDArray[Any] | None:
    """An experiment's decisions for a listed person; None for one whose face was never found."""
    meant = Address("prediction", experiment.producer, find_source(store, video).address.video, subject)
    present = subject_of(store, _foremost(experiment), meant, named)
    record = store.find(Address("prediction", experiment.producer, meant.video, present)) if present else None
    return store.read(record.address, ["prediction"])["prediction"] if record else None


def _constant(store: FeatureStore, experiment: Experiment, tuned: TunedParameters, video: str) -> NDArray[Any]:
    """The decisions for a person whose face was never found: those on the mean outputs of the heads."""
    frames = int(find_source(store, video).attributes["frames"])
    priors = {head.name: store.read(Address("head", head.name), ["parameter_prior"]) for head in experiment.heads}
    outputs = {name: np.repeat(prior["parameter_prior"][None], frames, axis=0) for name, prior in priors.items()}
    return predict_labels(experiment.evaluation.as_for_the_challenge(), tuned, outputs, np.zeros(frames, bool))[1]


def _foremost(experiment: Experiment) -> HeadRun:
    """The head whose faces an experiment's predictions are for; of sound alone, any."""
    return next((head for head in experiment.heads if head.faces), experiment.heads[0])
