"""Apply fitted heads to every subject of a video, fill the gaps, smooth, and decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.ensembles.spec import heads_of
from affstore.models.evaluation.evaluate import prediction_arrays
from affstore.models.evaluation.thresholds import decide
from affstore.models.postprocess import box_smooth, fill_gaps
from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Address, Artifact, Record, least_trusted
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.outcomes import Outcome, postponed, refused
from affstore.tasks.predict.fitted_heads import stored_head
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.task import task
from affstore.tasks.training.examples import features_of, held_out, subjects_of
from affstore.tasks.training.head_job import HeadJob


@task("predict", "predict {video}")
def predict_video(context: WorkerContext, video: str, heads: Sequence[HeadRun]) -> Outcome:
    """Predict a video with every head, unless the run's time is over."""
    return postponed(context, "predict", video) or store_predictions(context, video, heads)


def store_predictions(context: WorkerContext, video: str, heads: Sequence[HeadRun]) -> Outcome:
    """Store every head's predictions for a video, unless they are in the store."""
    store = context.store()
    draft = store.draft(context.code, context.run_id)
    try:
        for head_run in heads:
            if not judges(store, head_run, video):
                continue
            for subject in subjects_of(store, video, head_run):
                address = Address("prediction", head_run.name, video, subject)
                _store_prediction(HeadJob(store, context, head_run), draft, address)
    except AffstoreError as error:
        return refused("predict", video, error)
    if not draft.records:
        return Outcome("predict", video, "cached", "its predictions are in the store")
    frames = int(draft.records[0].attributes["frames"])
    return Outcome("predict", video, "done", f"{len(draft.records)} predictions", frames, draft)


def judges(store: FeatureStore, head: HeadRun, video: str) -> bool:
    """Whether a head predicts a video; a fold's head only one that is labelled for training and it has not seen."""
    if not head.division.folds:
        return True
    labels = [r for r in store.records("label", video=video) if r.address.producer == head.task]
    trains = any(label.attributes["split"] in head.division.train for label in labels)
    return trains and held_out(store, head, video)


def _store_prediction(work: HeadJob, draft: Draft, address: Address) -> None:
    store, head_run = work.store, work.head_run
    features = features_of(store, address.video, address.subject, head_run)
    head = store.find(Address("head", head_run.name))
    if features is None or head is None:
        return
    recipe, parents = prediction_recipe(head_run, head, features), (head, *features)
    stored = store.find(address)
    if stored is None or not stored.is_of(recipe, [parent.as_parent() for parent in parents]):
        draft.put(_prediction(work, address, recipe, parents))


def prediction_recipe(head_run: HeadRun, head: Record, features: Sequence[Record]) -> dict[str, Any]:
    """What a prediction depends on."""
    finish = head_run.chosen.as_recipe() if head_run.chosen else head_run.finish
    return recipes.prediction(finish, head.key, [record.key for record in features])


def _prediction(work: HeadJob, address: Address, recipe: Any, parents: tuple[Record, ...]) -> Artifact:
    head_run = work.head_run
    head = stored_head(work.store, parents[0])
    outputs, present = work.predict(head.fitted, parents[1:])
    raw = fill_gaps(outputs, present, fallback=head.prior)
    return Artifact(
        address,
        recipe,
        _arrays(head_run, raw, present, head.thresholds),
        {"frames": len(raw), "task": head_run.task, "labels": list(head_run.space.names)},
        tuple(parent.as_parent() for parent in parents),
        {
            "engine": "numpy",
            "precision": "float32",
            "device": "cpu",
            "provenance": least_trusted(parent.provenance for parent in parents),
        },
    )


def _arrays(
    head_run: HeadRun, raw: NDArray[np.float32], present: NDArray[np.bool_], thresholds: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """A prediction's arrays: the same as the experiment's that chose smoothing and thresholds, or by the head alone."""
    if head_run.chosen:
        evaluation, tuned = head_run.chosen.evaluation, head_run.chosen.tuned
        return prediction_arrays(evaluation, tuned, dict.fromkeys(heads_of(tuned.method), raw), present)
    smoothed = box_smooth(raw, head_run.finish.smooth_frames)
    decision = decide(head_run.space, smoothed, None if thresholds is None else thresholds.astype(np.float64))
    return {"raw": raw, "smoothed": smoothed, "prediction": decision, "present": present}
