"""Which heads, and which of their predictions, are fresh, missing or stale."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from affstore import FeatureStore
from affstore.store.contract.keys import changes, key_of
from affstore.store.contract.records import Address, Record
from affstore.tasks.imported_inputs import lacks_features
from affstore.tasks.plan_rows import PlanRow
from affstore.tasks.predict.videos import judges, prediction_recipe
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import features_of, subjects_of
from affstore.tasks.training.train import head_recipe


def plan_with(store: FeatureStore, rows: Iterable[PlanRow], heads: Iterable[HeadRun]) -> list[PlanRow]:
    """The plan of a store's artifacts, with what heads want in it.

    Where a row says already that an artifact is stale because of what it came from, that reason stays.
    """
    found = {row.address.path: row for row in rows}
    for head_run in heads:
        _want_head(found, store, head_run)
        for source in store.records("source"):
            for subject in subjects_of(store, source.address.video, head_run):
                if judges(store, head_run, source.address.video):
                    _want_prediction(found, store, head_run, source, subject)
    return list(found.values())


def plan_heads(store: FeatureStore, rows: Iterable[PlanRow], heads: Iterable[HeadRun]) -> list[PlanRow]:
    """The heads that are missing or stale; see `plan_with`."""
    found = {row.address.path: row for row in rows if row.address.family == "head"}
    for head_run in heads:
        _want_head(found, store, head_run)
    return list(found.values())


def plan_predictions(store: FeatureStore, heads: Iterable[HeadRun], videos: Collection[str]) -> list[PlanRow]:
    """The predictions of fitted heads that some videos lack, as far as the store has what the heads need for them."""
    found: dict[str, PlanRow] = {}
    for head in heads:
        fitted = store.get(Address("head", head.name))
        for video in videos:
            for subject in subjects_of(store, video, head):
                features = features_of(store, video, subject, head)
                if features is not None:
                    address = Address("prediction", head.name, video, subject)
                    _want(found, store, address, prediction_recipe(head, fitted, features))
    return list(found.values())


def _want_head(found: dict[str, PlanRow], store: FeatureStore, head_run: HeadRun) -> None:
    _want(found, store, Address("head", head_run.name), head_recipe(store, head_run))


def _want_prediction(
    found: dict[str, PlanRow], store: FeatureStore, head_run: HeadRun, source: Record, subject: str
) -> None:
    address = Address("prediction", head_run.name, source.address.video, subject)
    head = store.find(Address("head", head_run.name))
    features = features_of(store, address.video, address.subject, head_run)
    frames = int(source.attributes["frames"])
    if head is None or features is None:
        # What nobody imported is no work that a run could do.
        lacks = lacks_features(store, head_run, address.video)
        found[address.path] = PlanRow(address, "missing", lacks or "not computed yet", frames, requested=not lacks)
        return
    _want(found, store, address, prediction_recipe(head_run, head, features), frames)


def _want(found: dict[str, PlanRow], store: FeatureStore, address: Address, recipe: Any, frames: int = 0) -> None:
    stored = store.find(address)
    if stored is None:
        found[address.path] = PlanRow(address, "missing", "not computed yet", frames)
    elif address.path in found and found[address.path].due:
        found[address.path] = replace(found[address.path], requested=True)
    elif stored.key != key_of(recipe):
        found[address.path] = PlanRow(address, "stale", "; ".join(changes(stored.recipe, recipe)), frames)
