"""Heads and experiments as a store holds them, ready to be applied to videos that they have not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from affstore import FeatureStore
from affstore.models.ensembles.spec import heads_of, searched_values, with_heads_renamed, with_values
from affstore.models.evaluation.evaluate import TunedParameters
from affstore.models.extractor_specs import IMPORTED, ExtractorSpec, ImportedFeatures
from affstore.store.contract.errors import AffstoreError, NotFoundError, SpecError
from affstore.store.contract.keys import canonical
from affstore.store.contract.labels import LabelSpace
from affstore.store.contract.records import Address, Parent, Record
from affstore.store.contract.schema import address_of
from affstore.tasks.experiments import Experiment
from affstore.tasks.imported_inputs import imported_by
from affstore.tasks.lineage.recorded_specs import head_from, input_spec_from, post_processing_from, spec_from
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.folds import cross_validated_name

NETWORKS = "networks"
"""Where the record of an imported head says which networks it needs: it has no parents in the store."""

POST_PROCESSING = "post_processing"
"""Where the record of an imported head has the smoothing and thresholds that came with it, and who chose them."""

_PROTOCOLS = ("papers", "honest")


@dataclass(frozen=True, slots=True)
class FittedExperiment:
    """Fitted heads, and how their outputs become predictions.

    Attributes:
        name: of the experiment, or of the head.
        heads: fitted; each with its inputs, and with the networks whose embeddings it was fitted on.
        experiment: how their outputs become one; None for a single head, whose outputs are the predictions.
        tuned: what was tuned for the experiment.
        scores: its own, as recorded; empty where it was never scored.
        result: where that was tuned and scored; None for a head.
    """

    name: str
    heads: tuple[HeadRun, ...]
    experiment: Experiment | None
    tuned: TunedParameters | None
    scores: Mapping[str, Any]
    result: Record | None = None

    @property
    def producer(self) -> str:
        """How its predictions are called in a store."""
        return self.experiment.producer if self.experiment else self.name

    @property
    def space(self) -> LabelSpace:
        """What it predicts."""
        return self.heads[0].space

    @property
    def networks(self) -> dict[str, ExtractorSpec]:
        """The networks that its heads need, by name."""
        return {spec.name: spec for head in self.heads for spec in head.extractors}

    def on(self, extractors: Iterable[ExtractorSpec]) -> FittedExperiment:
        """The same on networks of this machine.

        Raises:
            SpecError: one has other parameters than the heads were fitted on.
        """
        here = {spec.name: spec for spec in extractors}
        for name, spec in self.networks.items():
            if here[name].weights.sha256 != spec.weights.sha256:
                raise SpecError(
                    f"'{self.name}' was fitted on '{name}' with the parameters {spec.weights.sha256[:12]}…, and those "
                    f"here are {here[name].weights.sha256[:12]}…. Import the file it was fitted on, by "
                    f"`affstore weights import {spec.weights.name} FILE`."
                )
        heads = tuple(
            replace(head, extractors=tuple(here[spec.name] for spec in head.extractors)) for head in self.heads
        )
        experiment = self.experiment and replace(self.experiment, heads=heads)
        return replace(self, heads=heads, experiment=experiment)


def head_run_of(store: FeatureStore, head: Record, features: Sequence[Parent] = ()) -> HeadRun:
    """The run that a head's record speaks of, but for its division and what experiments do to its outputs.

    What came with an imported head is done to its outputs.

    Args:
        store: that holds it.
        head: its record.
        features: what names its networks, where it is not what the head was fitted on.

    Raises:
        SpecError: this affstore has no such head or network any more, or the store lacks what names a network.
    """
    fit = head.recipe["fit"]
    inputs = tuple(map(spec_from, fit["inputs"]))
    known = {spec.name: spec for spec in map(input_spec_from, networks_of(store, head, features))}
    missing = [part.extractor for part in inputs if part.extractor not in known]
    if missing:
        raise SpecError(
            f"No '{missing[0]}' that '{head.address.producer}' was fitted on is in the store any more, so its input is "
            "not known. Fit it again."
        )
    imported = tuple(spec for spec in known.values() if isinstance(spec, ImportedFeatures))
    networks = tuple(spec for spec in known.values() if not isinstance(spec, ImportedFeatures))
    thresholds = {} if fit["thresholds"] == "half" else {"thresholds": fit["thresholds"]}
    finish = spec_from({"kind": "post-processing", "version": 1, **thresholds})
    came = head.made.get(POST_PROCESSING)
    chosen = post_processing_from(came["finish"]) if came else None
    return HeadRun(
        *(head.address.producer, inputs, head_from(fit["head"]), finish),
        extractors=networks,
        imported=imported,
        chosen=chosen,
    )


def networks_of(store: FeatureStore, head: Record, features: Sequence[Parent] = ()) -> list[dict[str, Any]]:
    """What a head's inputs come from, networks and imported features, as recipes hold them."""
    if NETWORKS in head.made:
        return [dict(one) for one in head.made[NETWORKS]]
    keys = {address_of(parent.path): parent.key for parent in features or head.parents}
    found: dict[str, dict[str, Any]] = {}
    for record in store.find_all([address for address in keys if address.family in ("visual", "audio")]):
        if "extractor" in record.recipe:
            found[record.address.producer] = dict(record.recipe["extractor"])
        elif record.key == keys[record.address]:  # what was imported since may be of another kind
            found[record.address.producer] = canonical(imported_by(store, record))
    return list(found.values())


def fitted_experiment(store: FeatureStore, name: str) -> FittedExperiment:
    """A scored experiment, or a head, by its name; `NAME@honest` means what was tuned under that protocol.

    Raises:
        NotFoundError: the store has none of that name; the message suggests the nearest.
        SpecError: it is not understood any more.
    """
    results = _results(store)
    heads = {address.producer: address for address in store.addresses("head")}
    wanted = name.replace("/", ".")
    for producer in (wanted, *(_producer(wanted, protocol) for protocol in _PROTOCOLS)):
        if producer in results:
            return _scored(store, results[producer], _called(results[producer], results))
    if name not in heads:
        experiments = (str(record.attributes["row"]) for record in results.values())
        otherwise = "`affstore head list` lists its heads, and `affstore status` its results."
        raise NotFoundError.of(store.url, "scored experiment or head", name, {*experiments, *heads}, otherwise)
    record = store.get(heads[name])
    try:
        run = head_run_of(store, record)
    except KeyError as error:
        raise SpecError(
            f"The head '{name}' was fitted by another affstore: its record has no {error}. Fit it again."
        ) from error
    return FittedExperiment(name, (run,), None, None, record.attributes["scores"] or {})


def best_of(store: FeatureStore, task: str) -> list[str]:
    """The store's experiments and imported heads of a task, the best first: by their scores, then by their names."""
    results = [record for record in _results(store).values() if record.attributes["task"] == task]
    results = [record for record in results if not record.attributes["seen"]]
    results.sort(key=lambda record: (-float(record.attributes["scores"]["value"]), record.address.producer))
    imported = [
        record.address.producer
        for record in store.records("head")
        if record.attributes["task"] == task and NETWORKS in record.made
    ]
    return [*(str(record.attributes["row"]) for record in results), *sorted(imported)]


def heads_on_imported_features(store: FeatureStore) -> list[HeadRun]:
    """The store's heads that take imported features, as far as it still has what names these."""
    found = []
    for record in store.records("head"):
        inputs = record.recipe.get("fit", {}).get("inputs", ())
        if any(str(part.get("extractor")).startswith(IMPORTED) for part in inputs):
            try:
                found.append(head_run_of(store, record))
            except (AffstoreError, KeyError):  # fitted on what was imported anew since, or by another affstore
                continue
    return found


def experiment_names(store: FeatureStore) -> set[str]:
    """How the store calls the predictions of its scored experiments."""
    results = _results(store)
    return {_called(one, results).replace("/", ".") for one in results.values()}


def result_of(store: FeatureStore, producer: str) -> Record | None:
    """The result of the experiment whose predictions are called so, where what was tuned for them was chosen."""
    results = _results(store)
    named = (one for one in results.values() if _called(one, results).replace("/", ".") == producer)
    return next(named, None)


def experiments_on(store: FeatureStore, head: str) -> list[str]:
    """The scored experiments that have a head and no other, by the names under which they can be applied."""
    results, found = _results(store), []
    for result in results.values():
        try:
            heads = list(_stored_names(result).values())
        except (SpecError, KeyError):  # of an affstore that had other fields
            continue
        found += [_called(result, results)] if heads == [head] else []
    return sorted(found)


def _results(store: FeatureStore) -> dict[str, Record]:
    return {record.address.producer: record for record in store.records("result")}


def _called(result: Record, results: Mapping[str, Record]) -> str:
    """How predictions by a result are called: by the protocol too, where another's bear the experiment's name."""
    name, protocol = str(result.attributes["row"]), str(result.attributes["protocol"])
    first = next(one for one in _PROTOCOLS if one == protocol or _producer(name, one) in results)
    return name if first == protocol else f"{name}@{protocol}"


def _producer(name: str, protocol: str) -> str:
    return f"{name.replace('/', '.')}@{protocol}"


def _scored(store: FeatureStore, result: Record, name: str) -> FittedExperiment:
    """The experiment that a result is of, with what was tuned for it, under a name for its predictions."""
    asked, attributes = result.recipe["asked"], result.attributes
    evaluation, names = spec_from(asked["judging"]), _stored_names(result)
    method = with_heads_renamed(evaluation.method, names)
    runs = tuple(head_run_of(store, store.get(Address("head", head))) for head in names.values())
    chosen = attributes["chosen"]
    numbers = {number: chosen[number] for number in searched_values(method)}
    thresholds = chosen.get("thresholds")
    tuned = TunedParameters(
        with_values(method, numbers), int(chosen["smooth_frames"]), None if thresholds is None else tuple(thresholds)
    )
    experiment = Experiment(name, name, "", runs, replace(evaluation, method=method), asked.get("requires", ""))
    return FittedExperiment(name, runs, experiment, tuned, attributes["scores"], result)


def _stored_names(result: Record) -> dict[str, str]:
    """How the store calls the heads that a result is of, by the names that its experiment has for them."""
    honest = result.attributes["protocol"] == "honest"
    heads = heads_of(spec_from(result.recipe["asked"]["judging"]).method)
    return {head: cross_validated_name(head) if honest else head for head in heads}
