"""Score stored predictions against stored labels, beside what chance would score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.evaluation.metrics import Scores, chance, measures, score
from affstore.models.evaluation.thresholds import decide
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.records import Address, Provenance, Record, least_trusted
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import named_subjects, subject_of


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How an experiment does on the validation videos.

    Attributes:
        experiment: its name.
        frame_by_frame: without smoothing; `smoothed` is what is published.
        smoothed: after the box filter; its details hold all measures of the label space.
        by_chance: what a constant answer scores.
        videos: validation subjects that were scored.
        provenance: of the least trusted network on the way; None without any.
    """

    experiment: str
    frame_by_frame: Scores
    smoothed: Scores
    by_chance: Scores
    videos: int
    provenance: Provenance | None


def evaluate(store: FeatureStore, experiment: HeadRun) -> Evaluation | None:
    """Score an experiment on the validation frames that are labelled and have a face; None where there is none.

    The papers report these frames, and choose the epoch and the thresholds on them too (ABAW5, ABAW6; both notebooks).
    """
    pairs = _pairs(store, experiment, "validation")
    if not pairs:
        return None
    labels, predictions = zip(*pairs, strict=True)
    value, known = _stacked(store, labels, "value"), _stacked(store, labels, "known")
    known = known & _stacked(store, predictions, "present")[:, None]
    head = store.read(Address("head", experiment.name))
    thresholds = head.get("parameter_thresholds")
    space = experiment.space
    raw = decide(space, _stacked(store, predictions, "raw"), thresholds)
    output, decision = _stacked(store, predictions, "smoothed"), _stacked(store, predictions, "prediction")
    try:
        smoothed = score(space, decision, value, known)
        return Evaluation(
            experiment.name,
            score(space, raw, value, known),
            replace(smoothed, details={**smoothed.details, **measures(space, output, decision, value, known)}),
            chance(space, value, known, *_training_labels(store, experiment.task)),
            len(pairs),
            least_trusted(prediction.provenance for prediction in predictions),
        )
    except AnnotationError:
        return None


def _pairs(store: FeatureStore, experiment: HeadRun, split: str) -> list[tuple[Record, Record]]:
    """Each label of a split with the prediction for the same subject."""
    found = []
    for label in store.records("label"):
        if label.address.producer == experiment.task and label.attributes["split"] == split:
            video = label.address.video
            subject = subject_of(store, experiment, label.address, named_subjects(store, video))
            prediction = store.find(Address("prediction", experiment.name, video, subject)) if subject else None
            if prediction is not None:
                found.append((label, prediction))
    return found


def _training_labels(store: FeatureStore, task: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    labels = [r for r in store.records("label") if r.address.producer == task and r.attributes["split"] == "train"]
    return _stacked(store, labels, "value"), _stacked(store, labels, "known")


def _stacked(store: FeatureStore, records: Any, array: str) -> NDArray[Any]:
    return np.concatenate([store.read(record.address, [array])[array] for record in records])
