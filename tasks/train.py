"""Fit heads on what the store holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from models.heads.examples import Examples
from models.heads.keras_mlp import FittedHead, fit, predict
from models.metrics import score
from models.thresholds import best_thresholds, decide
from store import FeatureStore
from store.contract.errors import AffstoreError
from store.contract.keys import key_of, plain
from store.contract.labels import task_space
from store.contract.records import Address, Artifact, Record
from tasks import recipes
from tasks.examples import Seen, labelled, read_examples
from tasks.outcomes import Outcome, as_state, refused
from tasks.specs import Bench, ExperimentSpec


@task(
    name="train", task_run_name="train {experiment.name}", cache_policy=NO_CACHE, persist_result=False,
)  # fmt: skip
def train_head(bench: Bench, experiment: ExperimentSpec) -> State[Any]:
    """See to it that an experiment's head is fitted on today's embeddings and labels."""
    return as_state(train(bench, experiment))


def train(bench: Bench, experiment: ExperimentSpec) -> Outcome:
    """The body of `train_head`, for those without Prefect."""
    store = FeatureStore(bench.store_url)
    seen = _seen(store, experiment)
    recipe = _recipe(experiment, seen)
    address = Address("head", experiment.name)
    held = store.find(address)
    if held is not None and held.key == key_of(recipe):
        return Outcome("train", experiment.name, "cached", "its head is in the store")
    try:
        artifact = _fit(store, experiment, seen, recipe)
    except AffstoreError as error:
        return refused("train", experiment.name, error)
    draft = store.draft(bench.code, bench.run_id)
    draft.put(artifact)
    said = f"{artifact.attributes['scores']['headline']} {artifact.attributes['scores']['value']:.3f} frame by frame"
    return Outcome("train", experiment.name, "done", said, draft=draft)


def head_recipe(store: FeatureStore, experiment: ExperimentSpec) -> dict[str, Any]:
    """What an experiment's head would depend on if it were fitted now."""
    return _recipe(experiment, _seen(store, experiment))


def _seen(store: FeatureStore, experiment: ExperimentSpec) -> dict[str, list[Seen]]:
    return {split: labelled(store, experiment, split) for split in ("train", "validation")}


def _recipe(experiment: ExperimentSpec, seen: dict[str, list[Seen]]) -> dict[str, Any]:
    return recipes.head(_fit_of(experiment), _keys(seen["train"]), _keys(seen["validation"]))


def _fit(store: FeatureStore, experiment: ExperimentSpec, seen: dict[str, list[Seen]], recipe: Any) -> Artifact:
    started = time.perf_counter()
    examples = {split: read_examples(store, seen[split], experiment.inputs, split) for split in seen}
    head = fit(experiment.mlp, examples["train"], examples["validation"])
    thresholds = _thresholds(experiment, head, examples["validation"])
    arrays = {f"parameter_{name}": array for name, array in head.parameters.items()}
    arrays |= {f"curve_{name}": array for name, array in head.curve.items()}
    arrays["parameter_prior"] = predict(head, examples["train"].x).mean(axis=0)
    if thresholds is not None:
        arrays["parameter_thresholds"] = thresholds.astype(np.float32)
    made = {
        "engine": "keras",
        "device": "cpu",
        "precision": "float32",
        "trained": all(feature.made.get("trained", True) for part in seen["train"] for feature in part.features),
        "elapsed_s": round(time.perf_counter() - started, 3),
        "rows": {split: len(rows) for split, rows in examples.items()},
    }
    return Artifact(
        Address("head", experiment.name),
        recipe,
        arrays,
        {
            "task": experiment.task,
            "labels": list(task_space(experiment.task).names),
            "head": plain(_fit_of(experiment)) | {"best_epoch": head.best_epoch},
            "scores": _scores(experiment, head, thresholds, examples["validation"]),
        },
        tuple(sorted({parent.as_parent() for split in seen.values() for part in split for parent in _all(part)})),
        made,
    )


def fitted(store: FeatureStore, experiment: ExperimentSpec) -> tuple[FittedHead, dict[str, NDArray[np.float32]]]:
    """A stored head, and its other parameters: the prior and, for action units, thresholds.

    Raises:
        NotFoundError: it was never fitted.
    """
    address = Address("head", experiment.name)
    record = store.get(address)
    arrays = store.read(address)
    parameters = {name.removeprefix("parameter_"): a for name, a in arrays.items() if name.startswith("parameter_")}
    curve = {name.removeprefix("curve_"): array for name, array in arrays.items() if name.startswith("curve_")}
    others = {name: parameters.pop(name) for name in sorted({"prior", "thresholds"} & set(parameters))}
    return FittedHead(experiment.mlp, parameters, curve, record.attributes["head"]["best_epoch"]), others


def _fit_of(experiment: ExperimentSpec) -> dict[str, Any]:
    """What decides a head's numbers, beside its data."""
    return {
        "mlp": plain(experiment.mlp),
        "inputs": plain(experiment.inputs),
        "thresholds": experiment.finish.thresholds,
    }


def _thresholds(experiment: ExperimentSpec, head: FittedHead, examples: Examples) -> NDArray[np.float64] | None:
    """The papers' thresholds: tuned on unsmoothed validation frames, then used on smoothed ones (notebooks)."""
    if experiment.task != "au" or experiment.finish.thresholds == "half":
        return None
    known = np.ones(examples.y.shape, bool)
    return best_thresholds(predict(head, examples.x), examples.y, known)


def _scores(
    experiment: ExperimentSpec, head: FittedHead, thresholds: NDArray[np.float64] | None, examples: Examples
) -> dict[str, Any]:
    scores = score(experiment.task, decide(experiment.task, predict(head, examples.x), thresholds), examples.y)
    return {"headline": scores.headline, "value": scores.value, "frames": scores.frames} | dict(scores.details)


def _all(seen: Seen) -> tuple[Record, ...]:
    return (seen.label, *seen.features)


def _keys(seen: list[Seen]) -> list[str]:
    return [record.key for part in seen for record in _all(part)]
