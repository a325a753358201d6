"""A row's predictions for every video, and the challenge's file of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.challenge_file import Submission, every_frame, read_sample, write_submission
from affstore.models.ensembles.spec import heads_of
from affstore.models.evaluation.evaluate import TunedParameters, predict_labels
from affstore.store.contract.errors import SpecError
from affstore.store.contract.names import MAIN, join_subject, split_subject
from affstore.store.contract.records import Address, Artifact, Record, least_trusted
from affstore.store.engine.reading import find_source, video_names
from affstore.tasks import recipes
from affstore.tasks.experiments import Experiment
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import face_of, subject_of, subjects_of


def experiment_predictions(store: FeatureStore, row: Experiment, chosen: TunedParameters) -> Iterator[Artifact]:
    """What a row says of every subject of every video of which all of its heads say something.

    Args:
        store: with the predictions of the row's heads.
        row: whose.
        chosen: what was given or searched for it.
    """
    for source in store.records("source"):
        video = source.address.video
        people = subjects_of(store, video, _foremost(row))
        for subject in people:
            records = _heads_of(store, row, Address("prediction", row.producer, video, subject), people)
            if records is not None:
                yield _prediction(store, row, chosen, Address("prediction", row.producer, video, subject), records)


def write_experiment_file(
    store: FeatureStore, row: Experiment, chosen: TunedParameters, path: Path, sample: Path | None
) -> Submission:
    """Write the challenge's file of a row whose predictions are in the store.

    Args:
        store: with them.
        row: whose.
        chosen: what was given or searched for it.
        path: of the file.
        sample: the organisers' list; without it, every frame of every video that has no label of the task.

    Raises:
        SpecError: the list is none of the task, or there is no video to predict.
        NotFoundError: the list names a video that the store does not have.
    """
    listed = read_sample(sample, row.space) if sample else every_frame(row.space, _unlabelled(store, row))
    if not listed.videos:
        raise SpecError(f"'{row.name}': every video has labels of '{row.task}', so there is no test set. Give a list.")
    known = video_names(store)
    meant = {name: split_subject(name, known) for name in listed.videos}
    named: dict[str, set[str]] = {}
    for video, subject in meant.values():
        named.setdefault(video, set()).add(subject)
    predictions = {}
    for name, (video, subject) in meant.items():
        found = _listed(store, row, video, subject, named[video])
        predictions[name] = _constant(store, row, chosen, video) if found is None else found
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_submission(path, listed, predictions)


def _heads_of(store: FeatureStore, row: Experiment, at: Address, people: Sequence[str]) -> dict[str, Record] | None:
    """The prediction of each head for a subject; None where one has none."""
    found = {}
    for head in row.heads:
        record = _of_head(store, head, at, people)
        if record is None:
            return None
        found[head.name] = record
    return found


def _of_head(store: FeatureStore, head: HeadRun, at: Address, people: Sequence[str]) -> Record | None:
    subject: str | None = MAIN
    if head.faces:
        subject = face_of(store, Address("face", head.faces, at.video, at.subject), people)
    return store.find(Address("prediction", head.name, at.video, subject)) if subject else None


def _prediction(
    store: FeatureStore, row: Experiment, chosen: TunedParameters, address: Address, records: Mapping[str, Record]
) -> Artifact:
    arrays = {name: store.read(record.address, ["raw", "present"]) for name, record in records.items()}
    outputs = {name: arrays[name]["raw"] for name in heads_of(row.method)}
    asked = row.judging.as_for_the_challenge()
    sees = [arrays[head.name]["present"] for head in row.heads if head.faces]
    present = np.logical_and.reduce(sees or [array["present"] for array in arrays.values()])
    smoothed, decision = predict_labels(asked, chosen, outputs, present)
    raw, _ = predict_labels(asked, TunedParameters(chosen.method, 0, chosen.thresholds), outputs, present)
    return Artifact(
        address,
        recipes.prediction({"judging": asked, "chosen": chosen.said}, row.producer, [r.key for r in records.values()]),
        {"raw": raw, "smoothed": smoothed, "prediction": decision, "present": present},
        {"frames": len(raw), "task": row.task, "labels": list(row.space.names)},
        tuple(record.as_parent() for record in records.values()),
        {
            "engine": "numpy",
            "precision": "float32",
            "device": "cpu",
            "provenance": least_trusted(record.provenance for record in records.values()),
        },
    )


def _unlabelled(store: FeatureStore, row: Experiment) -> dict[str, int]:
    """The videos of the test set: those whose labels nobody gave. Frames by name."""
    labelled = {label.address.video for label in store.records("label") if label.address.producer == row.task}
    found = [r for r in store.records("prediction") if r.address.producer == row.producer]
    return {
        join_subject(r.address.video, r.address.subject): int(r.attributes["frames"])
        for r in found
        if r.address.video not in labelled
    }


def _listed(store: FeatureStore, row: Experiment, video: str, subject: str, named: set[str]) -> NDArray[Any] | None:
    """A row's decisions for a listed person; None for one whose face was never found."""
    meant = Address("prediction", row.producer, find_source(store, video).address.video, subject)
    shown = subject_of(store, _foremost(row), meant, named)
    record = store.find(Address("prediction", row.producer, meant.video, shown)) if shown else None
    return store.read(record.address, ["prediction"])["prediction"] if record else None


def _constant(store: FeatureStore, row: Experiment, chosen: TunedParameters, video: str) -> NDArray[Any]:
    """What is said of a person who is never seen: the decision on what the row's heads say on average."""
    frames = int(find_source(store, video).attributes["frames"])
    priors = {head.name: store.read(Address("head", head.name), ["parameter_prior"]) for head in row.heads}
    outputs = {name: np.repeat(prior["parameter_prior"][None], frames, axis=0) for name, prior in priors.items()}
    return predict_labels(row.judging.as_for_the_challenge(), chosen, outputs, np.zeros(frames, bool))[1]


def _foremost(row: Experiment) -> HeadRun:
    """The head whose faces a row's predictions are for; of sound alone, any."""
    return next((head for head in row.heads if head.faces), row.heads[0])
