"""Keep the predictions of every experiment, publish them, and tag the snapshot they come from."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from affstore import FeatureStore, content_digest
from affstore.flows.commits import commit_finished
from affstore.flows.config.run_config import PublishConfig
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.models.ensembles.spec import with_heads_renamed
from affstore.models.evaluation.evaluate import TunedParameters
from affstore.store.contract.errors import StoreError
from affstore.store.contract.records import Record
from affstore.store.engine.exporters.base import export
from affstore.tasks.experiments import Experiment, ExperimentOutcome
from affstore.tasks.lineage.publication import NOTE, write_note
from affstore.tasks.lineage.stored_heads import FittedExperiment
from affstore.tasks.outcomes import Outcome, refused
from affstore.tasks.predict.experiments import predict_experiment, publish_experiment
from affstore.tasks.specs import WorkerContext
from affstore.tasks.training.folds import cross_validated_name


@dataclass(frozen=True, slots=True)
class TunedExperiment:
    """An experiment, and what was tuned for it: all that its predictions need beside the heads' outputs."""

    experiment: Experiment
    tuned: TunedParameters

    @property
    def name(self) -> str:
        """The experiment's."""
        return self.experiment.name


@stage("predict experiments")
def predict_experiments(context: WorkerContext, experiments: Sequence[TunedExperiment]) -> list[Outcome]:
    """One task an experiment: what it predicts with what was tuned for it, for every subject of every video."""
    watching().stage("combine", len(experiments))
    units = {one.name: (context, one.experiment, one.tuned) for one in experiments}
    return commit_finished(context, predict_experiment, units)


@stage("predict")
def predict_again(context: WorkerContext, fitted: Sequence[FittedExperiment], among: Collection[str]) -> list[Outcome]:
    """What experiments of the store predict for some videos; one task an experiment."""
    units = {
        one.experiment.name: (context, one.experiment, one.tuned, tuple(sorted(among)))
        for one in fitted
        if one.experiment is not None
    }
    if not units:
        return []
    watching().stage("combine", len(units))
    return commit_finished(context, predict_experiment, units)


def with_heads_of_result(outcome: ExperimentOutcome) -> TunedExperiment:
    """An experiment with what its first protocol tuned, on the heads of that: of `honest` alone, those of that name."""
    first = outcome.results[0]
    if first.protocol == "papers":
        return TunedExperiment(outcome.experiment, first.tuned)
    names = {head.name: cross_validated_name(head.name) for head in outcome.experiment.heads}
    tuned = replace(first.tuned, method=with_heads_renamed(first.tuned.method, names))
    return TunedExperiment(outcome.experiment.with_heads(lambda head: replace(head, name=names[head.name])), tuned)


@stage("publish")
def publish(
    context: WorkerContext, experiments: Sequence[TunedExperiment], to: PublishConfig
) -> tuple[list[Outcome], tuple[Path, ...], str]:
    """Challenge files and Parquet in `to.folder/<tag>`, and the tag on the snapshot; a published tag never changes."""
    store = context.store()
    try:
        tag = to.tag or _tag_of_content(store)
        store.tag(tag)
    except StoreError as error:
        return [refused("publish", to.tag or "tag", error)], (), ""
    folder = (to.folder or Path()) / tag
    outcomes = write_files(context, tag, experiments, folder, to.samples)
    names = _names(experiments)
    tagged = context.store(tag)
    predictions = [record for record in tagged.records("prediction") if record.address.producer in names]
    tables = folder / "parquet"
    if predictions and not tables.exists():
        _export_whole(tagged, predictions, tables)
    written = [(tables / "prediction" / f"{name}.parquet", name) for name in names]
    if tables.is_dir():
        write_note(folder, [one for one in written if one[0].is_file()], tagged.snapshot, tag)
    return outcomes, tuple(sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NOTE)), tag


def _names(experiments: Sequence[TunedExperiment]) -> list[str]:
    """How the store calls the experiments' predictions, sorted."""
    return sorted(one.experiment.producer for one in experiments)


def write_files(
    context: WorkerContext,
    at: str,
    experiments: Sequence[TunedExperiment],
    folder: Path,
    samples: Mapping[str, Path],
) -> list[Outcome]:
    """The challenge file of every experiment, from the tag or snapshot `at`."""
    watching().stage("publish", len(experiments))
    units = {
        one.name: (context, at, one.experiment, one.tuned, folder, samples.get(one.experiment.task))
        for one in experiments
    }
    outcomes = commit_finished(context, publish_experiment, units)
    store, files = context.store(at), [(folder / f"{name}.txt", name) for name in _names(experiments)]
    if folder.is_dir():
        write_note(folder, [one for one in files if one[0].is_file()], store.snapshot, at if at in store.tags() else "")
    return outcomes


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
