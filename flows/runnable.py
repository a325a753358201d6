"""A run's experiments as this machine and its store can run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from affstore import FeatureStore
from affstore.flows.config.experiments import extractors_of
from affstore.flows.config.heads import named
from affstore.flows.config.run_config import RunConfig
from affstore.models.extractor_specs import ImportedFeatures
from affstore.models.extractors.registry import spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.specs import DetectorSpec
from affstore.models.heads.kinds import kind_of
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import AffstoreError, SpecError, WeightsError
from affstore.store.contract.extras import require_extra
from affstore.tasks.experiments import Experiment, ExperimentOutcome
from affstore.tasks.imported_inputs import features_called
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.folds import shortened


@dataclass(frozen=True, slots=True)
class RunnableExperiments:
    """The experiments of a run, and what about them differs from what was asked.

    Attributes:
        experiments: those that can run.
        refused: the others, with the reason: weights of a network are missing, or features that are to be imported.
        notes: what differs, as a person should read it.
    """

    experiments: tuple[Experiment, ...]
    refused: tuple[ExperimentOutcome, ...] = ()
    notes: tuple[str, ...] = ()


def runnable(config: RunConfig, store: FeatureStore) -> RunnableExperiments:
    """Check a configuration's experiments against this machine and a store, which says what imported features are.

    Where a corpus has no crop folders of the kind that an experiment names, faces are cut from its videos instead.

    Raises:
        AffstoreError: no experiment could run.
    """
    experiments: Sequence[Experiment] = config.experiments
    if not experiments:
        return RunnableExperiments(())
    kinds = {address.producer for address in store.addresses("face")} | set(config.crops)
    missing = sorted(_kinds(experiments) - kinds)
    notes = [
        f"There are no '{kind}' faces here: faces are found in the videos by {DetectorSpec().name} instead."
        for kind in missing
    ]
    experiments = [_on_detected_faces(one, missing) for one in experiments]
    if config.brief:
        experiments = [one.with_heads(shortened) for one in experiments]
        notes.append("Trainings were cut short, only to see that everything runs: these numbers are no results.")
    possible, refused = _that_can_run(experiments, store, untrained=config.weights == "untrained")
    return RunnableExperiments(tuple(possible), refused, tuple(notes))


def _that_can_run(
    experiments: Sequence[Experiment], store: FeatureStore, untrained: bool
) -> tuple[list[Experiment], tuple[ExperimentOutcome, ...]]:
    """The experiments that have what their inputs and heads need here; the others with the reason.

    Raises:
        AffstoreError: no experiment could run; the message is that of the first.
    """
    folder, faults = default_folder(), dict[str, AffstoreError]()
    for name in extractors_of(experiments):
        try:
            resolve_weights(folder, spec_of(name).weights, untrained=untrained)
        except WeightsError as error:
            faults[name] = error
    imported = dict[str, ImportedFeatures]()
    parts = (part for one in experiments for head in one.heads for part in head.inputs)
    for name in dict.fromkeys(part.extractor for part in parts if part.is_imported):
        try:
            imported[name] = features_called(store, name)
        except SpecError as error:
            faults[name] = error
    lacking = {one.name: fault for one in experiments if (fault := _fault(one, faults)) is not None}
    if len(lacking) == len(experiments):
        raise next(iter(lacking.values()))
    refused = tuple(
        ExperimentOutcome(one, "failed", str(lacking[one.name])) for one in experiments if one.name in lacking
    )
    possible = [one for one in experiments if one.name not in lacking]
    return [one.with_heads(lambda head: _with_imported(head, imported)) for one in possible], refused


def _with_imported(head: HeadRun, known: Mapping[str, ImportedFeatures]) -> HeadRun:
    return replace(head, imported=tuple(known[part.extractor] for part in head.inputs if part.is_imported))


def _fault(experiment: Experiment, faults: Mapping[str, AffstoreError]) -> AffstoreError | None:
    try:
        for head in experiment.heads:
            require_extra(kind_of(head.head).extra, f"The experiment '{experiment.name}'")
    except SpecError as error:
        return error
    names = [part.extractor for head in experiment.heads for part in head.inputs]
    return next((faults[name] for name in names if name in faults), None)


def _on_detected_faces(experiment: Experiment, kinds: Sequence[str]) -> Experiment:
    """An experiment that takes no face from folders of these kinds."""
    found = experiment.with_heads(lambda head: _without_folders(head, kinds))
    return replace(found, requires=DetectorSpec().name) if experiment.requires in kinds else found


def _without_folders(head: HeadRun, kinds: Iterable[str]) -> HeadRun:
    """A head whose inputs take no face from folders of these kinds."""
    inputs = tuple(
        replace(part, extractor=part.extractor.removesuffix(f"@{kind}"))
        if (kind := head.faces_of(part)) in kinds
        else part
        for part in head.inputs
    )
    if inputs == head.inputs:
        return head
    return named(replace(head, inputs=inputs))


def _kinds(experiments: Iterable[Experiment]) -> set[str]:
    """The kinds of crop folders that experiments want."""
    required = {one.requires for one in experiments} - {""}
    faces = {head.faces_of(part) for one in experiments for head in one.heads for part in head.inputs}
    return (faces | required) - {DetectorSpec().name, ""}
