"""Score an experiment on the predictions of its heads, under one protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.evaluation.bootstrap import bootstrap_interval, whole_videos
from affstore.models.evaluation.evaluate import (
    EvaluationSpec,
    EvaluationVideo,
    TunedParameters,
    predict_video,
)
from affstore.models.evaluation.metrics import Scores, chance, confusion_matrix, measures, score
from affstore.models.evaluation.tune import choose, kernel_curve, threshold_curve
from affstore.models.heads.splits import Folds
from affstore.store.contract.errors import AnnotationError, NotFoundError
from affstore.store.contract.keys import plain
from affstore.store.contract.labels import SpaceKind
from affstore.store.contract.names import join_subject
from affstore.store.contract.records import Address, Artifact, Record, least_trusted
from affstore.tasks import recipes
from affstore.tasks.experiments import Experiment, ExperimentResult, Protocol, SubjectPrediction, decisions_and_labels
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import face_of, held_out, labels_of, named_subjects, subject_of
from affstore.tasks.training.folds import cross_validated_name, folds_of, scores_held_out

_DRAWS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class SubjectOutputs:
    """A labelled subject as the heads of an experiment see it, and where that is stored.

    Attributes:
        video: for the arithmetic.
        records: its label and the predictions of every head.
    """

    video: EvaluationVideo
    records: tuple[Record, ...]


def result_artifact(
    store: FeatureStore,
    experiment: Experiment,
    protocol: Protocol,
    folds: Folds,
    together: Sequence[Sequence[str]] | None = None,
) -> tuple[Artifact, ExperimentResult]:
    """Score an experiment on the validation videos: its result as the store keeps it, and as it is shown.

    Args:
        store: with the predictions of the experiment's heads; under `honest`, also of their folds, and of the heads
            with fixed epochs.
        experiment: what is scored.
        protocol: what chooses thresholds, kernel and weights: the validation videos, or the folds of train.
        folds: of `honest`.
        together: the scored videos of each group that has several, for the interval; None for those of `folds`.

    Raises:
        AnnotationError: there is no labelled frame to choose or to score on.
        NotFoundError: a head was not fitted.
        SpecError: parts of the method do not fit each other.
    """
    result, used = _result(store, experiment, protocol, folds, together)
    asked = result_recipe_fields(experiment, protocol, folds, result.drawn_together)
    scores, space = result.scores, experiment.space
    arrays: dict[str, NDArray[Any]] = {}
    if result.curve:
        arrays["curve_x"] = np.array(list(result.curve), np.float32)
        arrays["curve_y"] = np.array(list(result.curve.values()), np.float32)
    if space.kind is SpaceKind.CLASSES:
        arrays["confusion_matrix"] = confusion_matrix(*result.decisions_and_labels, len(space)).astype(np.float32)
    artifact = Artifact(
        result_address(experiment, protocol),
        recipes.result(asked, [record.key for record in used]),
        arrays,
        {
            "row": experiment.name,
            "task": experiment.task,
            "protocol": protocol,
            "scores": {"headline": scores.headline, "value": scores.value, "frames": scores.frames, **scores.details},
            "interval": list(result.interval),
            "chosen": plain(dict(result.chosen)),
            "paper": plain(dict(experiment.paper)),
            "seen": result.trained_on,
        },
        tuple(sorted({record.as_parent() for record in used})),
        {"engine": "numpy", "device": "cpu", "precision": "float64", "provenance": result.provenance},
    )
    return artifact, result


def result_address(experiment: Experiment, protocol: Protocol) -> Address:
    """Where an experiment's result lives."""
    return Address("result", f"{experiment.producer}@{protocol}")


def _result(
    store: FeatureStore,
    experiment: Experiment,
    protocol: Protocol,
    folds: Folds,
    together: Sequence[Sequence[str]] | None,
) -> tuple[ExperimentResult, tuple[Record, ...]]:
    evaluation, honest = experiment.evaluation, protocol == "honest"
    heads = {head.name: _honest(head) if honest else head for head in experiment.heads}
    by_fold = _out_of_fold(store, experiment, folds) if honest else []
    held_out = [one for fold in by_fold for one in fold]
    reports_held_out = honest and scores_held_out(store, experiment.space)
    labels = labels_of(store, experiment.space, ("validation",))
    subjects = held_out if reports_held_out else subject_outputs(store, heads, labels, experiment.requires)
    videos = [one.video for one in subjects]
    chooses = held_out if honest else subjects
    chosen = choose(evaluation, [one.video for one in chooses], search=honest)
    if reports_held_out:
        predictions = tuple(_nested(evaluation, by_fold))
    else:
        predictions = tuple(_prediction(evaluation, chosen, video) for video in videos)
    names = {address.video for address in store.addresses("source")}
    scored = {one.records[0].address.video for one in subjects}
    groups = _videos_of_groups(store, folds, scored) if together is None else tuple(map(tuple, together))
    decided = ((one.name, (one.label, one.value, one.known)) for one in predictions)
    drawn = whole_videos(decided, names, groups)
    interval = bootstrap_interval(experiment.space, drawn, experiment.evaluation.without, draws=_DRAWS)
    records = tuple(
        record for one in (*subjects, *(chooses if chooses is not subjects else ())) for record in one.records
    )
    return ExperimentResult(
        experiment,
        protocol,
        _with_measures(experiment, _score(evaluation, predictions), predictions),
        interval,
        {**chosen.as_dict(), **_epochs(store, heads), **({"reported": "held-out folds"} if reports_held_out else {})},
        predictions,
        _curve(experiment, evaluation, chosen, videos),
        trained_on=any("validation" in head.division.train for head in experiment.heads),
        provenance=least_trusted(record.provenance for record in records),
        tuned=chosen,
        by_chance=_by_chance(store, experiment, videos),
        drawn_together=groups,
    ), records


def _videos_of_groups(store: FeatureStore, folds: Folds, videos: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """The videos of each group that has several of them; a video without a group, or of two, is one by itself."""
    found: dict[str, list[str]] = {}
    for video in sorted(videos) if folds.groups else ():
        names = (video, *store.get(Address("source", video=video)).attributes["aliases"])
        with suppress(AnnotationError):
            found.setdefault(folds.group_of(names), []).append(video)
    return tuple(sorted(tuple(group) for group in found.values() if len(group) > 1))


def _by_chance(store: FeatureStore, experiment: Experiment, videos: Sequence[EvaluationVideo]) -> float | None:
    """What the best constant answer scores; None where there is nothing to choose it on, or classes are left out."""
    train = [store.read(label.address) for label in labels_of(store, experiment.space, ("train",))]
    if not train or experiment.evaluation.without:
        return None
    value, known = (np.concatenate([getattr(video, name) for video in videos]) for name in ("value", "known"))
    known = known & known.all(axis=1, keepdims=True)  # on the frames that are scored
    learnt, learnt_known = (np.concatenate([label[name] for label in train]) for name in ("value", "known"))
    try:
        return chance(experiment.space, value, known, learnt, learnt_known).value
    except AnnotationError:
        return None


def subject_outputs(
    store: FeatureStore, heads: Mapping[str, HeadRun], labels: Sequence[Record], requires: str = ""
) -> list[SubjectOutputs]:
    """Labelled subjects with every head's outputs for them; those that a head has no prediction of are left out.

    A frame is scored where it is labelled and every face that a head needs is there, as in the papers; where no head
    needs one, where there is sound, and the face that is required.

    Args:
        store: an open store.
        heads: by the name under which the experiment's method knows each: the experiment whose predictions are taken.
        labels: of the experiment's task.
        requires: see `Experiment`.

    Raises:
        NotFoundError: a head was not fitted.
        AnnotationError: there is nobody to judge.
    """
    for head in heads.values():
        if store.find(Address("head", head.name)) is None:
            raise NotFoundError(f"The head '{head.name}' is not in the store: it was not, or could not be, fitted.")
    found = [one for label in labels if (one := _outputs_of(store, heads, label, requires)) is not None]
    if not found:
        faces = f", and faces of '{requires}'" if requires else ""
        raise AnnotationError(
            f"No labelled video has predictions of all heads{faces}. Add annotations of validation videos, or say "
            "--protocol honest, which reports held-out training videos where there are none."
        )
    return found


def _outputs_of(
    store: FeatureStore, heads: Mapping[str, HeadRun], label: Record, requires: str
) -> SubjectOutputs | None:
    video = label.address.video
    named = named_subjects(store, video)
    arrays: dict[str, NDArray[np.float32]] = {}
    sees: list[NDArray[np.bool_]] = []
    hears: list[NDArray[np.bool_]] = []
    records = [label]
    for name, head in heads.items():
        subject = subject_of(store, head, label.address, named)
        record = store.find(Address("prediction", head.name, video, subject)) if subject else None
        fitted = store.find(Address("head", head.name))
        if record is None or fitted is None or record.recipe["head"] != fitted.key:
            return None  # a prediction by an earlier fit of the head is not counted
        read = store.read(record.address, ["raw", "present"])
        arrays[name] = read["raw"]
        (sees if head.faces else hears).append(read["present"])
        records.append(record)
    if requires:
        subject = face_of(store, Address("face", requires, video, label.address.subject), named)
        face = store.find(Address("face", requires, video, subject)) if subject else None
        if face is None:
            return None
        sees = [store.read(face.address, ["present"])["present"], *map(_or_one_before, hears)]
        records.append(face)
    truth = store.read(label.address)
    present: NDArray[np.bool_] = np.logical_and.reduce(sees or hears)
    name = join_subject(video, label.address.subject)
    evaluated = EvaluationVideo(name, arrays, truth["value"], truth["known"] & present[:, None], present)
    return SubjectOutputs(evaluated, tuple(records))


def _or_one_before(heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where there is sound at a frame or the one before: the papers' code takes image `number − 1` where it has none.

    What a head says is filled already. After the end of the sound its last row stands, which is that of the frame
    before, and in the middle no frame lacks sound.
    """
    return heard | np.concatenate([[False], heard[:-1]])


def _nested(evaluation: EvaluationSpec, by_fold: Sequence[Sequence[SubjectOutputs]]) -> Iterator[SubjectPrediction]:
    """Every fold's subjects, as predicted with what the other folds choose."""
    for number, fold in enumerate(by_fold):
        others = [one.video for other, subjects in enumerate(by_fold) if other != number for one in subjects]
        chosen = choose(evaluation, others, search=True)
        yield from (_prediction(evaluation, chosen, one.video) for one in fold)


def _score(evaluation: EvaluationSpec, predictions: Sequence[SubjectPrediction]) -> Scores:
    """The score of all frames together of which every column is known, as the papers do it."""
    return score(evaluation.task, *decisions_and_labels(evaluation, predictions), None, evaluation.without)


def _out_of_fold(store: FeatureStore, experiment: Experiment, folds: Folds) -> list[list[SubjectOutputs]]:
    """By fold, every training subject with the outputs of the heads that were not fitted on it.

    A prediction that another cut into folds has left in the store is not counted.
    """
    found: list[list[SubjectOutputs]] = []
    labels = labels_of(store, experiment.space, ("train",))
    for number in range(folds.count):
        heads = {head.name: folds_of(head, folds)[number] for head in experiment.heads}
        (fold, *_) = heads.values()
        fold_labels = [label for label in labels if held_out(store, fold, label.address.video)]
        judged = (_outputs_of(store, heads, label, experiment.requires) for label in fold_labels)
        found.append([one for one in judged if one is not None])
    if not any(found):
        raise AnnotationError("No labelled training video has predictions of the folds' heads.")
    return [fold for fold in found if fold]


def _honest(head: HeadRun) -> HeadRun:
    return replace(head, name=cross_validated_name(head.name))


def _prediction(evaluation: EvaluationSpec, chosen: TunedParameters, video: EvaluationVideo) -> SubjectPrediction:
    scores, label = predict_video(evaluation, chosen, video)
    return SubjectPrediction(video.name, scores, label, video.value, video.known)


def _curve(
    experiment: Experiment, evaluation: EvaluationSpec, chosen: TunedParameters, videos: Sequence[EvaluationVideo]
) -> Mapping[float, float]:
    if experiment.sweep is None:
        return {}
    if experiment.sweep.of == "smooth_frames":
        return kernel_curve(evaluation, chosen, videos, experiment.sweep.values, experiment.sweep.measure)
    return threshold_curve(evaluation, chosen, videos, experiment.sweep.values)


def _epochs(store: FeatureStore, heads: Mapping[str, HeadRun]) -> dict[str, Any]:
    """How many epochs each trained head had when its parameters were kept."""
    records = {name: store.get(Address("head", head.name)) for name, head in heads.items()}
    trained = {name: record for name, record in records.items() if record.attributes["head"]["head"].get("epochs")}
    return {f"epochs of {name}": int(r.attributes["head"]["best_epoch"]) + 1 for name, r in trained.items()}


def _with_measures(experiment: Experiment, scores: Scores, predictions: Sequence[SubjectPrediction]) -> Scores:
    """Scores with all measures of the label space among their details, on the frames that are scored."""
    known = [one.known & one.scored_frames(experiment.evaluation)[:, None] for one in predictions]
    output, label, value = (
        np.concatenate(parts) for parts in zip(*((s.scores, s.label, s.value) for s in predictions), strict=True)
    )
    return replace(
        scores, details={**measures(experiment.space, output, label, value, np.concatenate(known)), **scores.details}
    )


def result_recipe_fields(
    experiment: Experiment, protocol: Protocol, folds: Folds, together: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """What decides a result's numbers, beside predictions and labels; see `result_artifact`."""
    fields: dict[str, Any] = {
        "judging": experiment.evaluation,
        "sweep": experiment.sweep,
        "protocol": protocol,
        "draws": _DRAWS,
    }
    # What was computed before experiments could require a face keeps its key.
    fields |= {"requires": experiment.requires} if experiment.requires else {}
    if protocol == "honest":
        fields |= {"folds": folds.count} | ({"each_group": True} if folds.each_group else {})
    # Nor does the key of a result change whose videos are of one group each, or of none.
    return fields | ({"drawn_together": [list(group) for group in together]} if together else {})


def same(store: FeatureStore, artifact: Artifact) -> bool:
    """Whether the store holds an artifact already."""
    stored = store.find(artifact.address)
    return stored is not None and stored.is_of(artifact.recipe, artifact.parents)
