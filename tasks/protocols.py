"""The heads of a row under each protocol: as the papers fit them, or with everything chosen by cross-validation."""

from __future__ import annotations

from dataclasses import replace

from affstore import FeatureStore
from affstore.models.heads.automl_specs import AutoMlSpec
from affstore.models.heads.divisions import Division
from affstore.models.heads.finetune_specs import FineTuneSpec
from affstore.models.heads.kinds import HeadSpec
from affstore.models.heads.sequence_specs import SequenceSpec
from affstore.store.contract.records import Address
from affstore.tasks.head_kinds import fixed_epochs
from affstore.tasks.specs import ExperimentSpec


def folds_of(experiment: ExperimentSpec, folds: int) -> tuple[ExperimentSpec, ...]:
    """An experiment once for each fold: fitted on the other folds of its training videos, judged on that one."""
    return tuple(
        replace(
            experiment,
            name=f"{experiment.name}-fold{i + 1}of{folds}",
            division=Division(experiment.division.train, (), folds, i, experiment.division.seed),
        )
        for i in range(folds)
    )


def with_fixed_epochs(store: FeatureStore, experiment: ExperimentSpec, folds: int) -> ExperimentSpec:
    """An experiment fitted on all of its training videos, for as many epochs as its folds' heads found best.

    The middle one of the folds' best epochs is taken; the lower of two.

    Raises:
        NotFoundError: a fold's head is not in the store.
    """
    best = [
        int(store.get(Address("head", fold.name)).attributes["head"]["best_epoch"]) + 1
        for fold in folds_of(experiment, folds)
    ]
    return _fixed(experiment, sorted(best)[(len(best) - 1) // 2])


def honest_name(experiment: ExperimentSpec) -> str:
    """How the head is called that is fitted without ever looking at the validation videos."""
    return f"{experiment.name}-honest"


def _fixed(experiment: ExperimentSpec, epochs: int) -> ExperimentSpec:
    division = replace(experiment.division, validation=())
    head = fixed_epochs(experiment.head, epochs)
    return replace(experiment, name=honest_name(experiment), head=head, division=division)


def briefly(experiment: ExperimentSpec) -> ExperimentSpec:
    """An experiment whose training is cut short, only to see that it runs; the name of its head says so."""
    head: HeadSpec = experiment.head
    if isinstance(head, SequenceSpec):
        encoder = replace(head.encoder, layers=min(head.encoder.layers, 2))
        head = replace(head, encoder=encoder, epochs=min(head.epochs, 3), evaluations=1, batch=4)
    elif isinstance(head, FineTuneSpec):
        head = replace(head, epochs=1, batch=16, train_stride=24, validation_stride=24)
    elif isinstance(head, AutoMlSpec):
        head = replace(head, timeout_s=20, algorithms=("linear_l2",), folds=2, cpus=1)
    if head == experiment.head:
        return experiment
    return replace(experiment, name=f"{experiment.name}-brief", head=head)
