"""What every kind of head offers: the contract that the package's own kinds and those of plugins follow."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from affstore.models.extractor_specs import FaceExtractorSpec, InputSpec
from affstore.models.heads.finetuned.crops import LabelledCrops
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.labels import Task

if TYPE_CHECKING:
    from torch import Tensor

Takes = Literal["frames", "sequences", "crops", "nothing"]
"""What a kind of head is fitted on, and applied to; see `HeadKind.takes`."""


class HeadSpec(Protocol):
    """What is fitted, as a frozen dataclass: every field decides the head's numbers, and so its key.

    Attributes:
        KIND: the name of the kind.
    """

    KIND: ClassVar[str]

    @property
    def name(self) -> str:
        """The head's name; no number depends on it."""

    @property
    def task(self) -> Task:
        """The label space that it predicts."""

    @property
    def outputs(self) -> int:
        """How many numbers it gives a frame."""


@dataclass(frozen=True, slots=True)
class HeadInput:
    """An input of a head that is to be checked.

    Attributes:
        extractor: the network, or imported features, whose width only a store knows.
        array: which of its arrays.
    """

    extractor: InputSpec
    array: str


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """The inputs of single frames, side by side.

    Attributes:
        x: `(rows, width)`: frames in which every input is present.
        classes: names of the first input's columns where these are a network's logits; empty otherwise.
    """

    x: NDArray[np.float32]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CropFeatures:
    """The crops of a subject's face.

    Attributes:
        extractor: the network that is the head's only input.
        batches: RGB `(n, size_px, size_px, 3)`, batch by batch.
    """

    extractor: FaceExtractorSpec
    batches: Iterator[NDArray[np.uint8]]


class CropDataset(LabelledCrops, Protocol):
    """Labelled crops, and the network whose input they are."""

    @property
    def extractor(self) -> FaceExtractorSpec:
        """The network."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Its parameters, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted head, of any kind, as the store keeps it.

    Attributes:
        parameters: by name, float32.
        curve: one value an epoch (or evaluation) each.
        best_epoch: 0-based, the epoch whose parameters these are; 0 where there are none.
        blob: what only another library can read; empty else.
        report: plain values that the library says of the fit.
        engine: the library that fitted it.
        device: where that ran.
        precision: of its arithmetic.
    """

    parameters: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    curve: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    best_epoch: int = 0
    blob: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    report: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "numpy"
    device: str = "cpu"
    precision: str = "float32"


class HeadKind[Spec: HeadSpec, Dataset, Features](ABC):
    """A kind of head: its spec, how it is fitted, and how it is applied.

    One instance is registered in `affstore.models.heads.kinds.HEADS`, or named by an entry point of the group
    `affstore.heads`. It keeps no state: heads are fitted side by side. The same spec, data and device give the same
    bits.

    Attributes:
        contract: number of the contract that a plugin was written for; today's is 1.
        name: how experiment files call it; its spec's `KIND`.
        spec_type: the frozen dataclass of its specs; plain fields, specs within it as frozen dataclasses of their own.
        description: what it is, in one line.
        needs: what must be installed for it, as `pip install …`; empty where nothing is missing.
        takes: `frames`: `Dataset` is a `FrameDataset`, `Features` are `FrameFeatures`. `sequences`: `Sequences` and
            `Streams`. `crops`: `CropDataset` and `CropFeatures`. `nothing`: it is fitted on None, as it learns nothing,
            and applied to `FrameFeatures`.
        extra: the extra of affstore's own installation that fitting needs; empty for none.
        presets: named changes of a spec that an experiment file can ask for by `preset`.
    """

    contract: ClassVar[int]
    name: ClassVar[str]
    description: ClassVar[str]
    needs: ClassVar[str] = ""
    spec_type: ClassVar[type]
    takes: ClassVar[Takes] = "frames"
    extra: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Callable[[Any], Any]]] = MappingProxyType({})

    @abstractmethod
    def default(self, task: Task) -> Spec:
        """The spec of a head, under no name of its own.

        Args:
            task: what it predicts; the spec's field `task`.

        Raises:
            SpecError: this kind cannot predict such labels.
        """

    def check(self, spec: Spec, inputs: Sequence[HeadInput]) -> None:  # noqa: B027 - most kinds take any inputs
        """See that a head can be fitted on these inputs, before anything is computed. By default, it can.

        Raises:
            SpecError: it cannot; the message says what it needs.
        """

    @abstractmethod
    def fit(self, spec: Spec, train: Dataset, validation: Dataset | None, options: TrainerOptions) -> Fitted:
        """Fit a head.

        Args:
            spec: what is fitted.
            train: labelled data.
            validation: data to choose an epoch on; None where nothing is chosen on any, see `without_validation`.
            options: the device, and where checkpoints may be written.

        Raises:
            AnnotationError: nothing can be learnt from the labels.
            SpecError: the data does not fit the spec.
        """

    @abstractmethod
    def predict(self, spec: Spec, fitted: Fitted, features: Features, device: str) -> NDArray[np.float32]:
        """The head's outputs, finite.

        Returns:
            `(rows, spec.outputs)`: a row for each row of `FrameFeatures`, each frame of `Streams`, or each crop.
        """

    def without_validation(self, spec: Spec, epochs: int | None = None) -> Spec:
        """The same head with nothing to choose on validation data; trained for so many epochs if that is given.

        By default the spec as it is: right for a kind that looks at no validation data.
        """
        return spec

    def shortened(self, spec: Spec) -> Spec:
        """The same head with a training cut short, only to see that it runs; by default as it is."""
        return spec

    def memory_bytes(self, spec: Spec, rows: int, width: int) -> int:
        """About how much memory fitting takes beside what the process holds already.

        Args:
            spec: what is fitted.
            rows: labelled frames, of training and validation together.
            width: numbers a frame.
        """
        return 3 * 4 * rows * width

    def describe(self, spec: Spec) -> str:
        """How a table of experiments calls the head, before its inputs."""
        return f"{self.name} on"


def last_epoch[S](spec: S, epochs: int | None) -> S:
    """A spec with the fields `epochs` and `selection` that keeps its last epoch; of so many if that is given."""
    fields: Any = spec
    last: S = dataclasses.replace(fields, epochs=epochs or fields.epochs, selection="last_epoch")
    return last
