"""Publish the predictions of every experiment and tag the snapshot they come from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from affstore import FeatureStore, content_digest
from affstore.flows.commits import commit_finished
from affstore.flows.config.run_config import PublishConfig
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Record
from affstore.store.engine.exporters.base import export
from affstore.tasks.lineage.publication import NOTE, write_note
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.predict.publish import publish_experiment
from affstore.tasks.specs import HeadRun, WorkerContext


@stage("publish")
def publish(
    context: WorkerContext, experiments: Sequence[HeadRun], to: PublishConfig
) -> tuple[list[Outcome], tuple[Path, ...], str]:
    """Challenge files and Parquet in `to.folder/<tag>`, a note of their origin, and the tag on the snapshot.

    A published tag never changes.
    """
    store = FeatureStore(context.store_url)
    try:
        tag = to.tag or _tag_of_content(store)
        store.tag(tag)
    except StoreError as error:
        return [refused("publish", to.tag or "tag", error)], (), ""
    folder = to.folder / tag
    watching().stage("publish", len(experiments))
    units = {
        experiment.name: (context, tag, experiment, folder, to.samples.get(experiment.task))
        for experiment in experiments
    }
    outcomes = commit_finished(context, publish_experiment, units)
    names = {experiment.name for experiment in experiments}
    tagged = FeatureStore(context.store_url, tag)
    predictions = [record for record in tagged.records("prediction") if record.address.producer in names]
    tables = folder / "parquet"
    if predictions and not tables.exists():
        _export_whole(tagged, predictions, tables)
    if folder.is_dir():
        forms = [(folder, ".txt"), (tables / "prediction", ".parquet")]
        files = [(place / f"{name}{ending}", name) for name in sorted(names) for place, ending in forms]
        write_note(folder, [(path, name) for path, name in files if path.is_file()], tagged.snapshot, tag)
    return outcomes, tuple(sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NOTE)), tag


def _tag_of_content(store: FeatureStore) -> str:
    """A tag made of what is published; where that was published before under it, that tag again."""
    tag = f"published-{content_digest(store)[:12]}"
    known = store.tags()
    # The same content under another snapshot: a video was renamed, or given again.
    return tag if known.get(tag, store.snapshot) == store.snapshot else f"{tag}-{store.snapshot[:8].lower()}"


def _export_whole(store: FeatureStore, predictions: Sequence[Record], to: Path) -> None:
    """Write the tables beside their place first, so that a killed run leaves no half of them in it."""
    new = to.with_name(f"{to.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    export(store, predictions, new, "parquet")
    new.rename(to)
