"""What a run wants, as plain frozen values: the profile of features, and where and as whom to work."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from affstore.models.evaluation.evaluate import EvaluationSpec, TunedParameters
from affstore.models.extractor_specs import (
    IMPORTED,
    ExtractorSpec,
    FaceExtractorSpec,
    ImportedFeatures,
    InputSpec,
    SoundExtractorSpec,
    faces_among,
    sounds_among,
)
from affstore.models.extractors.registry import input_spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.contract import HeadSpec
from affstore.models.heads.splits import SplitSpec
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import canonical
from affstore.store.contract.labels import LabelSpace, task_space
from affstore.store.contract.records import Provenance, Record
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.handles import kept_open
from affstore.store.engine.places import whole_url
from affstore.tasks.checkout import commit_here

FEATURE_ARRAYS = ("embedding", "logits", "valence_arousal", "affect")
"""What an extractor may give a head."""


OPTIONAL_PACKAGES = ("catboost", "lightautoml", "lightgbm", "tensorflow")
"""Those of `_PACKAGES` without which a worker does what other heads, or no heads, need."""

_PACKAGES = (
    *("affstore", "av", "icechunk", "keras", "numpy", "pillow", "timm", "torch", "transformers", "zarr"),
    # engines of networks; what cuts, reads and embeds faces; the spectra of sound
    *("openvino", "opencv-python-headless", "simplejpeg", "torchvision", "scipy"),
    *OPTIONAL_PACKAGES,
)


def code_versions() -> dict[str, str]:
    """Versions of Python and of the packages whose code can change a number, and affstore's `commit` where it is known.

    The commit is noted for people: whether two machines have the same code, the versions alone decide.
    """
    commit = commit_here()
    return package_versions() | ({"commit": commit} if commit else {})


@cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages whose code can change a number."""
    return {"python": platform.python_version()} | installed_versions(_PACKAGES)


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed here."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Profile:
    """What is extracted from every video; weights are resolved, so that every key can be made.

    Attributes:
        detector: how faces are found.
        tracking: how they become subjects.
        extractors: the networks, in any order.
        required_faces: where faces come from that are wanted although no network may need them.
        keeps_people: whether a video whose faces are in the store keeps as many people as it has there.
    """

    detector: DetectorSpec
    tracking: TrackingSpec
    extractors: tuple[ExtractorSpec, ...]
    required_faces: tuple[str, ...] = ()
    keeps_people: bool = False

    def tracking_of(self, stored: Record | None) -> TrackingSpec:
        """How the faces of a video become subjects.

        Args:
            stored: one of its faces in the store, or None.
        """
        if stored is None or not self.keeps_people:
            return self.tracking
        return replace(self.tracking, most_subjects=most_subjects_of(stored))

    @property
    def faces(self) -> tuple[FaceExtractorSpec, ...]:
        """The face networks."""
        return faces_among(self.extractors)

    def faces_from(self, producer: str) -> tuple[FaceExtractorSpec, ...]:
        """The face networks that take their faces from a detector, or from a kind of crop folder."""
        return tuple(spec for spec in self.faces if spec.faces == producer)

    @property
    def finds_faces(self) -> bool:
        """Whether the detector's faces are wanted, by a face network or for themselves."""
        return self.detector.name in self.required_faces or bool(self.faces_from(self.detector.name))

    @property
    def crop_kinds(self) -> set[str]:
        """The kinds of crop folder from which faces are wanted, by face networks or for themselves."""
        return {*self.required_faces, *(spec.faces for spec in self.faces)} - {self.detector.name}

    @property
    def on_video(self) -> tuple[ExtractorSpec, ...]:
        """The networks that need the video's own pictures or sound."""
        return (*self.faces_from(self.detector.name), *self.sounds)

    @property
    def provenance(self) -> dict[str, Provenance]:
        """What is known of every network's parameters, by the network's name."""
        return {spec.name: spec.weights.provenance for spec in self.extractors}

    @property
    def sounds(self) -> tuple[SoundExtractorSpec, ...]:
        """The sound networks."""
        return sounds_among(self.extractors)


def most_subjects_of(face: Record) -> Literal[1, 2, "all"]:
    """How many people were kept of the video when a face was found."""
    # A recipe holds what differs from a spec's defaults.
    found: Literal[1, 2, "all"] = face.recipe.get("tracking", {}).get("most_subjects", TrackingSpec().most_subjects)
    return found


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Where a task works. It travels to every worker; handles are opened there.

    Attributes:
        store_url: address of the store.
        run_id: this run; written into records, part of no key.
        weights: the weights folder.
        device: `cpu` or `cuda`.
        trainings: gets a folder for each training, with its checkpoints and logs; none are kept if None.
        ends_at: seconds since 1970 after which no video and no training is begun any more; None for no end.
        retries: how often a unit of work is tried again after a fault that may pass; see `tasks.retries`.
        generation: that all of it is read from and written to; empty for what readers of the store see.
    """

    store_url: str
    run_id: str
    weights: Path
    device: str = "cpu"
    trainings: Path | None = None
    code: dict[str, str] = field(default_factory=lambda: dict(code_versions()))
    ends_at: float | None = None
    retries: int = 0
    generation: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers may have been started in another folder: what travels to them names places from the root."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["store_url"], values["weights"] = whole_url(self.store_url), self.weights.absolute()
        values["trainings"] = self.trainings and self.trainings.absolute()
        return type(self), tuple(values.values())

    @property
    def uses_gpu(self) -> bool:
        """Whether networks run, and torch heads are trained, on a GPU."""
        return self.device == "cuda"

    def store(self, at: str | None = None) -> FeatureStore:
        """The store as the run has it now, or at a tag, snapshot or time."""
        return kept_open(self.store_url, at, self.generation)

    @property
    def scratch(self) -> Path:
        """Where large things are put down for a while."""
        return self.trainings or Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class Input:
    """One part of a head's input: an array of an extractor, or imported features.

    `affect` is a sound network's arousal, dominance and valence; `valence_arousal` a face network's.

    Attributes:
        extractor: name of a face or sound extractor, or of imported features.
        array: which of its arrays.
    """

    KIND: ClassVar[str] = "input"

    extractor: str
    array: str = "embedding"

    def __post_init__(self) -> None:
        if self.array not in FEATURE_ARRAYS:
            known = ", ".join(FEATURE_ARRAYS)
            raise SpecError(f"A head's input is one of {known} of an extractor; found '{self.array}'.")

    @classmethod
    def parse(cls, text: str) -> Input:
        """Read `extractor` or `extractor.array`."""
        extractor, dot, array = text.rpartition(".")
        if text.startswith(IMPORTED) and array not in FEATURE_ARRAYS:
            return cls(text)  # whoever imported them gave the name, which may hold a dot
        # A variant may hold a dot, as `@hop0.5` does.
        return cls(extractor, array) if dot and not array[:1].isdigit() else cls(text)

    @property
    def is_imported(self) -> bool:
        """Whether another program computed it."""
        return self.extractor.startswith(IMPORTED)


@dataclass(frozen=True, slots=True)
class PostProcessing:
    """What is done to a head's outputs: gaps are filled, neighbours averaged, then decided.

    Attributes:
        smooth_frames: half a window of the box filter; 50 means 101 frames (ABAW6 §3.4 and its notebook).
        thresholds: of units: `half` for .5 each, `tuned` for the best of each unit on validation frames.
        version: raised whenever the same spec would give other numbers.
    """

    KIND: ClassVar[str] = "post-processing"

    smooth_frames: int = 0
    thresholds: Literal["half", "tuned"] = "half"
    version: int = 1


@dataclass(frozen=True, slots=True)
class TunedPostProcessing:
    """What an experiment does to the outputs of its heads on videos without labels, everything being given.

    Attributes:
        evaluation: how outputs become decisions.
        tuned: the smoothing, the thresholds and the numbers of the method.
    """

    evaluation: EvaluationSpec
    tuned: TunedParameters

    def as_recipe(self) -> dict[str, Any]:
        """What a prediction's recipe says of it."""
        return {"judging": canonical(self.evaluation), "chosen": self.tuned.as_dict()}


@dataclass(frozen=True, slots=True)
class HeadRun:
    """A head on features, and what is done to its outputs.

    Attributes:
        name: the head's name in the store.
        inputs: what the head sees, side by side (or as streams).
        head: what is fitted; it knows its task.
        finish: what is done to its outputs.
        division: the videos it is fitted on, and those that choose its epoch.
        extractors: the resolved networks of the inputs; embeddings that others made are not taken for theirs.
        imported: the imported features of the inputs, as the store has them.
        chosen: what an experiment chose to do to its outputs, where the head came as a file with that; None for what
            `finish` says.
    """

    name: str
    inputs: tuple[Input, ...]
    head: HeadSpec
    finish: PostProcessing = PostProcessing()
    division: SplitSpec = field(default_factory=SplitSpec)
    extractors: tuple[ExtractorSpec, ...] = ()
    imported: tuple[ImportedFeatures, ...] = ()
    chosen: TunedPostProcessing | None = None

    def spec_of(self, part: Input) -> InputSpec:
        """What an input comes from, as this run or the store says it; else as far as its name tells."""
        found = next((spec for spec in (*self.extractors, *self.imported) if spec.name == part.extractor), None)
        return found or input_spec_of(part.extractor)

    def faces_of(self, part: Input) -> str:
        """Where the faces of an input come from: a detector, a kind of crop folder or an import; empty for sound."""
        return self.spec_of(part).faces

    @property
    def faces(self) -> str:
        """Where the faces come from that its predictions are for: those of its first face input; empty for sound."""
        return next((faces for faces in map(self.faces_of, self.inputs) if faces), "")

    @property
    def task(self) -> str:
        """The name of what it predicts: `expr`, `au`, `va`, or a user's label space."""
        return str(self.head.task)

    @property
    def space(self) -> LabelSpace:
        """What it predicts."""
        return task_space(self.head.task)
