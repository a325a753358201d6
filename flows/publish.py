"""Publish the predictions of every experiment and tag the snapshot they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.commits import commit_finished
from flows.config import PublishConfig
from flows.watch import watching
from store import FeatureStore, content_digest
from store.engine.export import export
from tasks.outcomes import Outcome
from tasks.publish import publish_experiment
from tasks.specs import Bench, ExperimentSpec


@flow(name="publish", flow_run_name="publish {bench.run_id}", validate_parameters=False, persist_result=False)
def publish(
    bench: Bench, experiments: Sequence[ExperimentSpec], to: PublishConfig
) -> tuple[list[Outcome], tuple[Path, ...], str]:
    """Challenge files and Parquet in `to.folder/<tag>`, and the tag on the snapshot; a published tag never changes."""
    store = FeatureStore(bench.store_url)
    tag = to.tag or f"published-{content_digest(store)[:12]}"
    store.tag(tag)
    folder = to.folder / tag
    watching().stage("publish", len(experiments))
    futures = {
        experiment.name: publish_experiment.submit(bench, experiment, folder, to.samples.get(experiment.task))
        for experiment in experiments
    }
    outcomes = commit_finished(bench, "publish", futures)
    names = {experiment.name for experiment in experiments}
    predictions = [record for record in store.records("prediction") if record.address.producer in names]
    tables = folder / "parquet"
    if predictions and not tables.exists():
        export(store, predictions, tables, "parquet")
    return outcomes, tuple(sorted(path for path in folder.rglob("*") if path.is_file())), tag
