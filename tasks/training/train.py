"""Fit heads on what the store holds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.evaluation.metrics import score
from affstore.models.evaluation.thresholds import best_thresholds, decide
from affstore.models.heads.contract import Fitted
from affstore.models.heads.splits import check_leak
from affstore.store.contract.errors import AffstoreError, AnnotationError
from affstore.store.contract.keys import key_of, plain
from affstore.store.contract.labels import SpaceKind
from affstore.store.contract.printable import counted
from affstore.store.contract.records import Address, Artifact, Parent, Record, least_trusted
from affstore.tasks import recipes
from affstore.tasks.outcomes import Outcome, postponed, refused
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.task import task
from affstore.tasks.training.examples import LabelledSubject, SplitName, labelled
from affstore.tasks.training.head_job import HeadJob

LACKING = "frames_lacking_a_column"
"""Where the record of a head says, by split, how many frames it left out that lack a column of the label."""
HELD_OUT = "held_out"
"""Where the record of a fold's head names the videos that chose its epoch: its recipe has only their digest."""


@task("train", "train {head_run.name}")
def train_head(context: WorkerContext, head_run: HeadRun) -> Outcome:
    """Train a head, unless the run's time is over."""
    return postponed(context, "train", head_run.name) or train(context, head_run)


def train(context: WorkerContext, head_run: HeadRun) -> Outcome:
    """Fit a head on today's embeddings and labels, unless that is in the store."""
    store = context.store()
    try:
        draft = store.draft(context.code, context.run_id)  # first, so that a video replaced meanwhile is noticed
        subjects = _subjects(store, head_run)
        recipe = _recipe(head_run, subjects)
        address = Address("head", head_run.name)
        stored = store.find(address)
        if stored is not None and stored.is_of(recipe, _parents(subjects)):
            return Outcome("train", head_run.name, "cached", "its head is in the store")
        artifact = _fit(HeadJob(store, context, head_run, key_of(recipe)), subjects, recipe)
    except AffstoreError as error:
        return refused("train", head_run.name, error)
    draft.put(artifact)
    scores = artifact.attributes["scores"]
    text = f"{scores['headline']} {scores['value']:.3f} frame by frame" if scores else "nothing to choose its epoch on"
    if left_out := sum(artifact.made.get(LACKING, {}).values()):
        text += f"; {counted(left_out, 'frame', 'frames')} left out, without a value in some columns of the label"
    return Outcome("train", head_run.name, "done", text, draft=draft)


def head_recipe(store: FeatureStore, head_run: HeadRun) -> dict[str, Any]:
    """What a head would depend on if it were fitted now."""
    return _recipe(head_run, _subjects(store, head_run))


def _subjects(store: FeatureStore, head_run: HeadRun) -> dict[SplitName, list[LabelledSubject]]:
    """The subjects that fit a head, and those that choose its epoch; no video is among both."""
    found: dict[SplitName, list[LabelledSubject]] = {
        part: labelled(store, head_run, part) for part in get_args(SplitName)
    }
    check_leak({part: [_bytes_of(store, subject.label) for subject in members] for part, members in found.items()})
    return found


def _bytes_of(store: FeatureStore, label: Record) -> tuple[str, str]:
    """The name of a label's video, and the SHA-256 of its bytes."""
    video = label.address.video
    return video, str(store.get(Address("source", video=video)).attributes["sha256"])


def _recipe(head_run: HeadRun, subjects: Mapping[SplitName, list[LabelledSubject]]) -> dict[str, Any]:
    return recipes.head(fit_of(head_run), _keys(subjects["train"]), _keys(subjects["validation"]))


def _fit(work: HeadJob, subjects: Mapping[SplitName, list[LabelledSubject]], recipe: Any) -> Artifact:
    started = time.perf_counter()
    head_run = work.head_run
    if not subjects["train"]:
        raise AnnotationError(
            f"No video of {' or '.join(head_run.division.train)} has labels of the task '{head_run.task}' and all "
            f"inputs of '{head_run.name}'. Add annotations, or videos that have them."
        )
    head = work.fit(subjects["train"], subjects["validation"])
    if work.options.checkpoints is not None:
        shutil.rmtree(work.options.checkpoints, ignore_errors=True)  # it is trained: there is nothing to go on from
    outputs, value = _outputs_and_labels(work, head, subjects["validation"] or subjects["train"])
    thresholds = _thresholds(head_run, outputs, value) if subjects["validation"] else None
    arrays = head_arrays(head)
    arrays["parameter_prior"] = outputs.mean(axis=0, dtype=np.float64).astype(np.float32)
    if thresholds is not None:
        arrays["parameter_thresholds"] = thresholds.astype(np.float32)
    facts: dict[str, Any] = {
        "engine": head.engine,
        "device": head.device,
        "precision": head.precision,
        "provenance": least_trusted(
            feature.provenance for part in subjects.values() for subject in part for feature in subject.features
        ),
        "elapsed_s": round(time.perf_counter() - started, 3),
    } | _counts(work.store, subjects)
    if head_run.division.folds:
        facts[HELD_OUT] = sorted({subject.label.address.video for subject in subjects["validation"]})
    return Artifact(
        Address("head", head_run.name),
        recipe,
        arrays,
        {
            "task": head_run.task,
            "labels": list(head_run.space.names),
            "head": plain(fit_of(head_run)) | {"best_epoch": head.best_epoch, "report": dict(head.report)},
            "scores": _scores(head_run, outputs, value, thresholds) if subjects["validation"] else None,
        },
        _parents(subjects),
        facts,
    )


def _counts(store: FeatureStore, subjects: Mapping[SplitName, list[LabelledSubject]]) -> dict[str, Any]:
    """By split, how many subjects have a frame with all columns of a label, and how many frames lack some of them."""
    known = {part: [store.read(one.label.address, ["known"])["known"] for one in of] for part, of in subjects.items()}
    whole = {part: sum(bool(mask.all(axis=1).any()) for mask in masks) for part, masks in known.items()}
    lacking = {
        part: sum(int((mask.any(axis=1) & ~mask.all(axis=1)).sum()) for mask in masks) for part, masks in known.items()
    }
    return {"subjects": whole} | ({LACKING: lacking} if any(lacking.values()) else {})


def _outputs_and_labels(
    work: HeadJob, head: Fitted, subjects: Sequence[LabelledSubject]
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """A head's outputs for the labelled frames of some subjects, and their labels."""
    outputs, values = [], []
    for subject in subjects:
        output, present = work.predict(head, subject.features)
        label = work.store.read(subject.label.address)
        rows = present & label["known"].all(axis=1)
        outputs.append(output[rows])
        values.append(label["value"][rows])
    if not sum(map(len, values)):
        raise AnnotationError(
            f"No frame that could judge '{work.head_run.name}' has a label and all inputs. Add annotations."
        )
    return np.concatenate(outputs), np.concatenate(values)


def head_arrays(head: Fitted) -> dict[str, NDArray[Any]]:
    """A fitted head's arrays by the names under which the store keeps them; `tasks.predict.fitted_heads` reads them."""
    arrays: dict[str, NDArray[Any]] = {f"parameter_{name}": array for name, array in head.parameters.items()}
    arrays |= {f"curve_{name}": array for name, array in head.curve.items()}
    return arrays | ({"blob_model": head.blob} if len(head.blob) else {})


def fit_of(head_run: HeadRun) -> dict[str, Any]:
    """What decides a head's numbers, beside its data."""
    return {
        "head": head_run.head,
        "inputs": head_run.inputs,
        "thresholds": head_run.finish.thresholds,
    }


def _thresholds(head_run: HeadRun, outputs: NDArray[np.float32], value: NDArray[Any]) -> NDArray[np.float64] | None:
    """The papers' thresholds: tuned on unsmoothed validation frames, then used on smoothed ones (notebooks)."""
    if head_run.space.kind is not SpaceKind.UNITS or head_run.finish.thresholds == "half":
        return None
    return best_thresholds(outputs, value, np.ones(value.shape, bool))


def _scores(
    head_run: HeadRun,
    outputs: NDArray[np.float32],
    value: NDArray[Any],
    thresholds: NDArray[np.float64] | None,
) -> dict[str, Any]:
    scores = score(head_run.space, decide(head_run.space, outputs, thresholds), value)
    return {"headline": scores.headline, "value": scores.value, "frames": scores.frames} | dict(scores.details)


def _all(subject: LabelledSubject) -> tuple[Record, ...]:
    return (subject.label, *subject.features)


def _parents(subjects: Mapping[SplitName, list[LabelledSubject]]) -> tuple[Parent, ...]:
    return tuple(sorted({parent.as_parent() for split in subjects.values() for part in split for parent in _all(part)}))


def _keys(subjects: list[LabelledSubject]) -> list[str]:
    return [record.key for part in subjects for record in _all(part)]
