"""How each kind of head is fitted on what the store holds, and what it says of a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.kinds import HeadSpec
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.pretrained import PretrainedSpec, pretrained_scores
from affstore.models.heads.sequence.spec import SequenceSpec
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.records import Record
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.examples import LabelledSubject, read_examples, read_features
from affstore.tasks.training.frame_dataset import StoreFrames
from affstore.tasks.training.sequence_dataset import StoreSequences, streams_of

Arrays = dict[str, NDArray[Any]]
FramePredictions = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""`(frames, outputs)`, and `(frames,)`: where they come from the frame itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted head, of any kind, as the store holds it.

    Attributes:
        parameters: by name, float32.
        curve: one value an epoch (or evaluation) each.
        best_epoch: 0-based, the epoch whose parameters these are; 0 where nothing is trained.
        epochs: how many there were.
        blob: what only another library can read; empty else.
        report: what that library says of itself, as plain values.
        made: engine, device and precision.
    """

    parameters: Arrays
    curve: Arrays = field(default_factory=dict)
    best_epoch: int = 0
    blob: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    report: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeadJob:
    """An experiment on a snapshot of a store.

    Attributes:
        store: the snapshot.
        context: where the run works.
        experiment: what is fitted or applied.
        key: of the head; its checkpoints and logs are kept under it.
    """

    store: FeatureStore
    context: WorkerContext
    experiment: HeadRun
    key: str = ""

    @cached_property
    def conduct(self) -> TrainerOptions:
        """How a training is carried out: on the run's device, with checkpoints and logs beside the store."""
        if self.context.trainings is None or not self.key:
            return TrainerOptions(self.context.device)
        folder = self.context.trainings / f"{self.experiment.name}-{self.key[:12]}"
        return TrainerOptions(self.context.device, folder / "checkpoints", every_steps=200, events=folder / "events")


Spec = TypeVar("Spec")


class HeadKind[Spec](ABC):
    """What one kind of head owes the tasks that train and predict."""

    @abstractmethod
    def fit(
        self, work: HeadJob, spec: Spec, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]
    ) -> Fitted:
        """Fit a head; with nothing in `validation` its epochs are fixed."""

    @abstractmethod
    def predict(self, work: HeadJob, spec: Spec, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
        """What it says of every frame of a subject."""


class _Mlp(HeadKind[MlpSpec]):
    def fit(
        self, work: HeadJob, spec: MlpSpec, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]
    ) -> Fitted:
        from affstore.models.heads.mlp.keras_mlp import fit

        inputs = work.experiment.inputs
        chooses = StoreFrames(work.store, validation, inputs) if validation else None
        head = fit(spec, StoreFrames(work.store, train, inputs), chooses, work.conduct)
        from affstore.models.heads.mlp.keras_network import (
            kind_of_device,  # TensorFlow is there by now, as `fit` imports it
        )

        made = {"engine": "keras", "device": kind_of_device(work.context.device), "precision": "float32"}
        return Fitted(dict(head.parameters), dict(head.curve), head.best_epoch, made=made)

    def predict(self, work: HeadJob, spec: MlpSpec, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
        from affstore.models.heads.mlp.keras_mlp import FittedHead, predict

        head = FittedHead(spec, fitted.parameters, fitted.curve, fitted.best_epoch)
        return _where_present(work, spec, features, lambda x: predict(head, x))


class _AutoMl(HeadKind[AutoMlSpec]):
    def fit(
        self, work: HeadJob, spec: AutoMlSpec, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]
    ) -> Fitted:
        from affstore.models.heads.automl.head import fit_automl

        inputs = work.experiment.inputs
        chooses = read_examples(work.store, validation, inputs, "validation") if validation else None
        head = fit_automl(spec, read_examples(work.store, train, inputs, "training"), chooses)
        made = {"engine": "lightautoml", "device": "cpu", "precision": "float64"}
        return Fitted({}, blob=head.model, report=head.report, made=made)

    def predict(self, work: HeadJob, spec: AutoMlSpec, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
        from affstore.models.heads.automl.head import FittedAutoMl, predict_automl

        head = FittedAutoMl(spec, fitted.blob, dict(fitted.report))
        return _where_present(work, spec, features, lambda x: predict_automl(head, x))


class _Sequence(HeadKind[SequenceSpec]):
    def fit(
        self, work: HeadJob, spec: SequenceSpec, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]
    ) -> Fitted:
        from affstore.models.heads.sequence.head import fit_sequence

        inputs = work.experiment.inputs
        chooses = StoreSequences(work.store, validation, inputs) if validation else None
        head = fit_sequence(spec, StoreSequences(work.store, train, inputs), chooses, work.conduct)
        mixed = spec.mixed_precision and work.context.device != "cpu"
        made = {"engine": "torch", "device": work.context.device, "precision": "bfloat16" if mixed else "float32"}
        return Fitted(dict(head.parameters), dict(head.curve), head.best_epoch, made=made)

    def predict(
        self, work: HeadJob, spec: SequenceSpec, fitted: Fitted, features: Sequence[Record]
    ) -> FramePredictions:
        from affstore.models.heads.sequence.fitted import FittedSequence
        from affstore.models.heads.sequence.head import predict_sequence

        head = FittedSequence(spec, fitted.parameters, fitted.curve, 0, fitted.best_epoch)
        streams = streams_of(work.store, features, work.experiment.inputs)
        faces = [i for i, part in enumerate(work.experiment.inputs) if work.experiment.faces_of(part)]
        # A face alone decides whether a frame is seen: the papers score frames that have one.
        rule, streams_that_count = (np.logical_and, faces) if faces else (np.logical_or, slice(None))
        present: NDArray[np.bool_] = rule.reduce(streams.present[:, streams_that_count], axis=1)
        return predict_sequence(head, streams, work.context.device), present


class _FineTune(HeadKind[FineTuneSpec]):
    def fit(
        self, work: HeadJob, spec: FineTuneSpec, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]
    ) -> Fitted:
        from affstore.models.heads.finetuned.head import fit_finetuned
        from affstore.tasks.training.crop_dataset import store_crops

        extractor = _backbone(work)
        parameters = WeightsFolder(work.context.weights).load(extractor.weights.sha256)
        with (
            store_crops(work.store, train, extractor, work.context.scratch) as seen,
            store_crops(work.store, validation, extractor, work.context.scratch) as chooses,
        ):
            head = fit_finetuned(spec, extractor, parameters, seen, chooses if validation else None, work.conduct)
        mixed = spec.mixed_precision and work.context.device != "cpu"
        made = {"engine": "torch", "device": work.context.device, "precision": "bfloat16" if mixed else "float32"}
        return Fitted(dict(head.parameters), dict(head.curve), head.best_epoch, made=made)

    def predict(
        self, work: HeadJob, spec: FineTuneSpec, fitted: Fitted, features: Sequence[Record]
    ) -> FramePredictions:
        from affstore.models.heads.finetuned.fitted import FittedFineTuned
        from affstore.models.heads.finetuned.head import predict_finetuned
        from affstore.tasks.training.crop_dataset import crops_of

        extractor = _backbone(work)
        head = FittedFineTuned(spec, fitted.parameters, fitted.curve, fitted.best_epoch)
        present = work.store.read(features[0].address, ["present"])["present"]
        outputs = np.zeros((len(present), spec.outputs), np.float32)
        rows, crops = crops_of(work.store, features[0], extractor)
        outputs[rows] = predict_finetuned(head, extractor, crops, work.context.device)
        return outputs, present


class _Pretrained(HeadKind[PretrainedSpec]):
    def fit(
        self,
        work: HeadJob,
        spec: PretrainedSpec,
        train: Sequence[LabelledSubject],
        validation: Sequence[LabelledSubject],
    ) -> Fitted:
        return Fitted({}, made={"engine": "numpy", "device": "cpu", "precision": "float32"})

    def predict(
        self, work: HeadJob, spec: PretrainedSpec, fitted: Fitted, features: Sequence[Record]
    ) -> FramePredictions:
        values, present = read_features(work.store, features, work.experiment.inputs)
        if spec.task == "va":
            return _of_width(work, values, spec.outputs), present
        classes = features[0].attributes["classes"]
        if not classes:
            raise SpecError(f"'{features[0].address.producer}' says no expression, so nothing pre-trained can be used.")
        return pretrained_scores(spec, tuple(classes), values), present


def kind_of(spec: HeadSpec) -> HeadKind[Any]:
    """The kind of a head."""
    return _KINDS[type(spec)]


_KINDS: dict[type, HeadKind[Any]] = {
    MlpSpec: _Mlp(),
    AutoMlSpec: _AutoMl(),
    SequenceSpec: _Sequence(),
    FineTuneSpec: _FineTune(),
    PretrainedSpec: _Pretrained(),
}


def fixed_epochs(spec: HeadSpec, epochs: int) -> HeadSpec:
    """The same head with nothing left to choose on validation frames: so many epochs, and the last one kept."""
    if isinstance(spec, MlpSpec | SequenceSpec | FineTuneSpec):
        return replace(spec, epochs=epochs, selection="last_epoch")
    return replace(spec, uses_validation=False) if isinstance(spec, AutoMlSpec) else spec


def _where_present(work: HeadJob, spec: HeadSpec, features: Sequence[Record], head: Any) -> FramePredictions:
    """What a head on single frames says where every input is present."""
    values, present = read_features(work.store, features, work.experiment.inputs)
    outputs = np.zeros((len(values), spec.outputs), np.float32)
    outputs[present] = head(values[present])
    return outputs, present


def _of_width(work: HeadJob, values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if values.shape[1] != width:
        names = ", ".join(f"{part.extractor}.{part.array}" for part in work.experiment.inputs)
        raise SpecError(f"'{work.experiment.name}' needs {width} numbers a frame; {names} has {values.shape[1]}.")
    return values


def _backbone(work: HeadJob) -> FaceExtractorSpec:
    """The face network that an experiment fine-tunes: its only input's."""
    part = work.experiment.inputs[0]
    found = next((spec for spec in work.experiment.extractors if spec.name == part.extractor), None)
    if not isinstance(found, FaceExtractorSpec):
        raise NotFoundError(f"'{work.experiment.name}' fine-tunes '{part.extractor}', which is no face network here.")
    return found
