"""The data that a kind of head is fitted on and applied to, read from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.heads.contract import CropFeatures, Fitted, FrameFeatures, HeadKind, Takes
from affstore.models.heads.kinds import kind_of
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.records import Record
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.crop_dataset import crops_of, store_crops
from affstore.tasks.training.examples import LabelledSubject
from affstore.tasks.training.frame_dataset import StoreFrames
from affstore.tasks.training.sequence_dataset import StoreSequences, streams_of

FramePredictions = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""`(frames, outputs)`, and `(frames,)`: where they come from the frame itself."""


@dataclass(frozen=True)
class HeadJob:
    """A head that is fitted or applied on a snapshot of a store.

    Attributes:
        store: the snapshot.
        context: where the run works.
        head_run: the head, with its inputs.
        key: of the head; its checkpoints are kept under it.
    """

    store: FeatureStore
    context: WorkerContext
    head_run: HeadRun
    key: str = ""

    @property
    def kind(self) -> HeadKind[Any, Any, Any]:
        """The head's kind."""
        return kind_of(self.head_run.head)

    @cached_property
    def options(self) -> TrainerOptions:
        """How a training is carried out: on the run's device, with checkpoints beside the store."""
        if self.context.trainings is None or not self.key:
            return TrainerOptions(self.context.device)
        folder = self.context.trainings / f"{self.head_run.name}-{self.key[:12]}"
        return TrainerOptions(self.context.device, folder / "checkpoints", every_steps=200)

    def fit(self, train: Sequence[LabelledSubject], validation: Sequence[LabelledSubject]) -> Fitted:
        """Fit the head; with nothing in `validation`, nothing is chosen on it.

        Raises:
            AffstoreError: the data cannot be read, or the head cannot be fitted on it.
        """
        with self._dataset(train) as learnt, self._dataset(validation) as chooses:
            return self.kind.fit(self.head_run.head, learnt, chooses, self.options)

    def predict(self, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
        """Apply the fitted head to the features of a subject.

        Raises:
            AffstoreError: the features cannot be read, or do not fit the head.
        """
        return _PREDICT[self.kind.takes](self, fitted, features)

    @contextmanager
    def _dataset(self, subjects: Sequence[LabelledSubject]) -> Iterator[Any]:
        """What the kind of head takes of labelled subjects; None without any."""
        takes, inputs = self.kind.takes, self.head_run.inputs
        if takes == "nothing" or not subjects:
            yield None
        elif takes == "frames":
            yield StoreFrames(self.store, subjects, inputs)
        elif takes == "sequences":
            yield StoreSequences(self.store, subjects, inputs)
        else:
            folder, scratch = WeightsFolder(self.context.weights), self.context.scratch
            with store_crops(self.store, subjects, self.face_network, folder, scratch) as crops:
                yield crops

    @property
    def face_network(self) -> FaceExtractorSpec:
        """The face network that is the head's only input.

        Raises:
            NotFoundError: it is not among the run's networks.
        """
        part = self.head_run.inputs[0]
        found = next((spec for spec in self.head_run.extractors if spec.name == part.extractor), None)
        if not isinstance(found, FaceExtractorSpec):
            raise NotFoundError(
                f"'{self.head_run.name}' takes crops of '{part.extractor}', which is no face network of this run."
            )
        return found

    def outputs(self, fitted: Fitted, features: Any) -> NDArray[np.float32]:
        """What the kind of head predicts."""
        found: NDArray[np.float32] = self.kind.predict(self.head_run.head, fitted, features, self.context.device)
        return found


def _on_frames(job: HeadJob, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
    """The outputs where every input is present."""
    streams = streams_of(job.store, features, job.head_run.inputs)
    values, present = np.concatenate(streams.values, axis=1), streams.present.all(axis=1)
    classes = features[0].attributes.get("classes") or ()
    outputs = np.zeros((len(values), job.head_run.head.outputs), np.float32)
    outputs[present] = job.outputs(fitted, FrameFeatures(values[present], tuple(classes)))
    return outputs, present


def _on_sequences(job: HeadJob, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
    """The outputs of all frames."""
    streams = streams_of(job.store, features, job.head_run.inputs)
    faces = [i for i, part in enumerate(job.head_run.inputs) if job.head_run.faces_of(part)]
    # A face alone decides whether a frame counts: the papers score frames that have one.
    rule, streams_that_count = (np.logical_and, faces) if faces else (np.logical_or, slice(None))
    present: NDArray[np.bool_] = rule.reduce(streams.present[:, streams_that_count], axis=1)
    return job.outputs(fitted, streams), present


def _on_crops(job: HeadJob, fitted: Fitted, features: Sequence[Record]) -> FramePredictions:
    """The outputs of the frames that have a crop."""
    present = job.store.read(features[0].address, ["present"])["present"]
    outputs = np.zeros((len(present), job.head_run.head.outputs), np.float32)
    rows, batches = crops_of(job.store, features[0], job.face_network)
    outputs[rows] = job.outputs(fitted, CropFeatures(job.face_network, batches))
    return outputs, present


_PREDICT: Mapping[Takes, Callable[[HeadJob, Fitted, Sequence[Record]], FramePredictions]] = {
    "frames": _on_frames,
    "nothing": _on_frames,
    "sequences": _on_sequences,
    "crops": _on_crops,
}
